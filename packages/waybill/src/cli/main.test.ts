import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { EXAMPLES } from "./examples.ts";
import { buildProgram } from "./main.ts";

/** Commands that do something, by their words after `waybill`. */
function leaves(command: Command, words: readonly string[] = []): [string, Command][] {
  const below = command.commands.flatMap((child) => leaves(child, [...words, child.name()]));
  // A group takes no options; `worker` is a command with others beside it.
  const isGroup = below.length > 0 && (words.length === 0 || command.options.length === 0);
  return isGroup ? below : [[words.join(" "), command], ...below];
}

describe("the command tree", () => {
  const commands = new Map(leaves(buildProgram()));

  it("has examples for every command and for no other", () => {
    expect(Object.keys(EXAMPLES).sort()).toEqual([...commands.keys()].sort());
  });

  it("describes every command, argument and option", () => {
    for (const [words, command] of commands) {
      expect(command.description(), words).not.toBe("");
      for (const option of command.options)
        expect(option.description, `${words} ${option.flags}`).not.toBe("");
    }
  });

  it("gives every command --json, --hub and --data", () => {
    for (const [words, command] of commands) {
      const flags = command.options.map((option) => option.long);
      expect(flags, words).toEqual(
        expect.arrayContaining(["--json", "--hub", "--data", "--debug"]),
      );
    }
  });

  it("keeps its lists within 80 columns, groups of commands included", () => {
    const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
    for (const command of all(buildProgram())) {
      const lines = command.configureOutput({ getOutHelpWidth: () => 80 }).helpInformation();
      // One word, as a piece of JSON, is not broken.
      const broken = lines.split("\n").filter((line) => line.trim().includes(" "));
      for (const line of broken) expect(line.length, line).toBeLessThanOrEqual(80);
    }
  });

  it("prints its examples with --help, and they use options that exist", () => {
    for (const [words, command] of commands) {
      const known = new Set(command.options.map((option) => option.long));
      for (const example of EXAMPLES[words] ?? []) {
        const [own = ""] = example.slice(example.indexOf("waybill ") + 8).split(" -- ");
        expect(own.startsWith(words), example).toBe(true);
        for (const [flag] of own.matchAll(/(?<= )--[a-z0-9-]+/g)) {
          expect(known.has(flag), `${example}: ${flag}`).toBe(true);
        }
      }
    }
  });
});
