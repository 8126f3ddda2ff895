import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { InviteCode } from "./access.ts";
import { Alias, JobId, ModelId, RoomId, cryptoRandom, newJobId } from "./ids.ts";

const fits = (schema: v.GenericSchema, values: readonly string[]) =>
  values.filter((value) => v.is(schema, value));

describe("identifiers", () => {
  it("rooms are lower-case words with inner hyphens", () => {
    const good = ["a", "lab-2", "x".repeat(40)];
    expect(
      fits(RoomId, [...good, "", "-a", "a-", "Lab", "a_b", "a/b", "..", "x".repeat(41)]),
    ).toEqual(good);
  });

  it("aliases are no reserved words and nothing that reads as a model id", () => {
    const good = ["prod-v1", "A.b_c-9", "abc", "deadbeefx", "x".repeat(64)];
    const bad = [
      "",
      "all",
      "LATEST",
      "none",
      "null",
      "deadbeef",
      "DEADBEEF",
      "0123456789",
      "latest-model",
      ".",
      "..",
      "a b",
      "x".repeat(65),
    ];
    expect(fits(Alias, [...good, ...bad])).toEqual(good);
  });

  it("model ids are 8 to 32 hex digits, two at a time", () => {
    expect(
      fits(ModelId, ["3fa94c01", "3fa94c0177", "3fa94c0", "3FA94C01", "f".repeat(34)]),
    ).toEqual(["3fa94c01", "3fa94c0177"]);
  });

  it("job ids sort by the time they were made", () => {
    const ids = [0, 1, 1_700_000_000_000, 1_700_000_000_001, 32 ** 9 - 1].map((ms) =>
      newJobId(ms, cryptoRandom),
    );
    expect(ids.every((id) => v.is(JobId, id))).toBe(true);
    expect(ids.toSorted()).toEqual(ids);
  });

  it("invite codes are read without regard to case, hyphens and blanks", () => {
    expect(v.parse(InviteCode, " abcd-2345 ")).toBe("ABCD2345");
    expect(fits(InviteCode, ["ABCD-234", "ABCD-234I", "ABCD-234U"])).toEqual([]);
  });
});
