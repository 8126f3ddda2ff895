// GET over HTTP/1.1 straight from the socket: the kernel fills one buffer per connection and the body is
// handed on from there, so no memory is made per read. Understands what object stores answer: fixed length,
// chunked, or until close; keeps connections alive.
import * as net from "node:net";
import * as tls from "node:tls";
import { WaybillError, messageOf } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import { type ByteRequest, DEFAULT_IDLE_MS, type GetAnswer } from "./byte-transport.ts";

/** What one read may take from the kernel; larger ones gave nothing more on loopback. */
const READ_BYTES = 256 * 1024;
/** Response heads of object stores are below 4 KiB. */
const MAX_HEAD_BYTES = 64 * 1024;
/** Idle connections kept per origin: as many as one transfer uses. */
const MAX_IDLE = 8;

type Head = { readonly status: number; readonly headers: ReadonlyMap<string, string> };

/** Kept-alive connections by origin. */
export class ConnectionPool {
  readonly #idle = new Map<string, Connection[]>();

  async get(request: ByteRequest): Promise<GetAnswer> {
    request.signal?.throwIfAborted();
    const url = new URL(request.url);
    const kept = this.#idle.get(url.origin)?.pop();
    if (kept !== undefined) {
      try {
        return await this.#ask(kept, url, request);
      } catch (error) {
        // The server closed the kept connection while the request was on its way: RFC 9112 §9.3.1
        // allows a GET to be sent again.
        if (kept.answered || request.signal?.aborted === true) throw error;
      }
    }
    return this.#ask(await Connection.open(url, request.signal), url, request);
  }

  close(): void {
    for (const connections of this.#idle.values()) for (const one of connections) one.destroy();
    this.#idle.clear();
  }

  async #ask(connection: Connection, url: URL, request: ByteRequest): Promise<GetAnswer> {
    const head = await connection.ask(url, request);
    const keep = () => {
      const list = this.#idle.get(url.origin) ?? [];
      this.#idle.set(url.origin, list);
      if (list.length >= MAX_IDLE) connection.destroy();
      else
        list.push(
          connection.rest(() =>
            list.splice(0, list.length, ...list.filter((one) => one !== connection)),
          ),
        );
    };
    return {
      status: head.status,
      header: (name) => head.headers.get(name.toLowerCase()),
      body: connection.body(head, keep),
    };
  }
}

class Connection {
  readonly #socket: net.Socket;
  readonly #buffer: Buffer;
  readonly #host: string;
  /** Bytes of the buffer not yet taken. */
  #start = 0;
  #end = 0;
  #closed: Error | "end" | undefined;
  #wake: (() => void) | undefined;
  #onClosed: (() => void) | undefined;
  #release: () => void = () => undefined;
  #signal: AbortSignal | undefined;
  #opening = true;
  /** Whether a byte of the current answer has come. */
  answered = false;

  private constructor(socket: net.Socket, buffer: Buffer, host: string) {
    this.#socket = socket;
    this.#buffer = buffer;
    this.#host = host;
  }

  static open(url: URL, signal: AbortSignal | undefined): Promise<Connection> {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    const secure = url.protocol === "https:";
    const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
    const host = url.hostname.replace(/^\[|\]$/g, "");
    let connection: Connection | undefined;
    const onread = {
      buffer,
      callback: (bytes: number) => {
        connection?.filled(bytes);
        // Paused until the reader has taken these bytes: backpressure without a queue.
        return false;
      },
    };
    const common = { host, port, noDelay: true, onread };
    const socket = secure
      ? tls.connect({
          ...common,
          ALPNProtocols: ["http/1.1"],
          ...(net.isIP(host) === 0 ? { servername: host } : {}),
        })
      : net.connect(common);
    connection = new Connection(socket, buffer, url.host);
    return connection.#opened(secure ? "secureConnect" : "connect", signal);
  }

