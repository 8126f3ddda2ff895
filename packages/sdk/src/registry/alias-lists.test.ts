import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Alias, ModelId, ModelType } from "../protocol/index.ts";
import { aliasHistory, listAliases } from "./alias-lists.ts";
import { moveAlias, protectAlias } from "./alias-moves.ts";
import { type Editor, emptyRegistry } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { matchesPattern } from "./name-pattern.ts";
import { addModel } from "./publications.ts";

const by: Editor = { who: "owner", owner: true, when: "2026-01-02T03:04:05.678Z" };
const prod = "prod" as Alias;
const [A, B] = ["aaaaaaaa", "bbbbbbbb"] as ModelId[] as [ModelId, ModelId];
const added = [entryOf(A, { alias: prod }), entryOf(B, { model_type: "llm" as ModelType })].reduce(
  (registry, entry) => addModel(registry, entry, by).registry,
  emptyRegistry(LAB),
);
const room = [
  { alias: prod, protected: true },
  { alias: "next" as Alias, protected: true },
].reduce((registry, one) => protectAlias(registry, one, by).registry, added);

describe("the list of aliases", () => {
  it("has automatic ones and protected names that point nowhere, too, with their last moves", () => {
    const { aliases, more } = listAliases(room, { limit: 10 });
    expect(aliases).toEqual([
      { alias: "latest-llm", model: B, model_type: "llm", automatic: true, protected: false },
      { alias: "latest-unet", model: A, model_type: "unet", automatic: true, protected: false },
      { alias: "next", automatic: false, protected: true },
      {
        alias: "prod",
        model: A,
        model_type: "unet",
        automatic: false,
        protected: true,
        moved: { to: A, who: "owner", when: by.when, why: "published" },
      },
    ]);
    expect(more).toBe(false);
  });

  it("comes in pages, by name, and by pattern", () => {
    const first = listAliases(room, { limit: 3 });
    expect(first.more).toBe(true);
    const rest = listAliases(room, { limit: 3, after: first.aliases.at(-1)?.alias });
    expect(rest.aliases.map(({ alias }) => alias)).toEqual(["prod"]);
    expect(rest.more).toBe(false);
    const latest = listAliases(room, { limit: 3, pattern: "latest-*" });
    expect(latest.aliases).toHaveLength(2);
  });
});

describe("the history of an alias", () => {
  it("is numbered, newest first, in pages", () => {
    const moved = moveAlias(room, { alias: prod, model: B, why: "better" }, by).registry;
    const first = aliasHistory(moved, prod, { limit: 2 });
    expect(first).toMatchObject({ model: B, protected: true, more: true });
    expect(first.moves.map(({ n, why }) => [n, why])).toEqual([
      [3, "better"],
      [2, "no reason given"],
    ]);
    const { moves, more } = aliasHistory(moved, prod, { limit: 2, before: 2 });
    expect(moves).toMatchObject([{ n: 1, why: "published" }]);
    expect(more).toBe(false);
  });

  it("is of names that are or were aliases", () => {
    expect(() => aliasHistory(room, "never" as Alias, { limit: 2 })).toThrow(/never was/);
  });
});

describe("a pattern of names", () => {
  it("means what the same regular expression means", () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[ab.]{0,12}$/),
        fc.stringMatching(/^[ab.*?]{0,12}$/),
        (name, pattern) => {
          const source = pattern.replaceAll(".", "\\.").replaceAll("?", ".").replaceAll("*", ".*");
          expect(matchesPattern(name, pattern)).toBe(new RegExp(`^${source}$`).test(name));
        },
      ),
      { numRuns: 2000 },
    );
  });
});
