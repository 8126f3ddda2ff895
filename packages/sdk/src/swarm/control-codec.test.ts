import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { JobId, LIMITS } from "../protocol/index.ts";
import {
  decodeControlText,
  decodeControlValue,
  encodeControl,
  splitItems,
} from "./control-codec.ts";

const job = v.parse(JobId, "j_0123456789abcdef");
const time = "2026-01-01T00:00:00.000Z";
const line = (seq: number, text: string) => ({
  type: "log" as const,
  seq,
  attempt: 1,
  time,
  stream: "stdout" as const,
  line: text,
});

describe("control messages", () => {
  it("survive the way there as they were", () => {
    const message = { type: "events" as const, id: "s1", job, events: [line(1, "é")] };
    expect(decodeControlText(encodeControl(message))).toEqual(message);
    expect(decodeControlValue(message)).toEqual(message);
  });

  it("are refused when they are binary, too large, not JSON, or not one of them", () => {
    expect(() => decodeControlText(new ArrayBuffer(3))).toThrow(/binary/);
    expect(() => decodeControlText("x".repeat(LIMITS.controlMessageBytes + 1))).toThrow(/at most/);
    expect(() => decodeControlText("{")).toThrow(/not JSON/);
    expect(() => decodeControlText('{"type":"launch"}')).toThrow(/control message/);
    expect(() => decodeControlValue({ type: "taken", id: "s1" })).toThrow(/seq/);
  });

  it("are not sent when no channel would carry them, counted in UTF-8", () => {
    const events = [line(1, "é".repeat(LIMITS.controlMessageBytes / 2))];
    expect(() => encodeControl({ type: "events", id: "s1", job, events })).toThrow(/exceeds/);
  });

  it("carry any run of events in pieces that fit, whole and in order", () => {
    const long = (seq: number) => line(seq, "ü".repeat(LIMITS.eventBytes / 2 - 100));
    const events = [line(1, "a"), long(2), long(3), long(4), line(5, "b"), line(6, "c")];
    const pieces = splitItems(events);
    expect(pieces.flat()).toEqual(events);
    expect(pieces.length).toBeGreaterThan(1);
    for (const piece of pieces) {
      expect(() =>
        encodeControl({ type: "events", id: "x".repeat(24), job, events: piece }),
      ).not.toThrow();
    }
    expect(splitItems([])).toEqual([]);
  });
});
