// Answers the requests of a data server: who may ask, what is asked for, and its bytes, no faster than they are taken.
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { manifestPieces } from "@waybill/sdk/artifact";
import { type ArtifactId, WaybillError, isAbort, isRetryable } from "@waybill/sdk/protocol";
import type { RateGate } from "@waybill/sdk/timing";
import { parseRange } from "./byte-range.ts";
import type { Credentials } from "./credentials.ts";
import type { Doorkeeper } from "./doorkeeper.ts";
import { type Wanted, parsePath } from "./request-path.ts";
import type { ServedTree, TreeProvider } from "./tree-provider.ts";
import { Turns } from "./turns.ts";

export type TreeServiceInit = {
  readonly trees: TreeProvider;
  /** The artifact that `/objects/{key}` means, for readers of an announced push. */
  readonly announced?: ArtifactId | undefined;
  /** What all bytes pass; undefined is no limit. */
  readonly gate?: RateGate | undefined;
  /** Told of bytes of objects that went to a reader. */
  readonly onServed?: ((bytes: number, artifact: ArtifactId) => void) | undefined;
  /** What `/v1/stats` answers; absent: nothing (404). */
  readonly stats?: (() => object) | undefined;
  /** Requests at once. Default 128. */
  readonly maxRequests?: number | undefined;
  /** Readers' requests that wait for their turn, 20 s at most; further ones are refused with 503. Default 0. */
  readonly maxWaiting?: number | undefined;
};

/** A reader uses eight; sixteen readers share this. */
export const MAX_REQUESTS = 128;

/** A reader takes a server that says nothing for 30 s as gone. */
const TURN_MS = 20_000;

type Exchange = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Aborted when the reader has gone, or has all. */
  readonly signal: AbortSignal;
};

export class TreeService {
  servedBytes = 0;
  readonly #init: TreeServiceInit;
  readonly #credentials: Credentials;
  readonly #door: Doorkeeper;
  readonly #turns: Turns;

