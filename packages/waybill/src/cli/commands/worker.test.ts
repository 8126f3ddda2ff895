import { describe, expect, it } from "vitest";
import { collectTrainers } from "./worker.ts";

describe("--trainer name=command", () => {
  it("splits words as a shell would, quotes included, and collects what is repeated", () => {
    const first = collectTrainers("sleap=sleap-train config.json");
    expect(collectTrainers(`py=python3 "my train.py" --name 'a b' x=y`, first)).toEqual({
      sleap: ["sleap-train", "config.json"],
      py: ["python3", "my train.py", "--name", "a b", "x=y"],
    });
  });

  it("refuses what has no name or no command", () => {
    for (const wrong of ["", "name", "name=", "=command"]) {
      expect(() => collectTrainers(wrong)).toThrow("name=program");
    }
  });
});
