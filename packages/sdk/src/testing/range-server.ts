// A plain web server of ranges for tests: files from memory, over real HTTP, capped, and with every fault that
// mirrors are known for.
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { closeServer } from "./close-server.ts";

/** What the server does with one request instead of serving it well. */
export type RangeFault =
  /** Answer this. */
  | {
      readonly type: "answer";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Reset the connection after so many body bytes. */
  | { readonly type: "cut"; readonly afterBytes: number }
  /** Say so many bytes more in `Content-Length` than the body has. */
  | { readonly type: "wrong-length"; readonly by: number }
  /** Answer as if the range began so many bytes later. */
  | { readonly type: "shift"; readonly by: number }
  /** Flip a bit of the body. */
  | { readonly type: "flip"; readonly at: number }
  /** Go silent after so many body bytes. */
  | { readonly type: "stall"; readonly afterBytes: number };

export type RangeServerRequest = {
  readonly path: string;
  readonly start: number;
  readonly end: number;
  readonly number: number;
};

/** Bytes a capped server sends at once. */
const SLICE_BYTES = 16 * 1024;

export class RangeServer {
  readonly files = new Map<string, Uint8Array>();
  /** Asked before each request. */
  fault: (request: RangeServerRequest) => RangeFault | undefined = () => undefined;
  /** Whether `Range` is understood. */
  ranges = true;
  etag: string | undefined = '"one"';
  /** All connections together; undefined is no limit. */
  bytesPerS: number | undefined;
  /** Every connection is reset at this age. */
  resetAgeMs: number | undefined;
  resets = 0;
  requests = 0;
  servedBytes = 0;
  /** Headers of the latest request. */
  headers: IncomingMessage["headers"] = {};
  #server: Server | undefined;
  #port = 0;
  /** When the capped link is free again. */
  #freeAtMs = 0;

  /** Serves these files, by path. */
  constructor(files: Iterable<readonly [string, Uint8Array]> = []) {
    for (const [path, bytes] of files) this.files.set(path, bytes);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<this> {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
    server.on("connection", (socket) => {
      const { resetAgeMs } = this;
      if (resetAgeMs === undefined) return;
      const timer = setTimeout(() => {
        this.resets += 1;
        socket.resetAndDestroy();
      }, resetAgeMs);
      socket.once("close", () => clearTimeout(timer));
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    const address = server.address();
    if (address !== null && typeof address === "object") this.#port = address.port;
    return this;
  }

  /** Cuts every connection and refuses new ones. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await closeServer(server);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.headers = request.headers;
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://mirror").pathname.slice(1));
    const bytes = this.files.get(path);
    const match = this.ranges ? /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") : null;
    const size = bytes?.length ?? 0;
    const start = Number(match?.[1] ?? 0);
    const end = Math.min(Number(match?.[2] ?? size - 1) + 1, size);
    const fault = this.fault({ path, start, end, number: this.requests++ });
    if (fault?.type === "answer") {
      response.writeHead(fault.status, fault.headers).end(fault.body ?? "");
      return;
    }
    if (bytes === undefined) {
      response.writeHead(404).end("no such file");
      return;
    }
    const shift = fault?.type === "shift" ? fault.by : 0;
    const body = Buffer.from(bytes.subarray(start + shift, end + shift));
    if (fault?.type === "flip" && fault.at < body.length) {
      body.writeUInt8(body.readUInt8(fault.at) ^ 1, fault.at);
    }
    response.writeHead(match === null ? 200 : 206, {
      "content-length": body.length + (fault?.type === "wrong-length" ? fault.by : 0),
      ...(match === null
        ? {}
        : { "content-range": `bytes ${start + shift}-${end + shift - 1}/${size}` }),
      ...(this.etag === undefined ? {} : { etag: this.etag }),
    });
    await this.#send(response, body, fault);
  }

  async #send(
    response: ServerResponse,
    body: Buffer,
    fault: RangeFault | undefined,
  ): Promise<void> {
    const cut = fault?.type === "cut" || fault?.type === "stall" ? fault.afterBytes : Infinity;
    const step = this.bytesPerS === undefined ? 256 * 1024 : SLICE_BYTES;
    for (let at = 0; at < Math.min(body.length, cut);) {
      const slice = body.subarray(at, Math.min(at + step, cut));
      await this.#pace(slice.length);
      if (response.destroyed) return;
      at += slice.length;
      this.servedBytes += slice.length;
      await new Promise<void>((resolve) => {
        response.write(slice, () => resolve());
        response.once("close", () => resolve());
      });
    }
    if (fault?.type === "stall") return;
    if (fault?.type === "cut") response.destroy();
    else response.end();
  }

  /** Waits for the turn of so many bytes on the capped link. */
  async #pace(bytes: number): Promise<void> {
    if (this.bytesPerS === undefined) return;
    const nowMs = performance.now();
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + (bytes * 1000) / this.bytesPerS;
    const waitMs = this.#freeAtMs - nowMs;
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}
