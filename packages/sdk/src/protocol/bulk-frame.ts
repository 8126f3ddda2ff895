// Frames of the bulk channel (docs/protocol/peer-channel.md §9): a fixed header of 16 bytes, big-endian, and a payload.
//
//   0        1      2       4          8                16
//   │version │ type │ flags │ stream   │ offset         │ payload …
import { WaybillError } from "./errors.ts";

export const BULK_HEADER_BYTES = 16;
const BULK_VERSION = 1;
/** With `data`: the stream ends where this frame ends. */
const BULK_END = 1;
/** UTF-8, of an `abort`. */
const MAX_REASON_BYTES = 256;
const CREDIT_BYTES = 8;

const TYPES = { data: 1, credit: 2, abort: 3, received: 4 } as const;
type BulkFrameType = keyof typeof TYPES;

export type BulkFrame =
  /** Bytes of a stream from `offset` on. */
  | {
      readonly type: "data";
      readonly stream: number;
      readonly offset: number;
      readonly end: boolean;
      readonly payload: Uint8Array<ArrayBuffer>;
    }
  /** Its receiver has every byte below `offset` and takes those below `limit`. */
  | {
      readonly type: "credit";
      readonly stream: number;
      readonly offset: number;
      readonly limit: number;
    }
  /** Whoever sends it will neither send nor take more of the stream. */
  | { readonly type: "abort"; readonly stream: number; readonly reason: string }
  /** Payload bytes of data frames that came over this one channel since it opened. */
  | { readonly type: "received"; readonly bytes: number };

/** Writes a data frame's header into the first 16 bytes of `into`. */
export function writeDataHeader(
  into: Uint8Array,
  header: { readonly stream: number; readonly offset: number; readonly end: boolean },
): void {
  writeHeader(into, "data", header.stream, header.offset, header.end ? BULK_END : 0);
}

/** Encodes any frame; its payload is copied. */
export function encodeBulkFrame(frame: BulkFrame): Uint8Array<ArrayBuffer> {
  switch (frame.type) {
    case "data": {
      const bytes = new Uint8Array(BULK_HEADER_BYTES + frame.payload.length);
      writeDataHeader(bytes, frame);
      bytes.set(frame.payload, BULK_HEADER_BYTES);
      return bytes;
    }
    case "credit": {
      const bytes = new Uint8Array(BULK_HEADER_BYTES + CREDIT_BYTES);
      writeHeader(bytes, "credit", frame.stream, frame.offset, 0);
      new DataView(bytes.buffer).setBigUint64(BULK_HEADER_BYTES, BigInt(frame.limit));
      return bytes;
    }
    case "abort": {
      const reason = new TextEncoder().encode(frame.reason).subarray(0, MAX_REASON_BYTES);
      const bytes = new Uint8Array(BULK_HEADER_BYTES + reason.length);
      writeHeader(bytes, "abort", frame.stream, 0, 0);
      bytes.set(reason, BULK_HEADER_BYTES);
      return bytes;
    }
    case "received": {
      const bytes = new Uint8Array(BULK_HEADER_BYTES);
      writeHeader(bytes, "received", 0, frame.bytes, 0);
      return bytes;
    }
    default:
      throw new TypeError("not a bulk frame");
  }
}

/**
 * Decodes what a bulk channel delivered; a payload is a view of it. Throws `invalid_request`; `undefined` for a type this
 * version does not know.
 */
export function decodeBulkFrame(data: unknown): BulkFrame | undefined {
  if (!(data instanceof ArrayBuffer)) throw wrong("is not binary");
  if (data.byteLength < BULK_HEADER_BYTES) throw wrong("is shorter than its header");
  const view = new DataView(data);
  if (view.getUint8(0) !== BULK_VERSION) throw wrong(`has version ${view.getUint8(0)}`);
  const stream = view.getUint32(4);
  const offset = whole(view.getBigUint64(8));
  const payload = new Uint8Array(data, BULK_HEADER_BYTES);
  switch (view.getUint8(1)) {
    case TYPES.data:
      whole(BigInt(offset) + BigInt(payload.length));
      return {
        type: "data",
        stream,
        offset,
        end: (view.getUint16(2) & BULK_END) !== 0,
        payload,
      };
    case TYPES.credit: {
      if (payload.length < CREDIT_BYTES) throw wrong("has no limit");
      const limit = whole(view.getBigUint64(BULK_HEADER_BYTES));
      return { type: "credit", stream, offset, limit };
    }
    case TYPES.abort: {
      const reason = new TextDecoder().decode(payload.subarray(0, MAX_REASON_BYTES));
      return { type: "abort", stream, reason };
    }
    case TYPES.received:
      return { type: "received", bytes: offset };
    default:
      return undefined;
  }
}

function writeHeader(
  into: Uint8Array,
  type: BulkFrameType,
  stream: number,
  offset: number,
  flags: number,
): void {
  const view = new DataView(into.buffer, into.byteOffset, BULK_HEADER_BYTES);
  view.setUint8(0, BULK_VERSION);
  view.setUint8(1, TYPES[type]);
  view.setUint16(2, flags);
  view.setUint32(4, stream);
  view.setUint32(8, Math.floor(offset / 2 ** 32));
  view.setUint32(12, offset % 2 ** 32);
}

function whole(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong("has an offset beyond 2^53");
  return Number(value);
}

function wrong(what: string): WaybillError {
  return new WaybillError("invalid_request", `a bulk frame ${what}`);
}
