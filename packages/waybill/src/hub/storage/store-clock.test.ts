import { describe, expect, it } from "vitest";
import { StoreClock } from "./store-clock.ts";

const MINUTE_MS = 60_000;

function setup() {
  const time = { nowMs: Date.UTC(2026, 0, 1) };
  const clock = new StoreClock(() => time.nowMs);
  const answer = (offsetMs: number) => clock.note(new Date(time.nowMs + offsetMs).toUTCString());
  return { time, clock, answer };
}

describe("the store's clock", () => {
  it.each([-20, -10, 10, 20])("is followed when it is %i minutes off", (minutes) => {
    const { time, clock, answer } = setup();
    answer(minutes * MINUTE_MS);
    expect(clock.now()).toBe(time.nowMs + minutes * MINUTE_MS);
  });

  it("is the hub's while they differ by seconds", () => {
    const { time, clock, answer } = setup();
    answer(-20_000);
    expect(clock.now()).toBe(time.nowMs);
  });

  it("is followed back when either is set right", () => {
    const { time, clock, answer } = setup();
    answer(10 * MINUTE_MS);
    time.nowMs += 10 * MINUTE_MS;
    answer(0);
    expect(clock.now()).toBe(time.nowMs);
  });

  it("is not learned from nonsense", () => {
    const { time, clock } = setup();
    clock.note("yesterday");
    expect(clock.now()).toBe(time.nowMs);
  });
});
