// Starts the data server of a worker's cache at the port it is expected at, or near it.
import { DATA_PORT, type HttpAddress, type Serving, messageOf } from "@waybill/sdk/protocol";
import type { RateGate } from "@waybill/sdk/timing";
import { type DataServer, startDataServer } from "../../data-server/data-server.ts";
import type { TreeProvider } from "../../data-server/tree-provider.ts";
import type { Log } from "../ports.ts";

export type ServingInit = {
  /** Default: 8780, or one of the 19 above it, or any. A port that was chosen is taken, or none: firewalls know it. */
  readonly port?: number;
  /** IP address it listens at. Default: all. */
  readonly host?: string;
  /** What all bytes pass. */
  readonly gate?: RateGate;
};

/** Workers of one machine find places beside each other. */
const NEAR = 20;
/** Requests of a crowd that starts the same thing at once; each costs a socket. */
const MAX_WAITING = 384;
/** Addresses in a hello. */
const MAX_ADDRESSES = 16;

/** Undefined when nothing can be served: said in the log, and nothing else depends on it. */
export async function serveCache(
  trees: TreeProvider,
  { port, host, gate }: ServingInit,
  log: Log,
): Promise<DataServer | undefined> {
  const near = Array.from({ length: NEAR }, (_, at) => DATA_PORT + at);
  const ports = port === undefined ? [...near, 0] : [port];
  try {
    const listen = { host, ports };
    const server = await startDataServer({ trees, gate, listen, maxWaiting: MAX_WAITING });
    const where = server.addresses.map(({ url }) => url).join(", ");
    const taken =
      port === undefined && server.port !== DATA_PORT ? ` (port ${DATA_PORT} is taken)` : "";
    log("info", `cached artifacts are served to members of the room at ${where}${taken}`);
    return server;
  } catch (error) {
    log("warn", `cached artifacts are not served to others: ${messageOf(error)}`);
    return undefined;
  }
}

/** What a hello says of it. */
export function servingOf(addresses: readonly HttpAddress[]): Serving | undefined {
  return addresses.length === 0 ? undefined : { addresses: addresses.slice(0, MAX_ADDRESSES) };
}