  #opened(event: string, signal: AbortSignal | undefined): Promise<Connection> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const onAbort = () => socket.destroy(signal === undefined ? undefined : abortReason(signal));
      signal?.addEventListener("abort", onAbort, { once: true });
      socket.setTimeout(DEFAULT_IDLE_MS, () => this.#onTimeout());
      socket.once(event, () => {
        signal?.removeEventListener("abort", onAbort);
        this.#opening = false;
        resolve(this);
      });
      socket.on("error", (cause) => {
        signal?.removeEventListener("abort", onAbort);
        this.#close(cause);
        reject(signal?.aborted === true ? abortReason(signal) : this.#failure());
      });
      socket.on("end", () => this.#close("end"));
      socket.on("close", () => this.#close("end"));
    });
  }

  /** Sends a GET and reads the head of its answer. */
  async ask(url: URL, request: ByteRequest): Promise<Head> {
    const { signal } = request;
    this.answered = false;
    this.#onClosed = undefined;
    this.#socket.ref();
    this.#socket.setTimeout(request.idleMs ?? DEFAULT_IDLE_MS);
    const onAbort = () => this.destroy();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#release = () => signal?.removeEventListener("abort", onAbort);
    this.#signal = signal;
    try {
      if (this.#closed !== undefined) throw this.#failure();
      this.#socket.write(requestText(url, request.headers ?? {}), "latin1");
      let head = await this.#readHead();
      while (head.status >= 100 && head.status < 200) head = await this.#readHead();
      return head;
    } catch (error) {
      this.destroy();
      throw signal?.aborted === true ? abortReason(signal) : error;
    }
  }

  /** The body of the answer; calls `keep` when it was read whole and the connection may be used again. */
  async *body(head: Head, keep: () => void): AsyncGenerator<Uint8Array> {
    let whole = false;
    const signal = this.#signal;
    try {
      const encoding = head.headers.get("transfer-encoding")?.toLowerCase() ?? "";
      const length = head.headers.get("content-length");
      if (head.status === 204 || head.status === 304) {
        // RFC 9110 §6.4.1: no body.
      } else if (encoding.includes("chunked")) yield* this.#chunked();
      else if (length !== undefined) yield* this.#exactly(Number(length));
      else {
        yield* this.#untilEnd();
        return;
      }
      whole = head.headers.get("connection")?.toLowerCase() !== "close";
    } catch (error) {
      throw signal?.aborted === true ? abortReason(signal) : error;
    } finally {
      this.#release();
      if (whole && this.#closed === undefined && this.#start === this.#end) keep();
      else this.destroy();
    }
  }

  /** Lies idle: does not keep the process alive; tells when the server closes it. */
  rest(onClosed: () => void): this {
    this.#onClosed = onClosed;
    this.#socket.setTimeout(0);
    this.#socket.unref();
    // Reading goes on so that the server's close is seen; bytes out of turn would be a protocol error.
    this.#socket.resume();
    return this;
  }

  filled(bytes: number): void {
    this.#start = 0;
    this.#end = bytes;
    this.answered = true;
    this.#wakeReader();
  }

  destroy(): void {
    this.#release();
    this.#socket.destroy();
    this.#close("end");
  }

  #onTimeout(): void {
    // While nobody waits for bytes it is our own side that is slow.
    if (this.#wake === undefined && !this.#opening) return;
    const seconds = (this.#socket.timeout ?? 0) / 1000;
    this.#socket.destroy(
      new WaybillError("timeout", `${this.#host} moved no byte for ${seconds} s`),
    );
  }

  #close(reason: Error | "end"): void {
    this.#closed ??= reason;
    this.#onClosed?.();
    this.#wakeReader();
  }

  #wakeReader(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #failure(): WaybillError {
    const cause = this.#closed;
    if (cause instanceof WaybillError) return cause;
    const why =
      cause === undefined || cause === "end" ? "closed by the other side" : messageOf(cause);
    return new WaybillError("unreachable", `connection to ${this.#host} failed (${why})`, {
      cause: cause instanceof Error ? cause : undefined,
    });
  }

  /** Waits until the buffer holds bytes; false when the other side ended. */
  async #fill(): Promise<boolean> {
    if (this.#start < this.#end) return true;
    if (this.#closed === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#socket.resume();
      });
    }
    if (this.#start < this.#end) return true;
    if (this.#closed === "end") return false;
    throw this.#failure();
  }

  #take(most: number): Uint8Array {
    const bytes = this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + most));
    this.#start += bytes.length;
    return bytes;
  }

  async *#exactly(length: number): AsyncGenerator<Uint8Array> {
    for (let left = length; left > 0;) {
      if (!(await this.#fill())) throw this.#failure();
      const bytes = this.#take(left);
      left -= bytes.length;
      yield bytes;
    }
  }

  async *#untilEnd(): AsyncGenerator<Uint8Array> {
    while (await this.#fill()) yield this.#take(READ_BYTES);
  }

  async *#chunked(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const size = Number.parseInt(await this.#readLine(), 16);
      if (!Number.isSafeInteger(size) || size < 0) {
        throw new WaybillError("unreachable", `${this.#host} sent a malformed chunked body`);
      }
      if (size === 0) break;
      yield* this.#exactly(size);
      await this.#readLine();
    }
    while ((await this.#readLine()) !== "") {
      // Trailers are not used.
    }
  }

  async #readLine(): Promise<string> {
    let line = "";
    for (;;) {
      if (!(await this.#fill())) throw this.#failure();
      const at = this.#buffer.indexOf(0x0a, this.#start);
      const found = at !== -1 && at < this.#end;
      line += Buffer.from(this.#take(found ? at + 1 - this.#start : READ_BYTES)).toString("latin1");
      if (line.length > MAX_HEAD_BYTES) {
        throw new WaybillError("unreachable", `${this.#host} did not answer in HTTP`);
      }
      if (found) return line.replace(/\r?\n$/, "");
    }
  }

  async #readHead(): Promise<Head> {
    const first = await this.#readLine();
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1];
    if (status === undefined) {
      throw new WaybillError("unreachable", `${this.#host} did not answer in HTTP/1.1`);
    }
    const headers = new Map<string, string>();
    for (let size = 0; ;) {
      const line = await this.#readLine();
      if (line === "") return { status: Number(status), headers };
      size += line.length;
      if (size > MAX_HEAD_BYTES) {
        throw new WaybillError("unreachable", `${this.#host} sent too long a head`);
      }
      const colon = line.indexOf(":");
      headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    }
  }
}

function requestText(url: URL, headers: Readonly<Record<string, string>>): string {
  const lines = [`GET ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`];
  for (const [name, value] of Object.entries(headers)) {
    if (/[\r\n]/.test(name + value)) {
      throw new WaybillError("invalid_request", `header ${name} holds a line break`);
    }
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}