  constructor(init: TreeServiceInit, credentials: Credentials, door: Doorkeeper) {
    this.#init = init;
    this.#turns = new Turns(init.maxRequests ?? MAX_REQUESTS, init.maxWaiting ?? 0);
    this.#credentials = credentials;
    this.#door = door;
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    const isReader = this.#credentials.areIn(request.headers.authorization);
    if (isReader) this.#door.admit(request.socket);
    // Nobody keeps a connection without the token.
    else response.setHeader("connection", "close");
    const over = new AbortController();
    response.once("close", () => over.abort());
    this.#inTurn({ request, response, signal: over.signal }, isReader).catch((error: unknown) => {
      // An answer that has begun can only be cut off.
      if (response.headersSent || isAbort(error)) response.destroy();
      else conclude(response, statusOf(error));
    });
  }

  /** Who has not shown the token gets little, and at once: the doorkeeper bounds it. */
  async #inTurn(exchange: Exchange, isReader: boolean): Promise<void> {
    const { response, signal } = exchange;
    if (!isReader) {
      await this.#route(exchange, isReader);
      return;
    }
    if (!(await this.#turns.take(TURN_MS, signal))) {
      if (!signal.aborted) conclude(response, 503);
      return;
    }
    if (signal.aborted) {
      this.#turns.leave();
      return;
    }
    response.once("close", () => this.#turns.leave());
    await this.#route(exchange, isReader);
  }

  async #route(exchange: Exchange, isReader: boolean): Promise<void> {
    const { request, response, signal } = exchange;
    const { method = "", url = "/" } = request;
    const [path = "", query = ""] = url.split("?", 2);
    const wanted = parsePath(path, this.#init.announced);
    const methods = wanted?.kind === "damaged" ? ["PUT"] : ["GET", "HEAD"];
    if (!methods.includes(method)) {
      response.setHeader("allow", methods.join(", "));
      conclude(response, 405);
      return;
    }
    if (path === "/hello") {
      const proof = this.#credentials.proofFor(new URLSearchParams(query).get("nonce") ?? "");
      if (proof === undefined) conclude(response, 400);
      else sendJson(response, { proof });
      return;
    }
    if (!isReader) {
      response.setHeader("www-authenticate", "Bearer");
      conclude(response, 401);
      return;
    }
    if (wanted === undefined) {
      conclude(response, 404);
    } else if (wanted.kind === "damaged") {
      this.#init.trees.damaged?.(wanted.artifact);
      conclude(response, 202);
    } else if (wanted.kind === "stats") {
      const { stats } = this.#init;
      if (stats === undefined) conclude(response, 404);
      else sendJson(response, stats());
    } else if (wanted.kind === "list") {
      const here = await this.#init.trees.list();
      sendJson(response, {
        artifacts: here.map(({ artifact, bytes }) => ({ artifact, bytes })),
      });
    } else {
      const tree = await this.#init.trees.open(wanted.artifact, signal);
      try {
        if (tree === undefined) conclude(response, 404);
        else await this.#serve(exchange, wanted, tree);
      } finally {
        tree?.release();
      }
    }
  }

  async #serve(
    exchange: Exchange,
    wanted: Extract<Wanted, { kind: "manifest" | "object" }>,
    tree: ServedTree,
  ): Promise<void> {
    const { request, response } = exchange;
    if (wanted.kind === "object") {
      const size = tree.objects.sizeOf(wanted.key);
      if (size === undefined) conclude(response, 404);
      else await this.#object(exchange, { ...wanted, size }, tree);
      return;
    }
    const headers = { etag: `"${wanted.artifact}"`, "cache-control": "private, no-cache" };
    if (isHeld(request, headers.etag)) {
      response.writeHead(304, headers).end();
      return;
    }
    response.writeHead(200, { ...headers, "content-type": "application/json" });
    if (request.method === "GET") {
      for (const piece of manifestPieces(tree.manifest)) await this.#write(exchange, piece);
    }
    response.end();
  }

  async #object(
    exchange: Exchange,
    { artifact, key, size }: { readonly artifact: ArtifactId; readonly key: string; size: number },
    tree: ServedTree,
  ): Promise<void> {
    const { request, response, signal } = exchange;
    const etag = etagOf(artifact, key);
    const headers = {
      etag,
      "accept-ranges": "bytes",
      "cache-control": "private, no-cache",
      "content-type": "application/octet-stream",
    };
    if (isHeld(request, etag)) {
      response.writeHead(304, headers).end();
      return;
    }
    const ifRange = request.headers["if-range"];
    const asked = ifRange === undefined || ifRange === etag ? request.headers.range : undefined;
    const range = parseRange(asked, size);
    if (range === "unsatisfiable") {
      response.writeHead(416, { ...headers, "content-range": `bytes */${size}` }).end();
      return;
    }
    const { start, end } = range ?? { start: 0, end: size };
    const begin = () =>
      response.writeHead(range === undefined ? 200 : 206, {
        ...headers,
        "content-length": end - start,
        ...(range === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${size}` }),
      });
    let left = request.method === "HEAD" ? 0 : end - start;
    if (left > 0) {
      for await (const piece of tree.objects.read(key, start, end, signal)) {
        // Not before there is something: what is wrong until then has a status.
        if (!response.headersSent) begin();
        left -= piece.length;
        await this.#write(exchange, piece, artifact);
      }
    }
    if (left > 0) throw new WaybillError("source_changed", `${key} is shorter than it was`);
    if (!response.headersSent) begin();
    response.end();
  }

  /** Returns when the socket takes more; counts what belongs to objects of an artifact. */
  async #write(
    { response, signal }: Exchange,
    piece: Uint8Array,
    artifact?: ArtifactId,
  ): Promise<void> {
    const { gate, onServed } = this.#init;
    for (let at = 0; at < piece.length;) {
      signal.throwIfAborted();
      const length = Math.min(piece.length - at, gate?.pieceBytes ?? piece.length);
      await gate?.pass(length, signal);
      // A copy: the socket may hold it longer than the piece is ours.
      const isTaken = response.write(Buffer.from(piece.subarray(at, at + length)));
      at += length;
      if (artifact !== undefined) {
        this.servedBytes += length;
        onServed?.(length, artifact);
      }
      if (!isTaken) await once(response, "drain", { signal });
    }
  }
}

/** The same at every server that has the artifact, whose id is a digest over all its shards' hashes. */
function etagOf(artifact: ArtifactId, key: string): string {
  const digest = createHash("sha256").update(`${artifact}/${key}`).digest("hex");
  return `"${digest.slice(0, 32)}"`;
}

/** Whether the reader has what it asks for already (RFC 9110 §13.1.2). */
function isHeld({ headers }: IncomingMessage, etag: string): boolean {
  const given = headers["if-none-match"];
  if (given === undefined) return false;
  const tags = given.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes("*") || tags.includes(etag);
}

function statusOf(error: unknown): number {
  if (error instanceof WaybillError) {
    if (error.code === "not_found") return 404;
    if (error.code === "source_changed") return 410;
    if (error.code === "storage_full") return 507;
  }
  return isRetryable(error) ? 503 : 500;
}

function conclude(response: ServerResponse, status: number): void {
  if (status === 503) response.setHeader("retry-after", "1");
  response.writeHead(status, { "content-length": 0, "cache-control": "no-store" }).end();
}

function sendJson(response: ServerResponse, value: unknown): void {
  response
    .writeHead(200, { "content-type": "application/json", "cache-control": "no-store" })
    .end(JSON.stringify(value));
}
