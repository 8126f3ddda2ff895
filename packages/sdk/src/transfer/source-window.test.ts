import { describe, expect, it } from "vitest";
import {
  type Arrival,
  type SourceWindow,
  halve,
  refuseMore,
  startWindow,
  widen,
} from "./source-window.ts";

/** An epoch of a second in which so many bytes came, all places in use. */
const start = (max = 32, beside = false) => {
  const fresh = startWindow(max, beside, 0);
  return came(fresh, { bytes: 0, nowMs: 0 });
};
const came = (window: SourceWindow, arrival: Partial<Arrival>) =>
  widen(window, {
    bytes: 400,
    busy: window.size,
    answerMs: 20,
    pathMs: 20,
    leftBytes: Infinity,
    nowMs: 0,
    ...arrival,
  });
const epoch = (window: SourceWindow, bytes: number, atS: number) =>
  came(window, { bytes, nowMs: atS * 1000 });

describe("a source's window", () => {
  it("starts at four, beside others at two, and never above its own limit", () => {
    expect(startWindow(32, false, 0).size).toBe(4);
    expect(startWindow(32, true, 0).size).toBe(2);
    expect(startWindow(1, false, 0).size).toBe(1);
  });

  it("grows at once by one for every 25 ms of the first answer, by four at most", () => {
    const after = (answerMs: number) =>
      came(startWindow(32, false, 0), { answerMs, nowMs: 10 }).size;
    expect([5, 50, 150, 900].map(after)).toEqual([4, 6, 8, 8]);
  });

  it("starts as large where it is known how long the first answer will take", () => {
    const expected = (answerMs: number) => startWindow(32, false, 0, answerMs);
    expect([5, 50, 150, 900].map((answerMs) => expected(answerMs).size)).toEqual([4, 6, 8, 8]);
    // An answer that is sooner takes nothing back.
    expect(came(expected(150), { answerMs: 10, nowMs: 10 }).size).toBe(8);
    expect(startWindow(32, true, 0, 150).size).toBe(2);
  });

  it("takes no step while answers wait in a queue, nor when the end is near", () => {
    expect(came(start(), { nowMs: 1000 }).size).toBe(8);
    const full = { bytes: 40 * 1024 * 1024, nowMs: 1000, answerMs: 60 };
    expect(came(start(), full).size).toBe(4);
    // Connections that are held back by loss have late answers, too.
    expect(came(start(), { ...full, bytes: 400 }).size).toBe(8);
    expect(came(start(), { nowMs: 1000, leftBytes: 700 }).size).toBe(4);
    expect(came(start(), { nowMs: 1000, leftBytes: 900 }).size).toBe(8);
  });

  it("doubles as long as that brings more, and takes back the step that does not", () => {
    let window = start();
    const sizes = [1, 2, 3, 4].map((atS) => {
      // Each connection brings 100 up to eight of them.
      window = epoch(window, Math.min(window.size, 8) * 100, atS);
      return window.size;
    });
    expect(sizes).toEqual([8, 16, 8, 8]);
  });

  it("tries one more after a while", () => {
    let window = start();
    for (let atS = 1; atS <= 10; atS++) window = epoch(window, 400, atS);
    expect(window.size).toBe(5);
  });

  it("learns nothing from epochs in which places were free", () => {
    const window = start();
    expect(came(window, { bytes: 1e9, busy: 2, nowMs: 1000 }).size).toBe(4);
  });

  it("waits longer on long paths", () => {
    const window = start();
    const far = { answerMs: 300, pathMs: 300 };
    expect(came(window, { ...far, nowMs: 2000 }).size).toBe(4);
    expect(came(window, { ...far, nowMs: 2400 }).size).toBe(8);
  });

  it("is halved by failures, those of one moment once, and recovers", () => {
    let window = halve(halve(start(), 1000), 1100);
    expect(window.size).toBe(2);
    for (let atS = 2; atS <= 6; atS++) window = epoch(window, window.size * 100, atS);
    expect(window.size).toBeGreaterThanOrEqual(4);
  });

  it("stays for a minute at what a server let in when it refused more", () => {
    let window = refuseMore(start(), 3, 0);
    for (let atS = 1; atS <= 59; atS++) window = epoch(window, window.size * 100, atS);
    expect(window.size).toBe(3);
    window = epoch(window, 300, 60);
    expect(window.size).toBeGreaterThan(3);
  });
});
