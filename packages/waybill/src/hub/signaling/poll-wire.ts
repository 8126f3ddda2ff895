// One peer's messages over HTTP requests (docs/protocol/signaling.md §8): what waits for it is numbered and kept until
// the next question confirms it, and what it says is numbered, so that a lost answer loses and repeats nothing.
import { CLOSE, LIMITS, type RouteOutput, WaybillError, messageOf } from "@waybill/sdk/protocol";
import { RateGate } from "./rate-gate.ts";
import type { Delivery, Priority } from "./router.ts";
import { HIGH_WATER_BYTES, TRY_AGAIN_LATER, type Wire, type WireEvents } from "./wire.ts";

export type PollWireInit = WireEvents & {
  readonly keepAliveMs: number;
  /** How long a question waits for something to answer. */
  readonly waitMs: number;
  readonly now: () => number;
};

export type PollAnswer = RouteOutput<"receivePoll">;

/** Text of one answer; a question more costs a round trip. At least one message is in it. */
const ANSWER_CHARS = 512 * 1024;
const TOO_BIG = 1009;
const HUB_ERROR = 1011;

export class PollWire implements Wire {
  readonly #init: PollWireInit;
  readonly #gate: RateGate;
  /** Said and not confirmed; the first has number `#first`. */
  #queue: string[] = [];
  #first = 0;
  #chars = 0;
  /** Number of the peer's next message. */
  #next = 0;
  #closed: { readonly code: number; readonly reason: string } | undefined;
  #answer: (() => void) | undefined;
  #heardAtMs: number;

  constructor(init: PollWireInit) {
    this.#init = init;
    this.#gate = new RateGate(init.now);
    this.#heardAtMs = init.now();
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  hold(): void {
    // Its peer waits for answers; what it says meanwhile is bounded above.
  }

  release(): void {
    // See `hold`.
  }

  send(text: string, priority: Priority): Exclude<Delivery, "absent"> {
    if (this.#closed !== undefined) return "busy";
    if (this.#chars > HIGH_WATER_BYTES[priority]) {
      if (priority === "hub") this.close(TRY_AGAIN_LATER, "reads too slowly");
      return "busy";
    }
    this.#queue.push(text);
    this.#chars += text.length;
    this.#answer?.();
    return "delivered";
  }

  close(code: number, reason: string): void {
    if (this.#closed !== undefined) return;
    this.#closed = { code, reason };
    this.#answer?.();
    this.#init.onClose();
  }

  /**
   * Takes the peer's messages, of which the first has number `first`; those it has taken before are passed over.
   * Answers how long the sender is to be kept waiting. Throws `conflict` for a hole.
   */
  accept(first: number, messages: readonly string[]): { next: number; slowMs: number } {
    this.#heard();
    if (first > this.#next) {
      throw new WaybillError("conflict", `messages ${this.#next} to ${first - 1} have not come`);
    }
    let slowMs = 0;
    for (const text of messages.slice(this.#next - first)) {
      this.#next += 1;
      slowMs = Math.max(slowMs, this.#gate.take(text.length));
      this.#hand(text);
    }
    return { next: this.#next, slowMs };
  }

  /** Confirms all below `next`, and answers what follows as soon as there is something. Throws `conflict` for a hole. */
  async receive(next: number, signal: AbortSignal): Promise<PollAnswer> {
    this.#heard();
    if (next < this.#first || next > this.#first + this.#queue.length) {
      throw new WaybillError("conflict", `message ${next} is not kept`);
    }
    const confirmed = this.#queue.splice(0, next - this.#first);
    this.#first = next;
    for (const text of confirmed) this.#chars -= text.length;
    // A question that comes while another waits is its repetition.
    this.#answer?.();
    if (this.#queue.length === 0 && this.#closed === undefined) await this.#something(signal);
    this.#heard();
    return this.#batch(next);
  }

  /** Closes when nothing was asked or said for too long. */
  checkAlive(): void {
    const { now, keepAliveMs } = this.#init;
    if (this.#answer !== undefined) this.#heard();
    if (now() - this.#heardAtMs <= 2 * keepAliveMs) return;
    this.close(CLOSE.idle, `nothing heard for ${Math.round((2 * keepAliveMs) / 1000)} s`);
  }

  #hand(text: string): void {
    if (this.#closed !== undefined) return;
    if (Buffer.byteLength(text) > LIMITS.signalingFrameBytes) {
      this.close(TOO_BIG, "message is too large");
      return;
    }
    try {
      this.#init.onText(text);
    } catch (error) {
      // Nothing a peer sends may take the hub down.
      this.close(HUB_ERROR, messageOf(error));
    }
  }

  #something(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        if (this.#answer === end) this.#answer = undefined;
        resolve();
      };
      const timer = setTimeout(end, this.#init.waitMs);
      signal.addEventListener("abort", end, { once: true });
      this.#answer = end;
      if (signal.aborted) end();
    });
  }

  #batch(next: number): PollAnswer {
    // Meanwhile a repetition of this question, or the one after it, was answered.
    const from = Math.max(0, next - this.#first);
    const messages: string[] = [];
    let chars = 0;
    for (const text of this.#queue.slice(from)) {
      if (messages.length > 0 && chars + text.length > ANSWER_CHARS) break;
      messages.push(text);
      chars += text.length;
    }
    const isAll = from + messages.length === this.#queue.length;
    const closed = isAll && this.#closed !== undefined ? { closed: this.#closed } : {};
    return { first: this.#first + from, messages, ...closed };
  }

  #heard(): void {
    this.#heardAtMs = this.#init.now();
  }
}
