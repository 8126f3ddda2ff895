// Gives artifacts of this machine to whoever has its token: a cache's to the room's members, and the tree of a push to
// those who read its announcement (docs/protocol/data-server.md). Read only, over plain HTTP.
//
//   GET /hello?nonce=N                        a proof that this is the machine meant; needs no token
//   GET /v1/artifacts                         what is here
//   GET /v1/artifacts/{id}/artifact.json      its manifest
//   GET /v1/artifacts/{id}/objects/{key}      bytes of an object, with ranges
//   GET /objects/{key}                        the same of the one announced push
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type HttpAddress, WaybillError } from "@waybill/sdk/protocol";
import { addressesOf } from "./addresses.ts";
import { Credentials } from "./credentials.ts";
import { Doorkeeper, type DoorkeeperInit } from "./doorkeeper.ts";
import { MAX_REQUESTS, TreeService, type TreeServiceInit } from "./tree-service.ts";

export type DataServerInit = TreeServiceInit & {
  /** Where it listens. Default: every address, at any free port. */
  readonly listen?: {
    readonly host?: string | undefined;
    /** The first that is free is taken; 0 is any. */
    readonly ports?: readonly number[] | undefined;
  };
  /** Bounds of connections that have not shown the token. */
  readonly door?: DoorkeeperInit;
};

export interface DataServer extends AsyncDisposable {
  readonly port: number;
  /** Where it can be reached, with the token that every address wants. */
  readonly addresses: readonly HttpAddress[];
  /** Bytes of objects served so far. */
  readonly servedBytes: number;
  /** Ends connections. Idempotent. */
  stop(): Promise<void>;
}

/** A reader that takes nothing for this long has gone. */
const IDLE_MS = 60_000;
const HEADERS_MS = 10_000;
/** Sockets besides those of requests: readers keep some for later, and strangers have theirs. */
const SPARE_SOCKETS = 128;

/** Begins to serve; throws `local_io` when none of the ports can be had. */
export async function startDataServer(init: DataServerInit): Promise<DataServer> {
  const credentials = new Credentials();
  const door = new Doorkeeper(init.door);
  const service = new TreeService(init, credentials, door);
  const server = createServer({ headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS }, (i, o) =>
    service.answer(i, o),
  );
  server.keepAliveTimeout = IDLE_MS;
  server.setTimeout(IDLE_MS);
  const { maxRequests = MAX_REQUESTS, maxWaiting = 0 } = init;
  server.maxConnections = maxRequests + maxWaiting + SPARE_SOCKETS;
  server.on("connection", (socket) => door.opened(socket));
  const { host, ports = [0] } = init.listen ?? {};
  await listen(server, ports, host);
  const { port } = server.address() as AddressInfo;
  // What goes wrong with one connection is that connection's.
  server.on("clientError", (_, socket) => socket.destroy());
  let stopping: Promise<void> | undefined;
  const stop = () =>
    (stopping ??= new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }));
  return {
    port,
    // As they are now: a laptop moves from network to network.
    get addresses() {
      return addressesOf(port, host).map((url) => ({ url, token: credentials.hex }));
    },
    get servedBytes() {
      return service.servedBytes;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function listen(
  server: Server,
  ports: readonly number[],
  host: string | undefined,
): Promise<void> {
  let cause: unknown;
  for (const port of ports) {
    server.listen(host === undefined ? { port } : { port, host });
    try {
      await once(server, "listening");
      return;
    } catch (error) {
      cause = error;
    }
  }
  const where = ports.length === 1 && ports[0] !== 0 ? `port ${ports[0]}` : "a port";
  throw new WaybillError("local_io", `${where} to serve artifacts at cannot be had`, {
    cause,
    hint: "something else listens there, or the address is not this machine's",
  });
}
