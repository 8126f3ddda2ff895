// A socket made of HTTP requests (docs/protocol/signaling.md §8), for networks that let no WebSocket through. One
// request at a time says what there is to say, another one waits for what the hub says; both are numbered, so that a
// request whose answer was lost is simply made again.
//
//   PUT poll [hello] ─▶ POST receive {next} ─▶ POST receive … ─▶ closed
//                    ╰▶ POST messages {first} ─▶ …
import {
  CLOSE,
  LIMITS,
  type RoomId,
  type RouteInput,
  type RouteOutput,
  WaybillError,
  cryptoRandom,
  messageOf,
  randomText,
} from "../protocol/index.ts";
import { type Credential, HubClient } from "./http.ts";
import type { SocketLike } from "./socket-like.ts";

export type LongPollInit = {
  readonly hub: { readonly url: string; readonly credential: Credential | undefined };
  readonly room: RoomId;
  readonly fetch?: typeof globalThis.fetch | undefined;
};

type PollRoute = "openPoll" | "sendPoll" | "receivePoll" | "closePoll";
type CloseFacts = { readonly code: number; readonly reason: string };

/** RFC 6455 §7.4.1: gone without a word of the other side. */
const ABNORMAL = 1006;
const NORMAL = 1000;
/** Messages of one request; escaped as JSON they are twice as long at most, and a body has 1 MiB. */
const BATCH_CHARS = LIMITS.signalingFrameBytes;
const BATCH_MESSAGES = 256;
/** As long as a ping of a session may stay unanswered; then everything begins anew. */
const RETRY_MS = LIMITS.keepAliveMs / 3;
/** Opening is one rung of a ladder: another one is tried soon. */
const OPEN_RETRY_MS = 3000;
const GOODBYE_MS = 2000;

export class LongPollSocket implements SocketLike {
  readonly #init: LongPollInit;
  readonly #client: HubClient;
  readonly #poll = randomText(32, cryptoRandom);
  readonly #target = new EventTarget();
  readonly #stopping = new AbortController();
  #queue: string[] = [];
  #buffered = 0;
  /** Number of the first message in the queue. */
  #first = 0;
  #isOpened = false;
  #isClosing = false;
  #sending: Promise<void> | undefined;

  constructor(init: LongPollInit) {
    this.#init = init;
    this.#client = new HubClient({
      url: init.hub.url,
      ...(init.fetch === undefined ? {} : { fetch: init.fetch }),
    });
    // The first message goes with the request that opens, so there is nothing to wait for.
    queueMicrotask(() => {
      if (!this.#isClosing) this.#target.dispatchEvent(new Event("open"));
    });
  }

  /** UTF-16 units that the hub has not confirmed; about its bytes. */
  get bufferedAmount(): number {
    return this.#buffered;
  }

  send(text: string): void {
    if (this.#isClosing) return;
    this.#queue.push(text);
    this.#buffered += text.length;
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  close(code = NORMAL, reason = ""): void {
    if (this.#isClosing) return;
    void this.#leave({ code, reason });
  }

  addEventListener(type: "open" | "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: CloseFacts) => void): void;
  addEventListener(type: string, listener: (event: never) => void): void {
    this.#target.addEventListener(type, (event) => listener(event as never));
  }

  /** What was sent is still delivered, as a WebSocket would. */
  async #leave(facts: CloseFacts): Promise<void> {
    this.#isClosing = true;
    const said = this.#sending;
    const late = setTimeout(() => this.#stopping.abort(), GOODBYE_MS);
    await said;
    if (this.#isOpened) {
      await this.#call("closePoll", { params: this.#params }, 0).catch(() => undefined);
    }
    clearTimeout(late);
    this.#stopping.abort();
    this.#emitClose(facts);
  }

  async #sendAll(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const messages = this.#batch();
        await this.#say(messages);
        this.#queue.splice(0, messages.length);
        this.#first += messages.length;
        for (const text of messages) this.#buffered -= text.length;
        if (!this.#isOpened) {
          this.#isOpened = true;
          void this.#receiveAll();
        }
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #say(messages: string[]): Promise<unknown> {
    const params = this.#params;
    return this.#isOpened
      ? this.#call("sendPoll", { params, body: { first: this.#first, messages } }, RETRY_MS)
      : this.#call("openPoll", { params, body: { messages } }, OPEN_RETRY_MS);
  }

  #batch(): string[] {
    let chars = 0;
    const batch: string[] = [];
    for (const text of this.#queue) {
      chars += text.length;
      if (batch.length > 0 && (chars > BATCH_CHARS || batch.length === BATCH_MESSAGES)) break;
      batch.push(text);
    }
    return batch;
  }

  async #receiveAll(): Promise<void> {
    let next = 0;
    try {
      for (;;) {
        const input = { params: this.#params, body: { next } };
        const { first, messages, closed } = await this.#call("receivePoll", input, RETRY_MS);
        if (first > next) throw new WaybillError("conflict", "messages of the hub are missing");
        for (const data of messages.slice(next - first)) {
          if (this.#isClosing) return;
          this.#target.dispatchEvent(Object.assign(new Event("message"), { data }));
        }
        next = Math.max(next, first + messages.length);
        if (closed !== undefined) {
          this.#end(closed);
          return;
        }
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  get #params(): { readonly room: RoomId; readonly poll: string } {
    return { room: this.#init.room, poll: this.#poll };
  }

  #call<N extends PollRoute>(
    name: N,
    input: RouteInput<N>,
    retryForMs: number,
  ): Promise<RouteOutput<N>> {
    // The credential of the moment: tokens are renewed while a poll lives.
    const { credential } = this.#init.hub;
    if (credential !== undefined) this.#client.useCredential(credential);
    return this.#client.call(name, input, { retryForMs, signal: this.#stopping.signal });
  }

  #fail(error: unknown): void {
    const isRefused =
      error instanceof WaybillError &&
      (error.code === "unauthorized" ||
        error.code === "token_expired" ||
        error.code === "forbidden");
    this.#end({ code: isRefused ? CLOSE.unauthorized : ABNORMAL, reason: messageOf(error) });
  }

  #end(facts: CloseFacts): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#stopping.abort();
    this.#emitClose(facts);
  }

  #emitClose(facts: CloseFacts): void {
    this.#target.dispatchEvent(Object.assign(new Event("close"), facts));
  }
}
