import { describe, expect, it } from "vitest";
import {
  FRESH_LINK,
  type LinkFact,
  adviceFor,
  learnLink,
  resetAgeMs,
  suspectedAgeMs,
} from "./link-health.ts";

const learn = (facts: readonly LinkFact[], nowMs = 1000) =>
  facts.reduce((link, fact) => learnLink(link, fact, nowMs), FRESH_LINK);
const reset = (ageMs: number): LinkFact => ({ type: "reset", ageMs });

describe("what a link teaches", () => {
  it("gives no advice before it knows anything", () => {
    expect(adviceFor(FRESH_LINK, 0)).toEqual({});
  });

  it("learns the age at which connections are reset from two similar resets, not from one", () => {
    expect(resetAgeMs(learn([reset(6000)]), 1000)).toBeUndefined();
    expect(resetAgeMs(learn([reset(6000), reset(6200)]), 1000)).toBe(6000);
  });

  it("takes a lone early reset for an exception, and connections that never lived for no teaching", () => {
    expect(resetAgeMs(learn([reset(2000), reset(6000), reset(5800)]), 1000)).toBe(5800);
    expect(resetAgeMs(learn([reset(10), reset(11), reset(900)]), 1000)).toBeUndefined();
  });

  it("suspects the age of a first reset for a minute, the oldest of those that died together", () => {
    const link = learnLink(FRESH_LINK, reset(6000), 1000);
    expect(suspectedAgeMs(FRESH_LINK, 1000)).toBeUndefined();
    expect(suspectedAgeMs(link, 2000)).toBe(6000);
    expect(suspectedAgeMs(learnLink(link, reset(30_000), 2000), 2000)).toBe(30_000);
    expect(suspectedAgeMs(link, 62_000)).toBeUndefined();
    expect(suspectedAgeMs(learnLink(link, reset(6100), 9000), 80_000)).toBe(6000);
  });

  it("ends requests on connections that are reset after 6 s within 3", () => {
    const link = learn([
      reset(6000),
      reset(6000),
      { type: "moved", bytes: 1_000_000, ms: 1000 },
      { type: "moved", bytes: 10, ms: 1 },
    ]);
    expect(adviceFor(link, 1000)).toEqual({
      maxConnectionAgeMs: 2400,
      maxRequestMs: 3000,
      maxRequestBytes: 3_000_000,
    });
  });

  it("forgets after ten quiet minutes, and when a connection lived twice as long", () => {
    const link = learn([reset(6000), reset(6000)]);
    expect(resetAgeMs(link, 602_000)).toBeUndefined();
    expect(resetAgeMs(learnLink(link, { type: "alive", ageMs: 11_000 }, 2000), 2000)).toBe(6000);
    expect(
      resetAgeMs(learnLink(link, { type: "alive", ageMs: 12_000 }, 2000), 2000),
    ).toBeUndefined();
  });

  it("asks for fewer requests at once for a minute after a refusal", () => {
    const link = learn([{ type: "refused", parallel: 5 }]);
    expect(adviceFor(link, 2000)).toEqual({ maxParallel: 4 });
    expect(adviceFor(link, 62_000)).toEqual({});
  });

  it("weighs the latest measurements of rate and answer time most", () => {
    const link = learn([
      { type: "answered", ms: 100 },
      { type: "answered", ms: 200 },
    ]);
    expect(link.answerMs).toBe(130);
  });
});
