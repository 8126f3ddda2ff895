import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BulkFrame, decodeBulkFrame, encodeBulkFrame } from "./bulk-frame.ts";

type Vector = {
  readonly name: string;
  readonly hex: string;
  /** Payloads of data frames in hex; absent when the frame must be refused, null when it must be ignored. */
  readonly frame?: Record<string, unknown> | null;
};

const { vectors } = JSON.parse(
  readFileSync(
    new URL("../../../../docs/protocol/vectors/bulk-frame.json", import.meta.url),
    "utf8",
  ),
) as { vectors: Vector[] };
const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));
const shown = (frame: BulkFrame | undefined) =>
  frame?.type === "data"
    ? { ...frame, payload: Buffer.from(frame.payload).toString("hex") }
    : (frame ?? null);

describe("a bulk frame", () => {
  for (const { name, hex, frame } of vectors.filter((one) => one.frame !== undefined)) {
    it(`is as the vectors say: ${name}`, () => {
      const found = decodeBulkFrame(bytesOf(hex).buffer);
      expect(shown(found)).toEqual(frame);
      const again = found === undefined ? undefined : encodeBulkFrame(found);
      expect(again === undefined ? undefined : Buffer.from(again).toString("hex")).toBe(
        found === undefined ? undefined : hex,
      );
    });
  }
  for (const { name, hex } of vectors.filter((one) => one.frame === undefined)) {
    it(`is refused as the vectors say: ${name}`, () => {
      expect(() => decodeBulkFrame(bytesOf(hex).buffer)).toThrow(/a bulk frame/);
    });
  }

  it("is read as it was written, up to offsets of 2^53 - 1", () => {
    const stream = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    const offset = fc.maxSafeNat();
    const frame: fc.Arbitrary<BulkFrame> = fc.oneof(
      fc.record({ type: fc.constant("credit" as const), stream, offset, limit: offset }),
      fc.record({ type: fc.constant("received" as const), bytes: offset }),
      fc.record({
        type: fc.constant("data" as const),
        stream,
        offset: fc.nat(),
        end: fc.boolean(),
        payload: fc.uint8Array({ maxLength: 64 }).map((bytes) => Uint8Array.from(bytes)),
      }),
    );
    fc.assert(
      fc.property(frame, (one) => {
        expect(shown(decodeBulkFrame(encodeBulkFrame(one).buffer))).toEqual(shown(one));
      }),
    );
  });

  it("is refused as text", () => {
    expect(() => decodeBulkFrame("text")).toThrow(/not binary/);
  });
});
