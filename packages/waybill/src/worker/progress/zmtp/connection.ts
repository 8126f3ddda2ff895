// One peer's side of a ZMTP connection as a pure machine: bytes in; bytes to send and facts out.
//
//   greeting ──▶ handshake ──READY──▶ open
import {
  decodeCommand,
  encodeCommand,
  encodeGreeting,
  encodeReady,
  FrameReader,
} from "./frames.ts";

export type Fact =
  | { readonly type: "message"; readonly body: Buffer }
  | { readonly type: "subscribed" };

export type Reaction = { readonly send: readonly Buffer[]; readonly facts: readonly Fact[] };

/** Topics are not told apart: SLEAP uses none. A subscriber to any topic gets everything from the first byte on. */
export class Connection {
  readonly #own: "PUB" | "SUB";
  readonly #reader = new FrameReader();
  #ready = false;
  /** Frames of a message whose last one has not come. */
  #parts: Buffer[] = [];
  #partBytes = 0;

  constructor(own: "PUB" | "SUB") {
    this.#own = own;
  }

  /** What is sent before anything was heard. */
  hello(): readonly Buffer[] {
    return [encodeGreeting(), encodeReady(this.#own)];
  }

  /** Throws `invalid_request` when the other side is no ZeroMQ peer. */
  receive(chunk: Buffer): Reaction {
    const send: Buffer[] = [];
    const facts: Fact[] = [];
    for (const frame of this.#reader.push(chunk)) {
      if (frame.command) this.#command(frame.body, send, facts);
      else this.#part(frame.body, frame.more, facts);
    }
    return { send, facts };
  }

  #command(body: Buffer, send: Buffer[], facts: Fact[]): void {
    const { name, data } = decodeCommand(body);
    if (name === "READY" && !this.#ready) {
      this.#ready = true;
      if (this.#own === "SUB") send.push(SUBSCRIBE_ALL);
    } else if (name === "PING") {
      // Two bytes of time to live, then what is to be sent back.
      send.push(encodeCommand("PONG", data.subarray(2)));
    } else if (name === "SUBSCRIBE" && this.#own === "PUB") {
      facts.push({ type: "subscribed" });
    }
  }

  #part(body: Buffer, more: boolean, facts: Fact[]): void {
    if (this.#own === "PUB") {
      if (body[0] === 1) facts.push({ type: "subscribed" });
      return;
    }
    this.#partBytes += body.length;
    // The first megabyte of a message is more than any reader of it takes.
    if (this.#partBytes <= MAX_MESSAGE_BYTES) this.#parts.push(Buffer.from(body));
    if (more) return;
    facts.push({ type: "message", body: Buffer.concat(this.#parts) });
    this.#parts = [];
    this.#partBytes = 0;
  }
}

const MAX_MESSAGE_BYTES = 1024 * 1024;
/** A message of the byte 1 and the beginning of a topic: none. */
const SUBSCRIBE_ALL = Buffer.from([0, 1, 1]);
