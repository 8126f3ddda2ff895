import { describe, expect, it } from "vitest";
import { type TransferMeter, measure, readMeter, startMeter } from "./transfer-meter.ts";

const MIB = 1024 * 1024;
const total = 1000 * MIB;

/** A transfer at a steady rate, told ten times a second. */
function steady(rate: number, seconds: number, from: TransferMeter, startMs = 0, start = 0) {
  let meter = from;
  for (let ms = 100; ms <= seconds * 1000; ms += 100) {
    meter = measure(meter, { bytes: start + (rate * ms) / 1000, total }, startMs + ms);
  }
  return meter;
}

describe("a transfer's meter", () => {
  const begun = measure(startMeter(0), { bytes: 0, total }, 0);

  it("reads a steady rate at once and for good", () => {
    for (const seconds of [1, 5, 30]) {
      const reading = readMeter(steady(10 * MIB, seconds, begun), seconds * 1000);
      expect(reading.rateBytesPerSecond / MIB).toBeCloseTo(10, 5);
      expect(reading.etaSeconds).toBeCloseTo(100 - seconds, 5);
      expect(reading.share).toBeCloseTo(seconds / 100, 5);
    }
  });

  it("follows a change of rate by two thirds within five seconds", () => {
    const fast = steady(10 * MIB, 20, begun);
    const slow = steady(1 * MIB, 5, fast, 20_000, 200 * MIB);
    const rate = readMeter(slow, 25_000).rateBytesPerSecond / MIB;
    expect(rate).toBeGreaterThan(3.5);
    expect(rate).toBeLessThan(5);
  });

  it("takes what is there already, or saved later, for no speed", () => {
    let meter = measure(startMeter(0), { bytes: 600 * MIB, total, saved: {} }, 1000);
    meter = measure(meter, { bytes: 610 * MIB, total, saved: {} }, 2000);
    expect(readMeter(meter, 2000).rateBytesPerSecond / MIB).toBeCloseTo(10, 5);
    meter = measure(meter, { bytes: 820 * MIB, total, saved: { copied: 200 * MIB } }, 3000);
    const reading = readMeter(meter, 3000);
    expect(reading.rateBytesPerSecond / MIB).toBeCloseTo(10, 5);
    expect(reading.savedBytes).toBe(200 * MIB);
    expect(reading.etaSeconds).toBeCloseTo(18, 5);
  });

  it("lets the rate sink and counts the pause while nothing comes", () => {
    const meter = steady(10 * MIB, 20, begun);
    const later = readMeter(meter, 35_000);
    expect(later.rateBytesPerSecond / MIB).toBeLessThan(0.6);
    expect(later.idleSeconds).toBeCloseTo(15, 5);
    const stopped = readMeter(meter, 20_000 + 3_600_000);
    expect(stopped.etaSeconds).toBeUndefined();
  });

  it("reads the same however often it is asked in between", () => {
    const facts = { bytes: 5 * MIB, total };
    const meter = measure(begun, facts, 1000);
    for (let ms = 1000; ms < 1100; ms++) readMeter(meter, ms);
    expect(readMeter(meter, 1000).rateBytesPerSecond / MIB).toBeCloseTo(5, 5);
  });

  it("gathers bursts instead of taking them for a rate", () => {
    let meter = begun;
    for (let ms = 0; ms < 50; ms++) meter = measure(meter, { bytes: ms * MIB, total }, ms);
    expect(readMeter(meter, 50).rateBytesPerSecond).toBe(0);
    meter = measure(meter, { bytes: 50 * MIB, total }, 5000);
    expect(readMeter(meter, 5000).rateBytesPerSecond / MIB).toBeCloseTo(10, 5);
  });

  it("has no negative rate when a transfer begins again", () => {
    const meter = measure(steady(10 * MIB, 10, begun), { bytes: 0, total }, 11_000);
    expect(readMeter(meter, 11_000).rateBytesPerSecond).toBeGreaterThan(0);
  });

  it("is done at once where there is nothing to move", () => {
    const meter = measure(startMeter(0), { bytes: 0, total: 0 }, 1);
    expect(readMeter(meter, 1)).toMatchObject({ share: 1, etaSeconds: 0 });
  });
});
