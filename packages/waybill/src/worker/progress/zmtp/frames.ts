// Frames of ZMTP 3.0 (rfc.zeromq.org/spec/23) with the NULL mechanism: what publishers and subscribers of ZeroMQ
// say to each other on a TCP connection.
//
//   greeting (64 bytes) ─▶ READY command ─▶ messages and commands
//   frame: flags, length (1 or 8 bytes), body
import { WaybillError } from "@waybill/sdk/protocol";

export type Frame = {
  readonly command: boolean;
  /** Another frame of the same message follows. */
  readonly more: boolean;
  readonly body: Buffer;
};

const MORE = 0x01;
const LONG = 0x02;
const COMMAND = 0x04;
const GREETING_BYTES = 64;
const MECHANISM = "NULL";
const MECHANISM_AT = 12;
const MECHANISM_BYTES = 20;
/** A trainer's message is a few hundred bytes; whoever sends more than this is none. */
const MAX_FRAME_BYTES = 1024 * 1024;

/** Version 3.0 on purpose: newer peers then announce subscriptions as messages, as all of 3.x do. */
export function encodeGreeting(): Buffer {
  const greeting = Buffer.alloc(GREETING_BYTES);
  greeting[0] = 0xff;
  // Padding in 3.0; peers of version 1 read a length of 1 here.
  greeting[8] = 1;
  greeting[9] = 0x7f;
  greeting[10] = 3;
  greeting.write(MECHANISM, MECHANISM_AT, "latin1");
  return greeting;
}

export function encodeFrame(frame: Frame): Buffer {
  const { body } = frame;
  const flags = (frame.more ? MORE : 0) | (frame.command ? COMMAND : 0);
  if (body.length < 256) return Buffer.concat([Buffer.from([flags, body.length]), body]);
  const head = Buffer.alloc(9);
  head[0] = flags | LONG;
  head.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([head, body]);
}

export function encodeMessage(body: Buffer): Buffer {
  return encodeFrame({ command: false, more: false, body });
}

/** `name`, and what belongs to it. */
export function encodeCommand(name: string, data: Buffer): Buffer {
  const head = Buffer.from([name.length, ...Buffer.from(name, "latin1")]);
  return encodeFrame({ command: true, more: false, body: Buffer.concat([head, data]) });
}

export function encodeReady(socketType: "PUB" | "SUB"): Buffer {
  const name = Buffer.from("Socket-Type", "latin1");
  const value = Buffer.from(socketType, "latin1");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return encodeCommand("READY", Buffer.concat([Buffer.from([name.length]), name, length, value]));
}

export function decodeCommand(body: Buffer): { readonly name: string; readonly data: Buffer } {
  const length = body[0] ?? 0;
  if (body.length < 1 + length) throw malformed("a command is shorter than its name");
  return { name: body.toString("latin1", 1, 1 + length), data: body.subarray(1 + length) };
}

/** Bytes of a connection to frames; checks the greeting, which comes first. Throws `invalid_request`. */
export class FrameReader {
  #carry: Buffer = Buffer.alloc(0);
  #greeted = false;

  push(chunk: Buffer): Frame[] {
    this.#carry = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk]);
    if (!this.#greeted && !this.#greeting()) return [];
    const frames: Frame[] = [];
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #greeting(): boolean {
    const bytes = this.#carry;
    if (bytes.length > 0 && bytes[0] !== 0xff) throw malformed("it does not begin with a greeting");
    if (bytes.length >= 11 && (bytes[10] ?? 0) < 3) throw malformed("it speaks a version below 3");
    if (bytes.length < GREETING_BYTES) return false;
    const mechanism = bytes.toString("latin1", MECHANISM_AT, MECHANISM_AT + MECHANISM_BYTES);
    if (mechanism.replace(/\0+$/, "") !== MECHANISM) {
      throw malformed("it wants to be authenticated");
    }
    this.#carry = bytes.subarray(GREETING_BYTES);
    this.#greeted = true;
    return true;
  }

  #next(): Frame | undefined {
    const bytes = this.#carry;
    const flags = bytes[0];
    if (flags === undefined) return undefined;
    const long = (flags & LONG) !== 0;
    const headBytes = long ? 9 : 2;
    if (bytes.length < headBytes) return undefined;
    const length = long ? bytes.readBigUInt64BE(1) : BigInt(bytes[1] ?? 0);
    if (length > BigInt(MAX_FRAME_BYTES)) throw malformed(`a frame has ${length} bytes`);
    const end = headBytes + Number(length);
    if (bytes.length < end) return undefined;
    this.#carry = bytes.subarray(end);
    return {
      command: (flags & COMMAND) !== 0,
      more: (flags & MORE) !== 0,
      body: bytes.subarray(headBytes, end),
    };
  }
}

function malformed(why: string): WaybillError {
  return new WaybillError("invalid_request", `not a ZeroMQ peer: ${why}`);
}
