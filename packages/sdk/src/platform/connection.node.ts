// One HTTP/1.1 connection that carries one request after the other. Understands what object stores answer: fixed
// length, chunked, or until close; interim answers; an answer that comes before the body was sent.
import type * as net from "node:net";
import { WaybillError } from "../protocol/index.ts";
import { type RateGate, abortReason } from "../timing/index.ts";
import {
  type ByteRequest,
  type ConnectionFacts,
  DEFAULT_IDLE_MS,
  type GetRequest,
  type PutRequest,
} from "./byte-transport.ts";
import { connectionError, proxyRefusal } from "./connection-errors.node.ts";
import { dial } from "./dial.node.ts";
import { type Head, MAX_HEAD_BYTES, parseHead, requestText } from "./http-head.node.ts";
import { Inbox } from "./inbox.node.ts";
import type { Proxy } from "./proxy.node.ts";

/**
 * Bodies go to the socket in slices, so that progress is seen and counted as it happens: small ones on slow links,
 * where an upload's pace is measured by them, large ones where a slice is gone at once.
 */
const SLICE_BYTES = { first: 128 * 1024, least: 64 * 1024, most: 1024 * 1024 };
const QUICK_SLICE_MS = 10;
const SLOW_SLICE_MS = 100;
/** A server that says how long it keeps connections may be a little quicker than it says. */
const KEEP_MARGIN_MS = 1000;

export type OpenInit = {
  readonly url: URL;
  readonly proxy: Proxy | undefined;
  readonly lookup: net.LookupFunction | undefined;
  readonly signal: AbortSignal | undefined;
  readonly idleMs: number | undefined;
};

/** Gates that bytes pass through, when there are limits. */
export type Gates = { readonly up: RateGate | undefined; readonly down: RateGate | undefined };

export class Connection {
  readonly openedAtMs = performance.now();
  readonly #host: string;
  readonly #proxy: Proxy | undefined;
  readonly #inbox = new Inbox();
  #socket: net.Socket | undefined;
  #paused = true;
  #closed: Error | "end" | undefined;
  #wake: (() => void) | undefined;
  #resting: (() => void) | undefined;
  #restsUntilMs = Number.POSITIVE_INFINITY;
  #release: () => void = () => undefined;
  #signal: AbortSignal | undefined;
  #requests = 0;
  /** Waits at a gate: our own side, not the other one, is slow. */
  #sliceBytes = SLICE_BYTES.first;
  #gated = false;
  /** Whether body bytes of the request are still to be sent. */
  #unsent = false;
  /** Whether the answer's final head has come. */
  #decided = false;
  /** Whether a byte of the current answer has come. */
  answered = false;

  private constructor(host: string, proxy: Proxy | undefined) {
    this.#host = host;
    this.#proxy = proxy;
  }

  /** Throws what `dial` throws. */
  static async open(init: OpenInit): Promise<Connection> {
    const { url, proxy, lookup, signal, idleMs = DEFAULT_IDLE_MS } = init;
    const connection = new Connection(url.host, proxy);
    const onread = {
      buffer: () => connection.#inbox.next,
      callback: (bytes: number, into: Uint8Array) => connection.#received(bytes, into),
    };
    const { socket, byOnread } = await dial({
      url,
      proxy,
      lookup,
      signal,
      onread,
      timeoutMs: Math.min(idleMs, DEFAULT_IDLE_MS),
    });
    connection.#attach(socket, byOnread);
    return connection;
  }

