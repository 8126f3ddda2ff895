/**
 * The HTTP face: accepts connections, authenticates, finds the operation, answers errors, and
 * winds down without cutting anybody off.
 */
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Authenticator } from "../auth/authenticate.ts";
import type { StoreCore } from "../core.ts";
import { S3Error, toS3Error } from "../s3-error.ts";
import { selectOperation } from "./router.ts";
import { S3Request } from "./s3-request.ts";
import { answerPreflight, S3Response } from "./s3-response.ts";
import { parseTarget } from "./target.ts";

export interface StoreServerInit {
  readonly core: StoreCore;
  readonly authenticator: Authenticator;
}

/** Presigned URLs with long keys and many signed headers stay below. */
const MAX_HEADER_BYTES = 64 * 1024;
/** Above the 60 s that common proxies and SDK pools keep a connection idle. */
const KEEP_ALIVE_MS = 75_000;
/** A connection without a byte for this long is dead (S3's RequestTimeout is of this order). */
const IDLE_MS = 120_000;
/** After an early refusal, this much of the body is read so that the client sees the answer. */
const MAX_DRAIN_BYTES = 64 * 1024 * 1024;
/** How long `stop` waits for requests under way. */
const DRAIN_MS = 10_000;

export class StoreServer {
  readonly #core: StoreCore;
  readonly #authenticator: Authenticator;
  readonly #server: Server;
  readonly #running = new Set<Promise<void>>();
  #stopping = false;

  constructor({ core, authenticator }: StoreServerInit) {
    this.#core = core;
    this.#authenticator = authenticator;
    this.#server = createServer({
      maxHeaderSize: MAX_HEADER_BYTES,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // A large body over a slow line takes as long as it takes; idleness is what ends it.
      requestTimeout: 0,
    });
    const accept =
      (expectsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) => {
        const done = this.#serve(request, response, expectsContinue);
        this.#running.add(done);
        void done.finally(() => this.#running.delete(done));
      };
    this.#server.on("request", accept(false));
    this.#server.on("checkContinue", accept(true));
    this.#server.on("checkExpectation", accept(false));
    this.#server.setTimeout(IDLE_MS);
  }

  /** Listens; resolves with the port. Rejects with Node's error when the address is taken. */
  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, host, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** Takes no new connection, lets requests end (up to 10 s), then closes. */
  async close(): Promise<void> {
    this.#stopping = true;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), DRAIN_MS);
    await Promise.all(this.#running);
    this.#server.closeIdleConnections();
    await closed;
    clearTimeout(timer);
  }

  async #serve(
    message: IncomingMessage,
    raw: ServerResponse,
    expectsContinue: boolean,
  ): Promise<void> {
    if (message.method === "OPTIONS") {
      answerPreflight(message, raw);
      return;
    }
    const response = new S3Response(raw, message, randomBytes(8).toString("hex").toUpperCase());
    if (this.#stopping) response.closeConnection();
    let continued = !expectsContinue;
    const beforeBody = (): void => {
      if (!continued) raw.writeContinue();
      continued = true;
    };
    try {
      await this.#dispatch(message, response, beforeBody);
    } catch (error) {
      this.#fail(message, response, error, continued);
    }
    this.#drain(message, raw);
  }

  async #dispatch(
    message: IncomingMessage,
    response: S3Response,
    beforeBody: () => void,
  ): Promise<void> {
    const target = parseTarget(message.url ?? "/", message.headers.host ?? "");
    const authentication = this.#authenticator.authenticate({
      method: message.method ?? "GET",
      path: target.path,
      query: target.query,
      headers: headerPairs(message.rawHeaders),
    });
    const request = new S3Request({ message, target, authentication, beforeBody });
    checkExpectedOwner(request, this.#core.ownerId);
    const streams = request.method === "PUT" && request.key !== "";
    if (authentication.payload.kind === "chunked" && !streams) {
      throw new S3Error("InvalidRequest", {
        message: "The value of x-amz-content-sha256 header is invalid.",
      });
    }
    await selectOperation(request)({ request, response, core: this.#core });
  }

  #fail(message: IncomingMessage, response: S3Response, error: unknown, continued: boolean): void {
    // A client that hung up is told nothing and is no fault of the store.
    if (message.destroyed && !message.complete) return;
    const failure = toS3Error(error);
    if (failure.status >= 500 && failure.code !== "NotImplemented") {
      this.#core.log({
        level: "error",
        message: `${message.method} ${message.url?.split("?")[0]} failed: ${failure.code}`,
        requestId: response.requestId,
        cause: failure.cause ?? failure,
      });
    }
    if (response.started) {
      response.destroy(failure);
      return;
    }
    // The client never got its "100 Continue": whether a body follows is anybody's guess.
    if (!continued) response.closeConnection();
    response.error(failure, decodedPath(message.url ?? ""));
  }

  /** Reads on after an early answer: closing at once would reset the connection under it. */
  #drain(message: IncomingMessage, response: ServerResponse): void {
    if (message.complete || message.destroyed) return;
    let drained = 0;
    message.on("data", (chunk: Buffer) => {
      drained += chunk.length;
      if (drained > MAX_DRAIN_BYTES) response.destroy();
    });
    message.on("error", () => {});
    message.resume();
  }
}

/** Clients may insist on whose bucket they touch; here all belong to one account. */
function checkExpectedOwner(request: S3Request, ownerId: string): void {
  for (const name of ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"]) {
    const expected = request.header(name);
    if (expected !== undefined && expected !== ownerId) throw new S3Error("AccessDenied");
  }
}

function headerPairs(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) pairs.push([raw[at]!, raw[at + 1]!]);
  return pairs;
}

function decodedPath(url: string): string {
  try {
    return parseTarget(url, "").path;
  } catch (error) {
    if (error instanceof S3Error) return "/";
    throw error;
  }
}
