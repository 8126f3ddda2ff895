import { expect, it } from "vitest";
import { RateGate } from "./rate-gate.ts";

it("lets bursts of two seconds through and then asks to wait for what is owed", () => {
  let nowMs = 0;
  const gate = new RateGate(() => nowMs);
  for (let i = 0; i < 8000; i++) expect(gate.take(10)).toBe(0);
  for (let i = 0; i < 400; i++) gate.take(10);
  expect(gate.take(10)).toBeGreaterThanOrEqual(100);
  nowMs += 1000;
  expect(gate.take(10)).toBe(0);
});

it("counts bytes as well as messages", () => {
  const gate = new RateGate(() => 0);
  expect(gate.take(32 * 1024 * 1024)).toBe(0);
  expect(gate.take(8 * 1024 * 1024)).toBe(500);
});
