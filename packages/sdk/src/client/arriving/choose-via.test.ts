import { describe, expect, it } from "vitest";
import { chooseVia } from "./choose-via.ts";

const small = { via: "auto", bytes: 20, belowBytes: 100, workers: 1, serves: true } as const;

describe("a push", () => {
  it.each([
    ["small, and a worker is there", {}, true, /20 bytes are at most 100/],
    ["just small enough", { bytes: 100 }, true, /100 bytes are at most 100/],
    ["too large", { bytes: 101 }, false, /101 bytes are more than 100/],
    ["without a worker", { workers: 0 }, false, /no worker is present/],
    ["never straight", { belowBytes: 0 }, false, /nothing is small enough/],
    ["not served from here", { serves: false }, false, /serves nothing/],
    ["to the store, as asked", { via: "s3" }, false, /asked for/],
    ["straight, as asked, however large", { via: "peer", bytes: 1e9, workers: 0 }, true, /asked/],
    ["straight, as asked, but nothing serves", { via: "peer", serves: false }, false, /serves/],
  ] as const)("%s", (_, more, held, why) => {
    const choice = chooseVia({ ...small, ...more });
    expect(choice.held).toBe(held);
    expect(choice.why).toMatch(why);
  });
});
