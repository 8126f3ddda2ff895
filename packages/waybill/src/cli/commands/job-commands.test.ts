import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { buildProgram } from "../main.ts";
import { collectAdjustment } from "./job-commands.ts";

describe("what `job adjust` takes", () => {
  it("is numbers, true, false, null and text, by key", () => {
    const pairs = ["lr=0.01", "mixed=true", "warm=null", "name=a=b"];
    const values = pairs.reduce((all, pair) => collectAdjustment(pair, all), {});
    expect(values).toEqual({ lr: 0.01, mixed: true, warm: null, name: "a=b" });
  });

  it.each([
    ["foo", /key=value/],
    ["=3", /key=value/],
    ['a={"x":1}', /a number, true, false, null or text/],
    ["9lives=1", /not a key/],
    ["a=[1]", /a number, true, false, null or text/],
  ])("is not %s: wrong usage, not a defect", async (pair, message) => {
    expect(() => collectAdjustment(pair)).toThrow(InvalidArgumentError);
    const program = buildProgram();
    for (const command of program.commands.flatMap((one) => [one, ...one.commands])) {
      command.configureOutput({ writeErr: () => {} });
    }
    await expect(
      program.parseAsync(["node", "waybill", "job", "adjust", "abc", pair]),
    ).rejects.toMatchObject({
      code: "commander.invalidArgument",
      message: expect.stringMatching(message),
    });
  });
});
