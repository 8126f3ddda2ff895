import * as v from "valibot";
import { describe, expect, it } from "vitest";
import {
  type Alias,
  type ModelEntry,
  type ModelId,
  type ModelType,
  Registry,
  type Tag,
} from "../protocol/index.ts";
import {
  type Editor,
  aliasesOf,
  editTags,
  emptyRegistry,
  moveAlias,
  removeAlias,
  resolveModel,
} from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";

const by: Editor = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const owner: Editor = { ...by, owner: true };
const room = emptyRegistry(LAB);
const prod = "prod-v1" as Alias;
const id = (text: string) => text as ModelId;

const add = (registry: Registry, entry: ModelEntry, editor = by) =>
  addModel(registry, entry, editor).registry;

describe("publishing a model", () => {
  it("adds entry, alias, latest-{type} and history in one document", () => {
    const { registry, result } = addModel(room, entryOf("aaaaaaaa", { alias: prod }), by);
    expect(v.parse(Registry, structuredClone(registry))).toEqual(registry);
    expect(result).toMatchObject({ id: "aaaaaaaa", alias: "prod-v1" });
    expect(registry.aliases).toEqual({ "prod-v1": "aaaaaaaa", "latest-unet": "aaaaaaaa" });
    expect(registry.alias_history).toEqual([
      { alias: "prod-v1", to: "aaaaaaaa", who: "ada", when: by.when, why: "published" },
    ]);
  });

  it("changes nothing the second time", () => {
    const once = add(room, entryOf("aaaaaaaa", { alias: prod }));
    const again = addModel(once, entryOf("aaaaaaaa", { alias: "other" as Alias }), by);
    expect(again.registry).toBe(once);
    expect(again.result).toEqual(once.models["aaaaaaaa"]);
  });

  it("refuses another artifact under a taken id", () => {
    const once = add(room, entryOf("aaaaaaaa"));
    const other = entryOf("aaaaaaaa", { artifact: "b".repeat(64) as ModelEntry["artifact"] });
    expect(() => addModel(once, other, by)).toThrow(/cannot become/);
  });

  it("moves latest-{type} to the newest of its type only", () => {
    let registry = add(room, entryOf("aaaaaaaa"));
    registry = add(registry, entryOf("bbbbbbbb", { model_type: "llm" as ModelType }));
    registry = add(registry, entryOf("cccccccc"));
    expect(registry.aliases).toEqual({ "latest-unet": "cccccccc", "latest-llm": "bbbbbbbb" });
  });

  it("takes the alias away from the model that had it", () => {
    let registry = add(room, entryOf("aaaaaaaa", { alias: prod }));
    registry = add(registry, entryOf("bbbbbbbb", { alias: prod }));
    expect(registry.models["aaaaaaaa"]).not.toHaveProperty("alias");
    expect(registry.alias_history.at(-1)).toMatchObject({ from: "aaaaaaaa", to: "bbbbbbbb" });
  });

  it("leaves a protected alias to owners", () => {
    const guarded = { ...room, protected_aliases: [prod] };
    const entry = entryOf("aaaaaaaa", { alias: prod });
    expect(() => addModel(guarded, entry, by)).toThrow(/protected/);
    expect(addModel(guarded, entry, owner).registry.aliases["prod-v1"]).toBe("aaaaaaaa");
  });

  it("refuses aliases that JSON objects cannot hold", () => {
    const entry = entryOf("aaaaaaaa", { alias: "__proto__" as Alias });
    expect(() => addModel(room, entry, by)).toThrow(/cannot be an alias/);
  });
});

describe("aliases", () => {
  const two = add(add(room, entryOf("aaaaaaaa", { alias: prod })), entryOf("bbbbbbbb"));

  it("move with history and tell where they pointed", () => {
    const moved = moveAlias(two, { alias: prod, model: "latest-unet", why: "better" }, by);
    expect(moved.result).toEqual({ alias: "prod-v1", model: "bbbbbbbb", from: "aaaaaaaa" });
    expect(moved.registry.models["bbbbbbbb"]?.alias).toBe("prod-v1");
    expect(moved.registry.alias_history).toHaveLength(2);
  });

  it("do not move when they point elsewhere than expected", () => {
    const target = { alias: prod, model: "bbbbbbbb", expect: id("cccccccc") };
    expect(() => moveAlias(two, target, by)).toThrow(/points at aaaaaaaa, not at cccccccc/);
  });

  it("can be moved again with the same expectation after a lost answer", () => {
    const target = { alias: prod, model: "bbbbbbbb", expect: id("aaaaaaaa") };
    const once = moveAlias(two, target, by).registry;
    expect(moveAlias(once, target, by).registry).toBe(once);
  });

  it("are removed with history, and a model shows another of its names instead", () => {
    const named = moveAlias(two, { alias: "best" as Alias, model: "aaaaaaaa" }, by).registry;
    expect(aliasesOf(named, id("aaaaaaaa"))).toEqual(["best", "prod-v1"]);
    const { registry } = removeAlias(named, "best" as Alias, by);
    expect(registry.models["aaaaaaaa"]?.alias).toBe("prod-v1");
    expect(registry.alias_history.at(-1)).toEqual({
      alias: "best",
      from: "aaaaaaaa",
      who: "ada",
      when: by.when,
    });
    expect(() => removeAlias(registry, "best" as Alias, by)).toThrow(/no alias best/);
  });

  it("resolve by id, alias and latest-{type}, and never by an object's own methods", () => {
    expect(resolveModel(two, "aaaaaaaa").id).toBe("aaaaaaaa");
    expect(resolveModel(two, "prod-v1").id).toBe("aaaaaaaa");
    expect(resolveModel(two, "latest-unet").id).toBe("bbbbbbbb");
    expect(() => resolveModel(two, "toString")).toThrow(/no model toString/);
  });
});

describe("tags", () => {
  it("are added once, then removed, in order", () => {
    const registry = add(room, entryOf("aaaaaaaa", { tags: ["a", "b", "a"] as Tag[] }));
    const edited = editTags(registry, "aaaaaaaa", {
      add: ["c", "b"] as Tag[],
      remove: ["a"] as Tag[],
    });
    expect(edited.result.tags).toEqual(["b", "c"]);
    const same = editTags(edited.registry, "aaaaaaaa", { add: ["b"] as Tag[], remove: [] });
    expect(same.registry).toBe(edited.registry);
  });
});
