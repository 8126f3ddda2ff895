// One WebSocket, with its bounds: text frames only, keep-alive, a metered reader and a bounded writer. Knows
// nothing of rooms or messages (docs/protocol/signaling.md §1, §7).
import { CLOSE, messageOf } from "@waybill/sdk/protocol";
import type { RawData, WebSocket } from "ws";
import { RateGate } from "./rate-gate.ts";
import type { Delivery, Priority } from "./router.ts";
import { HIGH_WATER_BYTES, TRY_AGAIN_LATER, type Wire, type WireEvents } from "./wire.ts";

/** RFC 6455 §7.4.1. */
const UNSUPPORTED_DATA = 1003;
/** RFC 6455 §5.5: a close frame's payload is at most 125 bytes, 2 of them the code. */
const REASON_BYTES = 123;

export type PeerSocketInit = WireEvents & {
  readonly ws: WebSocket;
  readonly keepAliveMs: number;
  /** A peer that does not answer our close frame is cut off after this. */
  readonly closeGraceMs: number;
  readonly now: () => number;
};

export class PeerSocket implements Wire {
  readonly #ws: WebSocket;
  readonly #init: PeerSocketInit;
  readonly #gate: RateGate;
  readonly #keepAlive: NodeJS.Timeout;
  #heardAtMs: number;
  /** Reasons not to read; each holds until it is removed. */
  readonly #holds = new Set<"rate" | "caller">();
  #closing = false;

  constructor(init: PeerSocketInit) {
    const { ws, now, keepAliveMs } = init;
    this.#ws = ws;
    this.#init = init;
    this.#gate = new RateGate(now);
    this.#heardAtMs = now();
    this.#keepAlive = setInterval(() => this.#checkAlive(), keepAliveMs);
    ws.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
    ws.on("pong", () => this.#heard());
    ws.on("ping", () => this.#heard());
    // `ws` closes by itself after protocol errors (1009 for a large frame); the event only must not be unhandled.
    ws.on("error", () => {});
    ws.on("close", () => {
      this.#closing = true;
      clearInterval(this.#keepAlive);
      init.onClose();
    });
  }

  /** Stops handing out messages until `release`; the peer is slowed by TCP. */
  hold(): void {
    this.#setHold("caller", true);
  }

  release(): void {
    this.#setHold("caller", false);
  }

  /** Sends, or answers `busy` when too much waits; for the hub's own messages that closes the socket. */
  send(text: string, priority: Priority): Exclude<Delivery, "absent"> {
    if (this.#closing) return "busy";
    if (this.#ws.bufferedAmount > HIGH_WATER_BYTES[priority]) {
      if (priority === "hub") this.close(TRY_AGAIN_LATER, "reads too slowly");
      return "busy";
    }
    this.#ws.send(text, () => {
      // A failed send is followed by `close`, which tells everybody who needs to know.
    });
    return "delivered";
  }

  /** Closes with a code and a reason (cut to what a close frame holds); cut off if the peer does not answer. */
  close(code: number, reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#holds.clear();
    this.#ws.resume();
    this.#ws.close(code, cutUtf8(reason, REASON_BYTES));
    const cutOff = setTimeout(() => this.#ws.terminate(), this.#init.closeGraceMs);
    cutOff.unref();
    this.#ws.once("close", () => clearTimeout(cutOff));
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    this.#heard();
    if (this.#closing) return;
    if (isBinary) {
      this.close(UNSUPPORTED_DATA, "text frames only");
      return;
    }
    const text = textOf(data);
    const waitMs = this.#gate.take(text.length);
    if (waitMs > 0) {
      this.#setHold("rate", true);
      setTimeout(() => this.#setHold("rate", false), waitMs);
    }
    try {
      this.#init.onText(text);
    } catch (error) {
      // Nothing a peer sends may take the hub down.
      this.close(1011, messageOf(error));
    }
  }

  #heard(): void {
    this.#heardAtMs = this.#init.now();
  }

  #checkAlive(): void {
    const { now, keepAliveMs } = this.#init;
    if (this.#holds.size > 0) this.#heard();
    if (now() - this.#heardAtMs > 2 * keepAliveMs) {
      this.close(CLOSE.idle, `nothing heard for ${Math.round((2 * keepAliveMs) / 1000)} s`);
      return;
    }
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.ping();
  }

  #setHold(reason: "rate" | "caller", held: boolean): void {
    if (held) this.#holds.add(reason);
    else this.#holds.delete(reason);
    if (this.#closing) return;
    if (this.#holds.size > 0) this.#ws.pause();
    else this.#ws.resume();
  }
}

function textOf(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString("utf8");
  return (data instanceof ArrayBuffer ? Buffer.from(data) : data).toString("utf8");
}

/** The longest prefix of whole characters that fits `maxBytes`. */
function cutUtf8(text: string, maxBytes: number): string {
  let cut = text.slice(0, maxBytes);
  while (Buffer.byteLength(cut) > maxBytes) cut = Array.from(cut).slice(0, -1).join("");
  return cut;
}
