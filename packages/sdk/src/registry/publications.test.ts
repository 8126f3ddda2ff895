import { describe, expect, it } from "vitest";
import type {
  Alias,
  ArtifactId,
  JobId,
  ModelEntry,
  ModelId,
  ModelType,
  Registry,
  Tag,
} from "../protocol/index.ts";
import { type Editor, emptyRegistry } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel, addModels, resultOfJob } from "./publications.ts";
import { removeModels, restoreModel } from "./tombstones.ts";

const by: Editor = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const room = emptyRegistry(LAB);
const job = "j_0123456789abcdef" as JobId;
const typed = (text: string) => text as ModelType;

const ofJob = (id: string, type: string, over: Partial<ModelEntry> = {}) => {
  const entry = entryOf(id, { model_type: typed(type), ...over });
  return { ...entry, training: { ...entry.training, job } };
};
const part = (entry: ModelEntry) => ({ model_type: entry.model_type, model: entry.id });

const centroid = ofJob("aaaaaaaa", "centroid");
const instance = ofJob("bbbbbbbb", "centered_instance");
const pipeline = { parts: [part(centroid), part(instance)] };
const topdown = ofJob("cccccccc", "topdown", { pipeline, alias: "prod" as Alias });
const all = [centroid, instance, topdown];

describe("a pipeline", () => {
  it("enters with its parts, alias and every latest-{type} in one document", () => {
    const { registry, result } = addModels(room, all, by);
    expect(result.map(({ id }) => id)).toEqual(["aaaaaaaa", "bbbbbbbb", "cccccccc"]);
    expect(registry.aliases).toEqual({
      "latest-centroid": "aaaaaaaa",
      "latest-centered_instance": "bbbbbbbb",
      "latest-topdown": "cccccccc",
      prod: "cccccccc",
    });
    expect(registry.models["cccccccc"]?.pipeline).toEqual(pipeline);
  });

  it("enters whole or not at all: what is wrong with one leaves the document as it was", () => {
    const taken = addModel(
      room,
      entryOf("bbbbbbbb", { artifact: "f".repeat(64) as ArtifactId }),
      by,
    );
    expect(() => addModels(taken.registry, all, by)).toThrow(/cannot become/);
    const guarded: Registry = { ...room, protected_aliases: ["prod" as Alias] };
    expect(() => addModels(guarded, all, by)).toThrow(/protected/);
    expect(guarded.models).toEqual({});
  });

  it("is what its job came to: a later attempt gets it, parts first, and changes nothing (I5)", () => {
    const { registry } = addModels(room, all, by);
    expect(resultOfJob(registry, job)?.id).toBe("cccccccc");
    const late = all.map((entry, i) => ({ ...entry, id: `dddddd0${i}` as ModelId }));
    const again = addModels(registry, late, by);
    expect(again.registry).toBe(registry);
    expect(again.result.map(({ id }) => id)).toEqual(["aaaaaaaa", "bbbbbbbb", "cccccccc"]);
    expect(addModel(registry, ofJob("eeeeeeee", "unet"), by).result.id).toBe("cccccccc");
  });

  it("of a known type has the parts of that type in their order", () => {
    const swapped = { ...topdown, pipeline: { parts: pipeline.parts.toReversed() } };
    expect(() => addModels(room, [centroid, instance, swapped], by)).toThrow(/is none/);
    const lone = { ...topdown, pipeline: { parts: [part(centroid)] } };
    expect(() => addModels(room, [centroid, lone], by)).toThrow(/is none/);
  });

  it("of an unknown type may be of any models of the room, but of no pipelines", () => {
    const of = (entry: ModelEntry) =>
      entryOf("dddddddd", { model_type: typed("duo"), pipeline: { parts: [part(entry)] } });
    const { registry } = addModels(room, all, by);
    expect(addModels(registry, [of(centroid)], by).result).toHaveLength(1);
    expect(() => addModels(registry, [of(topdown)], by)).toThrow(/cannot have cccccccc/);
    expect(() => addModels(room, [of(centroid)], by)).toThrow(/cannot have aaaaaaaa/);
  });

  it("is of one job", () => {
    expect(() => addModels(room, [entryOf("dddddddd"), topdown], by)).toThrow(/of one job/);
  });
});

describe("the best of a sweep", () => {
  const trial = (id: string, loss: unknown, mode: "min" | "max" = "min", name = "lr") => {
    const entry = entryOf(id, { tags: ["mine" as Tag] });
    const sweep = { name, metric: "val_loss", mode };
    return { ...entry, training: { ...entry.training, sweep, metrics: { val_loss: loss } } };
  };
  const add = (registry: Registry, ...entries: ModelEntry[]) =>
    entries.reduce((before, entry) => addModel(before, entry, by).registry, registry);
  const best = ({ models }: Registry) =>
    Object.values(models)
      .filter(({ tags }) => (tags as string[]).includes("best-of-sweep"))
      .map(({ id }) => id);

  it("has the tag, which moves in the write that brings a better one", () => {
    const first = add(room, trial("aaaaaaaa", 0.5));
    expect(best(first)).toEqual(["aaaaaaaa"]);
    const second = add(first, trial("bbbbbbbb", 0.7));
    expect(best(second)).toEqual(["aaaaaaaa"]);
    const third = add(second, trial("cccccccc", 0.2));
    expect(best(third)).toEqual(["cccccccc"]);
    expect(third.models["aaaaaaaa"]?.tags).toEqual(["mine"]);
  });

  it("is the greatest value where more is better, and the first of equals", () => {
    const registry = add(
      room,
      trial("aaaaaaaa", 0.5, "max"),
      trial("bbbbbbbb", 0.7, "max"),
      trial("cccccccc", 0.7, "max"),
    );
    expect(best(registry)).toEqual(["bbbbbbbb"]);
  });

  it("has a number: what diverged or tells none is never the best", () => {
    const registry = add(room, trial("aaaaaaaa", "NaN"), trial("bbbbbbbb", undefined));
    expect(best(registry)).toEqual([]);
    expect(best(add(registry, trial("cccccccc", 9)))).toEqual(["cccccccc"]);
  });

  it("is another one when the best is removed, until it is restored", () => {
    const models = add(room, trial("aaaaaaaa", 0.5), trial("bbbbbbbb", 0.2), trial("cccccccc", 1));
    const { registry } = removeModels(models, { models: ["bbbbbbbb"], why: "" }, by);
    expect(best(registry)).toEqual(["aaaaaaaa"]);
    const restored = restoreModel(registry, "bbbbbbbb" as ModelId, by);
    expect(best(restored.registry)).toEqual(["bbbbbbbb"]);
    expect(() => add(registry, trial("bbbbbbbb", 0.2))).toThrow(/was removed/);
  });

  it("is one of each sweep", () => {
    const registry = add(room, trial("aaaaaaaa", 1), trial("bbbbbbbb", 2, "min", "other"));
    expect(best(registry)).toEqual(["aaaaaaaa", "bbbbbbbb"]);
  });
});
