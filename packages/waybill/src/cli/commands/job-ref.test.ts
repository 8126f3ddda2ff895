import type { JobId } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { jobsMeant, partOf } from "./job-ref.ts";

const ids = ["j_01h2xcejqtf2nbrx", "j_01h2xcejzzzzzzzz", "j_01h9aaaaaaaf2nbr"] as JobId[];

describe("a cut job id", () => {
  it("means the jobs that begin or end with it", () => {
    expect(jobsMeant(ids, "01h9")).toEqual([ids[2]]);
    expect(jobsMeant(ids, "nbrx")).toEqual([ids[0]]);
    expect(jobsMeant(ids, "01h2x")).toEqual([ids[0], ids[1]]);
    expect(jobsMeant(ids, "f2n")).toEqual([]);
  });
});

it("of too few characters is said to be such", () => {
  expect(() => partOf("ab")).toThrow(/at least 3 characters/);
  expect(partOf("J_01H9")).toBe("01h9");
  expect(() => partOf("!!!")).toThrow(/not a job id/);
});
