// Serves the tree that this process is pushing to whoever has the announcement's token, so that readers need not wait
// for the store (docs/protocol/arriving.md §4). Read only, over plain HTTP, for as long as the push goes on.
//
//   GET /hello?nonce=N          a proof that this is the announced machine; needs no token
//   GET /objects/{key}          bytes of an object, with ranges
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type HttpAddress, WaybillError, isAbort } from "@waybill/sdk/protocol";
import type { RateGate } from "@waybill/sdk/timing";
import { addressesOf } from "./addresses.ts";
import { parseRange } from "./byte-range.ts";
import { Doorkeeper, type DoorkeeperInit } from "./doorkeeper.ts";
import type { TreeObjects } from "./tree-objects.ts";

export type DataServerInit = {
  readonly objects: TreeObjects;
  /** What all bytes of the push pass; undefined is no limit. */
  readonly gate?: RateGate | undefined;
  /** Told of bytes of objects that went to a reader. */
  readonly onServed?: (bytes: number) => void;
  /** Where it listens. Default: every address, at any free port. */
  readonly listen?: { readonly host?: string; readonly port?: number };
  /** Requests at once; further ones are refused with 503. Default 64. */
  readonly maxConnections?: number;
  /** Bounds of connections that have not shown the token. */
  readonly door?: DoorkeeperInit;
};

export interface DataServer extends AsyncDisposable {
  /** Where it can be reached, with the token that every address wants. */
  readonly addresses: readonly HttpAddress[];
  /** Bytes of objects served so far. */
  readonly servedBytes: number;
  /** Ends connections. Idempotent. */
  stop(): Promise<void>;
}

/** A worker uses eight; several workers share this. */
const MAX_CONNECTIONS = 64;
const NONCE = /^[0-9a-f]{32,64}$/;
/** A reader that takes nothing for this long has gone. */
const IDLE_MS = 60_000;
const HEADERS_MS = 10_000;
/** Sockets besides those of requests: readers keep some for later, and strangers have theirs. */
const SPARE_SOCKETS = 128;