  facts(): ConnectionFacts {
    return { reused: this.#requests > 0, openedAtMs: this.openedAtMs, host: this.#host };
  }

  /** Whether it may carry another request. */
  isFit(maxAgeMs: number): boolean {
    const nowMs = performance.now();
    const young = nowMs - this.openedAtMs <= maxAgeMs;
    return this.#closed === undefined && young && nowMs < this.#restsUntilMs;
  }

  /** Sends a request and reads the head of its answer; a body goes on being sent until there is one. */
  async ask(
    method: string,
    url: URL,
    request: ByteRequest & Partial<PutRequest>,
    gates: Gates,
  ): Promise<Head> {
    const { signal, body } = request;
    request.onConnection?.(this.facts());
    this.#requests += 1;
    this.answered = false;
    this.#decided = false;
    this.#resting = undefined;
    this.#socket?.ref();
    this.#socket?.setTimeout(request.idleMs ?? DEFAULT_IDLE_MS);
    const onAbort = () => this.destroy();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#release = () => signal?.removeEventListener("abort", onAbort);
    this.#signal = signal;
    try {
      if (this.#closed !== undefined) throw this.#failure();
      const via = url.protocol === "http:" ? this.#proxy : undefined;
      const text = requestText(
        method,
        url,
        {
          ...(via?.authorization === undefined ? {} : { "proxy-authorization": via.authorization }),
          ...request.headers,
          ...(body === undefined ? {} : { "content-length": String(body.length) }),
        },
        via !== undefined,
      );
      this.#socket?.write(text, "latin1");
      // Ends with the request, which tells of a failure better than a write does.
      if (body !== undefined) this.#send(body, request.onSent, gates.up).catch(() => undefined);
      let head = await this.#readHead();
      while (head.status >= 100 && head.status < 200) head = await this.#readHead();
      this.#decided = true;
      if (via !== undefined && head.status === 407) throw proxyRefusal(via.name, this.#host, 407);
      return head;
    } catch (error) {
      this.destroy();
      throw signal?.aborted === true ? abortReason(signal) : error;
    }
  }

  /** The body of the answer; calls `keep` when it was read whole and the connection may be used again. */
  async *body(
    head: Head,
    {
      into,
      gate,
      keep,
    }: { into?: GetRequest["into"]; gate: RateGate | undefined; keep: () => void },
  ): AsyncGenerator<Uint8Array> {
    let whole = false;
    const signal = this.#signal;
    try {
      if (head.framing === "none") {
        // RFC 9110 §6.4.1: no body.
      } else if (head.framing === "chunked") yield* this.#chunked(gate);
      else if (head.framing === "close") {
        yield* this.#untilEnd(gate);
        return;
      } else {
        // A limited reader takes small pieces: it must not fill megabytes ahead.
        const target = gate === undefined ? into : undefined;
        this.#inbox.beginBody(
          head.framing.bytes,
          target === undefined ? undefined : (at, most) => target(at)?.subarray(0, most),
        );
        yield* this.#exactly(head.framing.bytes, gate);
      }
      whole = head.mayKeep;
    } catch (error) {
      throw signal?.aborted === true ? abortReason(signal) : error;
    } finally {
      this.#inbox.endBody();
      this.#release();
      if (whole && !this.#unsent && this.#closed === undefined && this.#inbox.waiting === 0) {
        if (head.keepMs !== undefined) {
          this.#restsUntilMs = performance.now() + head.keepMs - KEEP_MARGIN_MS;
        }
        keep();
      } else this.destroy();
    }
  }

  /** Lies idle: does not keep the process alive; tells when the server closes it. */
  rest(onClosed: () => void): void {
    this.#resting = onClosed;
    this.#socket?.setTimeout(0);
    this.#socket?.unref();
    // Reading goes on so that the server's close is seen.
    this.#resume();
  }

  destroy(): void {
    this.#release();
    this.#socket?.destroy();
    this.#close("end");
  }

  #attach(socket: net.Socket, byOnread: boolean): void {
    this.#socket = socket;
    socket.on("timeout", () => this.#onTimeout());
    socket.on("error", (cause) => this.#close(cause));
    socket.on("end", () => this.#close("end"));
    socket.on("close", () => this.#close("end"));
    if (byOnread) return;
    socket.on("data", (chunk: Buffer) => {
      this.#inbox.give(chunk);
      socket.pause();
      this.#paused = true;
      this.#arrived();
    });
  }

  /** Bytes came; gives whether reading goes on at once. */
  #received(bytes: number, into: Uint8Array): boolean {
    const goesOn = this.#inbox.received(bytes, into);
    this.#paused = !goesOn;
    this.#arrived();
    return goesOn;
  }

  #arrived(): void {
    // Out of turn: the server says that it will close, or has lost count.
    if (this.#resting !== undefined) this.destroy();
    this.answered = true;
    this.#wakeReader();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket?.resume();
  }

  #onTimeout(): void {
    const { timeout = 0 } = this.#socket ?? {};
    if (this.#wake === undefined || this.#gated) {
      // Nobody waits for bytes: it is our own side that is slow. Watch on.
      this.#socket?.setTimeout(timeout);
      return;
    }
    const text = `${this.#host} moved no byte for ${timeout / 1000} s`;
    this.#socket?.destroy(new WaybillError("timeout", text));
  }

  #close(reason: Error | "end"): void {
    this.#closed ??= reason;
    const resting = this.#resting;
    this.#resting = undefined;
    resting?.();
    this.#wakeReader();
  }

  #wakeReader(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #failure(missing = 0): WaybillError {
    const cause = this.#closed;
    if (cause instanceof Error) return connectionError(this.#host, cause);
    const text =
      missing > 0 ? `closed ${missing} bytes before the end` : "closed by the other side";
    return connectionError(this.#host, new Error(text));
  }

  /** Sends a body in slices until it is out, was answered, or the connection failed. */
  async #send(
    body: Uint8Array,
    onSent: PutRequest["onSent"],
    gate: RateGate | undefined,
  ): Promise<void> {
    this.#unsent = true;
    for (let at = 0; at < body.length;) {
      const sliceBytes = Math.min(this.#sliceBytes, gate?.pieceBytes ?? this.#sliceBytes);
      const slice = body.subarray(at, at + sliceBytes);
      if (gate !== undefined) await this.#pay(slice.length, gate);
      if (this.#decided) return;
      const startedMs = performance.now();
      if (!(await this.#write(slice)) || this.#decided) return;
      const tookMs = performance.now() - startedMs;
      if (tookMs < QUICK_SLICE_MS)
        this.#sliceBytes = Math.min(SLICE_BYTES.most, this.#sliceBytes * 2);
      if (tookMs > SLOW_SLICE_MS)
        this.#sliceBytes = Math.max(SLICE_BYTES.least, this.#sliceBytes / 2);
      at += slice.length;
      onSent?.(slice.length);
    }
    this.#unsent = false;
  }

  /** Pays for bytes before they go: a body's last slice counts like the others, although nothing follows it. */
  async #pay(bytes: number, gate: RateGate): Promise<void> {
    this.#gated = true;
    try {
      await gate.pass(bytes, this.#signal);
    } finally {
      this.#gated = false;
    }
  }

  /** Whether the bytes went to the kernel. */
  #write(bytes: Uint8Array): Promise<boolean> {
    return new Promise((resolve) => {
      if (this.#socket === undefined) resolve(false);
      else this.#socket.write(bytes, (error) => resolve(error === null || error === undefined));
    });
  }

  /** Waits until bytes are there; false when the other side ended. */
  async #fill(): Promise<boolean> {
    if (this.#inbox.waiting > 0) return true;
    if (this.#closed === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#resume();
      });
    }
    if (this.#inbox.waiting > 0) return true;
    if (this.#closed === "end") return false;
    throw this.#failure();
  }

  async *#exactly(length: number, gate: RateGate | undefined): AsyncGenerator<Uint8Array> {
    for (let left = length; left > 0;) {
      if (!(await this.#fill())) throw this.#failure(left);
      const bytes = this.#inbox.take(Math.min(left, gate?.pieceBytes ?? left));
      left -= bytes.length;
      yield bytes;
      if (gate !== undefined) await gate.pass(bytes.length, this.#signal);
    }
  }

  async *#untilEnd(gate: RateGate | undefined): AsyncGenerator<Uint8Array> {
    while (await this.#fill()) {
      const bytes = this.#inbox.take(gate?.pieceBytes ?? Number.POSITIVE_INFINITY);
      yield bytes;
      if (gate !== undefined) await gate.pass(bytes.length, this.#signal);
    }
  }

  async *#chunked(gate: RateGate | undefined): AsyncGenerator<Uint8Array> {
    for (;;) {
      const line = await this.#readLine();
      const size = /^[0-9a-f]{1,12}(?=[\s;]|$)/i.exec(line)?.[0];
      if (size === undefined) {
        throw new WaybillError("unreachable", `${this.#host} sent a malformed chunked body`);
      }
      if (Number.parseInt(size, 16) === 0) break;
      yield* this.#exactly(Number.parseInt(size, 16), gate);
      await this.#readLine();
    }
    while ((await this.#readLine()) !== "") {
      // Trailers are not used.
    }
  }

  async #readLine(): Promise<string> {
    for (let line = ""; ;) {
      if (!(await this.#fill())) throw this.#failure();
      line += Buffer.from(this.#inbox.takeLine()).toString("latin1");
      if (line.length > MAX_HEAD_BYTES) {
        throw new WaybillError("unreachable", `${this.#host} did not answer in HTTP`);
      }
      if (line.endsWith("\n")) return line.replace(/\r?\n$/, "");
    }
  }

  async #readHead(): Promise<Head> {
    const lines: string[] = [];
    for (let size = 0; ;) {
      const line = await this.#readLine();
      if (line === "" && lines.length > 0) return parseHead(lines, this.#host);
      lines.push(line);
      // Whether it speaks HTTP at all shows in the first line.
      if (lines.length === 1) parseHead(lines, this.#host);
      size += line.length;
      if (size > MAX_HEAD_BYTES) {
        throw new WaybillError("unreachable", `${this.#host} sent too long a head`);
      }
    }
  }
}
