import { describe, expect, it } from "vitest";
import { WireMeter } from "./wire-meter.ts";

const MB = 1_000_000;

describe("what the link takes", () => {
  it("is measured while bodies travel, not while there is nothing to send", () => {
    let nowMs = 0;
    const meter = new WireMeter(() => nowMs);
    expect(meter.bytesPerS).toBeUndefined();
    for (let body = 0; body < 20; body++) {
      meter.began();
      nowMs += 50;
      meter.sent(5 * MB);
      nowMs += 50;
      meter.ended();
      // The compressor is slower than the link.
      nowMs += 900;
    }
    expect((meter.bytesPerS ?? 0) / MB).toBeCloseTo(50, -0.5);
  });

  it("counts bodies that travel together once in time", () => {
    let nowMs = 0;
    const meter = new WireMeter(() => nowMs);
    meter.began();
    meter.began();
    for (let at = 0; at < 100; at++) {
      nowMs += 10;
      meter.sent(MB / 10);
    }
    meter.ended();
    meter.ended();
    expect((meter.bytesPerS ?? 0) / MB).toBeCloseTo(10, -0.5);
  });
});
