// One link's messages through the hub: sealed, in order, and bounded. WebCrypto answers later, so each direction is a
// chain of promises; what waits in it counts as not yet sent.
import { type PeerId, WaybillError, messageOf } from "../protocol/index.ts";
import { BoundedWriter, LOW_WATER_BYTES } from "./bounded-writer.ts";
import type { Clock } from "./clock.ts";
import type { RelayBox } from "./relay-box.ts";
import type { SignalingPort } from "./signaling-port.ts";

export type RelayPathInit = {
  readonly signaling: SignalingPort;
  readonly box: RelayBox;
  readonly peer: PeerId;
  readonly clock: Clock;
  /** The text of a message that was really the peer's. */
  readonly onText: (text: string) => void;
  /** A message of ours did not leave. */
  readonly onLost: (code: string) => void;
  readonly onProblem: (error: WaybillError) => void;
};

/** The W3C WebSocket has no drain event; only a choked relay waits this way. */
const RELAY_POLL_MS = 5;
/** Opening takes a tenth of a millisecond: more of one peer gather only while this process is held up. */
const MAX_OPENING = 1024;

export class RelayPath {
  readonly #init: RelayPathInit;
  readonly #writer: BoundedWriter<string>;
  #sealing: Promise<void> = Promise.resolve();
  #sealingBytes = 0;
  #opening: Promise<void> = Promise.resolve();
  #openingCount = 0;
  #closed = false;

  constructor(init: RelayPathInit) {
    this.#init = init;
    const { signaling, clock } = init;
    const buffered = () => signaling.bufferedBytes + this.#sealingBytes;
    this.#writer = new BoundedWriter<string>({
      send: (text) => this.#seal(text),
      get bufferedBytes() {
        return buffered();
      },
      whenLow: (run) => pollUntil(clock, () => buffered() <= LOW_WATER_BYTES, run),
    });
  }

  get writable(): boolean {
    return !this.#closed && this.#init.signaling.online && this.#writer.writable;
  }

  /** Throws `unreachable` while the hub is away or the sender ignores `drain`. */
  send(text: string): void {
    this.#checkOnline();
    this.#writer.write(text, text.length);
  }

  async drain(signal?: AbortSignal): Promise<void> {
    this.#checkOnline();
    await this.#writer.drain(signal);
  }

  /** A message of the peer, as the hub relayed it. */
  receive(value: unknown): void {
    const { peer, onProblem } = this.#init;
    if (this.#openingCount >= MAX_OPENING) {
      onProblem(
        new WaybillError("rate_limited", `peer ${peer} sends faster than this process reads`),
      );
      return;
    }
    this.#openingCount += 1;
    this.#opening = this.#open(this.#opening, value);
  }

  close(error: Error): void {
    this.#closed = true;
    this.#writer.close(error);
  }

  async #open(before: Promise<void>, value: unknown): Promise<void> {
    await before;
    const { box, peer, onText, onProblem } = this.#init;
    try {
      const text = await box.open(peer, value);
      if (!this.#closed) onText(text);
    } catch (cause) {
      const text = `a message of peer ${peer} was dropped: ${messageOf(cause)}`;
      const known = cause instanceof WaybillError;
      onProblem(known ? cause : new WaybillError("internal", text, { cause }));
    } finally {
      this.#openingCount -= 1;
    }
  }

  #seal(text: string): void {
    this.#sealingBytes += text.length;
    this.#sealing = this.#sealNext(this.#sealing, text);
  }

  async #sealNext(before: Promise<void>, text: string): Promise<void> {
    await before;
    const { box, peer, signaling, onLost } = this.#init;
    try {
      const data = await box.seal(peer, text);
      if (!this.#closed) signaling.send({ type: "relay", to: peer, data });
    } catch (error) {
      this.#report(error);
      onLost("not_found");
    } finally {
      this.#sealingBytes -= text.length;
    }
  }

  #report(cause: unknown): void {
    const known = cause instanceof WaybillError;
    if (known && cause.code === "unreachable") return;
    const text = `a message to peer ${this.#init.peer} was not sent: ${messageOf(cause)}`;
    this.#init.onProblem(known ? cause : new WaybillError("unreachable", text, { cause }));
  }

  #checkOnline(): void {
    if (this.#closed || !this.#init.signaling.online) {
      throw new WaybillError("unreachable", `no path to peer ${this.#init.peer}`);
    }
  }
}

function pollUntil(clock: Clock, done: () => boolean, run: () => void): () => void {
  let cancel = () => {};
  const look = () => {
    if (done()) run();
    else cancel = clock.after(RELAY_POLL_MS, look);
  };
  cancel = clock.after(RELAY_POLL_MS, look);
  return () => cancel();
}
