import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { type Alias, type ModelEntry, type ModelType, Registry } from "../protocol/index.ts";
import { type Editor, emptyRegistry, resolveModel } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";

const by: Editor = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const owner: Editor = { ...by, owner: true };
const room = emptyRegistry(LAB);
const prod = "prod-v1" as Alias;

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

describe("a model", () => {
  const two = add(add(room, entryOf("aaaaaaaa", { alias: prod })), entryOf("bbbbbbbb"));

  it("is found by id, alias and latest-{type}, and never by an object's own methods", () => {
    expect(resolveModel(two, "aaaaaaaa").id).toBe("aaaaaaaa");
    expect(resolveModel(two, "prod-v1").id).toBe("aaaaaaaa");
    expect(resolveModel(two, "latest-unet").id).toBe("bbbbbbbb");
    expect(() => resolveModel(two, "toString")).toThrow(/no model toString/);
  });
});