/** Begins to serve; throws `local_io` when no port can be had. */
export async function startDataServer(init: DataServerInit): Promise<DataServer> {
  const token = randomBytes(32);
  const door = new Doorkeeper(init.door);
  const service = new Service(init, token, door);
  const server = createServer({ headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS }, (i, o) =>
    service.answer(i, o),
  );
  server.keepAliveTimeout = IDLE_MS;
  server.setTimeout(IDLE_MS);
  server.maxConnections = (init.maxConnections ?? MAX_CONNECTIONS) + SPARE_SOCKETS;
  server.on("connection", (socket) => door.opened(socket));
  const { host, port = 0 } = init.listen ?? {};
  await listen(server, port, host);
  const { port: bound } = server.address() as AddressInfo;
  // What goes wrong with one connection is that connection's.
  server.on("clientError", (_, socket) => socket.destroy());
  const hex = token.toString("hex");
  let stopping: Promise<void> | undefined;
  const stop = () =>
    (stopping ??= new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }));
  return {
    addresses: addressesOf(bound).map((url) => ({ url, token: hex })),
    get servedBytes() {
      return service.servedBytes;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function listen(server: Server, port: number, host: string | undefined): Promise<void> {
  server.listen(host === undefined ? { port } : { port, host });
  try {
    await once(server, "listening");
  } catch (cause) {
    throw new WaybillError("local_io", "no port could be had to serve the tree from", {
      cause,
      hint: "the push goes on without it",
    });
  }
}

class Service {
  servedBytes = 0;
  readonly #objects: TreeObjects;
  readonly #gate: RateGate | undefined;
  readonly #onServed: DataServerInit["onServed"];
  readonly #maxConnections: number;
  readonly #token: Buffer;
  readonly #tokenHash: Buffer;
  readonly #door: Doorkeeper;
  #active = 0;

  constructor(
    { objects, gate, onServed, maxConnections = MAX_CONNECTIONS }: DataServerInit,
    token: Buffer,
    door: Doorkeeper,
  ) {
    this.#door = door;
    this.#objects = objects;
    this.#gate = gate;
    this.#onServed = onServed;
    this.#maxConnections = maxConnections;
    this.#token = token;
    this.#tokenHash = hashOf(token.toString("hex"));
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    const isReader = this.#isAuthorised(request.headers.authorization);
    if (isReader) this.#door.admit(request.socket);
    // Nobody keeps a connection without the token.
    else response.setHeader("connection", "close");
    if (this.#active >= this.#maxConnections) {
      response.setHeader("retry-after", "1");
      refuse(response, 503);
      return;
    }
    this.#active += 1;
    response.once("close", () => (this.#active -= 1));
    this.#route(request, response, isReader).catch((error: unknown) => {
      // The reader has gone, or the file: an answer that has begun can only be cut off.
      if (response.headersSent || isAbort(error)) response.destroy();
      else refuse(response, 500);
    });
  }

  async #route(
    request: IncomingMessage,
    response: ServerResponse,
    isReader: boolean,
  ): Promise<void> {
    const { method, url = "/" } = request;
    if (method !== "GET" && method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      refuse(response, 405);
      return;
    }
    const [path = "", query = ""] = url.split("?", 2);
    if (path === "/hello") {
      this.#hello(new URLSearchParams(query).get("nonce") ?? "", response);
      return;
    }
    if (!isReader) {
      response.setHeader("www-authenticate", "Bearer");
      refuse(response, 401);
      return;
    }
    const key = keyOf(path);
    const size = key === undefined ? undefined : this.#objects.sizeOf(key);
    if (key === undefined || size === undefined) refuse(response, 404);
    else await this.#object(request, response, { key, size });
  }

  #hello(nonce: string, response: ServerResponse): void {
    if (!NONCE.test(nonce)) {
      refuse(response, 400);
      return;
    }
    const proof = createHmac("sha256", this.#token).update(`waybill-data 1 ${nonce}`).digest("hex");
    response
      .writeHead(200, { "content-type": "application/json", "cache-control": "no-store" })
      .end(JSON.stringify({ proof }));
  }

  /** Bearer, or Basic with the token as the password; compared in constant time. */
  #isAuthorised(header = ""): boolean {
    const [scheme = "", value = ""] = header.split(" ", 2);
    const given = scheme.toLowerCase() === "basic" ? passwordOf(value) : value;
    const isKnown = ["bearer", "basic"].includes(scheme.toLowerCase());
    return timingSafeEqual(hashOf(given), this.#tokenHash) && isKnown;
  }

  async #object(
    request: IncomingMessage,
    response: ServerResponse,
    { key, size }: { readonly key: string; readonly size: number },
  ): Promise<void> {
    const etag = `"${hashOf(`${this.#tokenHash.toString("hex")}/${key}`)
      .toString("hex")
      .slice(0, 32)}"`;
    // An object never changes under its announcement: If-Range can only name this one.
    const ifRange = request.headers["if-range"];
    const asked = ifRange === undefined || ifRange === etag ? request.headers.range : undefined;
    const range = parseRange(asked, size);
    const headers = {
      etag,
      "accept-ranges": "bytes",
      "cache-control": "no-store",
      "content-type": "application/octet-stream",
    };
    if (range === "unsatisfiable") {
      response.writeHead(416, { ...headers, "content-range": `bytes */${size}` }).end();
      return;
    }
    const { start, end } = range ?? { start: 0, end: size };
    try {
      await this.#objects.check(key, start, end);
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "source_changed") throw error;
      refuse(response, 410);
      return;
    }
    response.writeHead(range === undefined ? 200 : 206, {
      ...headers,
      "content-length": end - start,
      ...(range === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${size}` }),
    });
    if (request.method === "HEAD") response.end();
    else await this.#send(response, { key, start, end });
  }

  async #send(
    response: ServerResponse,
    { key, start, end }: { readonly key: string; readonly start: number; readonly end: number },
  ): Promise<void> {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const { signal } = gone;
    for await (const piece of this.#objects.read(key, start, end)) {
      for (let at = 0; at < piece.length;) {
        signal.throwIfAborted();
        const length = Math.min(piece.length - at, this.#gate?.pieceBytes ?? piece.length);
        await this.#gate?.pass(length, signal);
        // A copy: the socket may hold it longer than the piece is ours.
        const isTaken = response.write(Buffer.from(piece.subarray(at, at + length)));
        at += length;
        this.servedBytes += length;
        this.#onServed?.(length);
        if (!isTaken) await once(response, "drain", { signal });
      }
    }
    response.end();
  }
}

/** The object's key in a path; undefined for what names none. */
function keyOf(path: string): string | undefined {
  const prefix = "/objects/";
  if (!path.startsWith(prefix)) return undefined;
  try {
    // Whatever comes out is looked up among the artifact's keys, and nowhere else.
    return path.slice(prefix.length).split("/").map(decodeURIComponent).join("/");
  } catch {
    return undefined;
  }
}

function passwordOf(basic: string): string {
  const login = Buffer.from(basic, "base64").toString("utf8");
  return login.slice(login.indexOf(":") + 1);
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { "content-length": 0, "cache-control": "no-store" }).end();
}

/** Equal lengths, so that comparing takes the same time whatever was given. */
function hashOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
