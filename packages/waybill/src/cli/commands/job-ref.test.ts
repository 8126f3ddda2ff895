import type { JobId } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { adjustmentOf } from "./job-commands.ts";
import { jobsMeant } from "./job-ref.ts";

const ids = ["j_01h2xcejqtf2nbrx", "j_01h2xcejzzzzzzzz", "j_01h9aaaaaaaf2nbr"] as JobId[];

describe("a cut job id", () => {
  it("means the jobs that begin or end with it", () => {
    expect(jobsMeant(ids, "01h9")).toEqual([ids[2]]);
    expect(jobsMeant(ids, "nbrx")).toEqual([ids[0]]);
    expect(jobsMeant(ids, "01h2x")).toEqual([ids[0], ids[1]]);
    expect(jobsMeant(ids, "f2n")).toEqual([]);
  });
});

describe("values of an adjustment", () => {
  it("are JSON scalars, and text for what is none", () => {
    const pairs = ["lr=0.01", "batch=32", "mixed=true", "warmup=null", "name=a=b", "v=1.2.3"];
    expect(adjustmentOf(pairs)).toEqual({
      lr: 0.01,
      batch: 32,
      mixed: true,
      warmup: null,
      name: "a=b",
      v: "1.2.3",
    });
  });

  it("are refused where no trainer could take them", () => {
    expect(() => adjustmentOf(["lr"])).toThrow(/key=value/);
    expect(() => adjustmentOf(["lr=[1,2]"])).toThrow(/the values/);
    expect(() => adjustmentOf(["9lives=1"])).toThrow(/not a key/);
  });
});
