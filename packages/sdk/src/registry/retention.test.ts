import { describe, expect, it } from "vitest";
import type {
  Alias,
  ModelEntry,
  ModelId,
  ModelType,
  Registry,
  Retention,
  Tag,
} from "../protocol/index.ts";
import { type Editor, emptyRegistry } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";
import { changeRetention, planRetention } from "./retention.ts";

const DAY_MS = 86_400_000;
const NOW_MS = Date.parse("2026-03-01T00:00:00.000Z");
const by: Editor = { who: "ada", owner: true, when: new Date(NOW_MS).toISOString() };
const daysAgo = (days: number) => new Date(NOW_MS - days * DAY_MS).toISOString();
const pinned = { who: "ada", when: by.when, why: "the paper's" };

type Given = Partial<ModelEntry> & { readonly id: string; readonly days: number };

/** A room that published these, oldest first, and has these rules. */
function roomOf(rules: Partial<Retention>, ...models: readonly Given[]): Registry {
  const room = models
    .toSorted((a, b) => b.days - a.days)
    .reduce((registry, { id, days, ...over }) => {
      const entry = entryOf(id, over);
      const training = { ...entry.training, trained_at: daysAgo(days) };
      return addModel(registry, { ...entry, training }, by).registry;
    }, emptyRegistry(LAB));
  return { ...room, retention: { ...room.retention, ...rules } };
}

const model = (digit: string, days: number, over: Partial<ModelEntry> = {}): Given => ({
  ...over,
  id: digit.repeat(8) as ModelId,
  days,
});
const goes = (registry: Registry, used?: ReadonlyMap<string, string>) =>
  planRetention(registry, NOW_MS, used).goes.map(({ entry, why }) => `${entry.id[0]}: ${why}`);
const keeps = (registry: Registry) =>
  Object.fromEntries(
    planRetention(registry, NOW_MS).keeps.map(({ entry, why }) => [entry.id[0], why]),
  );
const type = (name: string) => ({ model_type: name as ModelType });
const tags = (...names: string[]) => ({ tags: names as Tag[] });

describe("a room without rules", () => {
  it("keeps everything, and says so", () => {
    const room = roomOf({}, model("a", 900), model("b", 1));
    expect(goes(room)).toEqual([]);
    expect(keeps(room)).toEqual({ a: ["the room has no rules"], b: ["latest-unet"] });
  });
});

describe("keeping N of a type", () => {
  it("lets all but the newest N of each type go, oldest first", () => {
    const four = ["a", "b", "c", "d"].map((digit, at) => model(digit, 9 - at));
    const room = roomOf({ keep_per_type: 2 }, ...four, model("e", 20, type("llm")));
    expect(goes(room)).toEqual([
      "a: 3 of type unet are newer, and 2 are kept",
      "b: 2 of type unet are newer, and 2 are kept",
    ]);
    expect(keeps(room)).toMatchObject({ c: ["number 2 of the 2 newest of its type"] });
  });

  it("counts held models among the newest, and is overridden per type", () => {
    const three = ["a", "b", "c"].map((digit, at) =>
      model(digit, 9 - at, digit === "b" ? { alias: "prod" as Alias } : {}),
    );
    expect(goes(roomOf({ keep_per_type: 2 }, ...three))).toHaveLength(1);
    expect(goes(roomOf({ keep_per_type: 2, per_type: { unet: 1 } }, ...three))).toEqual([
      "a: 2 of type unet are newer, and 1 are kept",
    ]);
    expect(goes(roomOf({ per_type: { llm: 0 } }, ...three))).toEqual([]);
  });

  it("settles equal times by id, so that two hubs plan alike", () => {
    const room = roomOf({ keep_per_type: 1 }, model("b", 3), model("c", 3), model("a", 3));
    expect(goes(room).map((text) => text[0])).toEqual(["c", "b"]);
  });
});

describe("untagged models", () => {
  it("go after their days; one tag given by people keeps them", () => {
    const room = roomOf(
      { untagged_days: 30 },
      model("a", 31),
      model("b", 31, tags("validated")),
      model("c", 29),
      model("d", 1),
    );
    expect(goes(room)).toEqual(["a: nobody tagged it, and it is 31 days old (30 are kept)"]);
    expect(keeps(room)).toEqual({
      b: ["tagged validated"],
      c: ["29 days old, untagged ones go after 30"],
      d: ["latest-unet"],
    });
  });

  it("are those that only Waybill tagged, too", () => {
    const automatic = tags("dataset-ab12cd34", "interrupted", "best-of-sweep");
    const room = roomOf(
      { untagged_days: 7 },
      model("a", 8, automatic),
      model("b", 8, tags("dataset-mice")),
      model("c", 1),
    );
    expect(goes(room).map((text) => text[0])).toEqual(["a"]);
  });

  it("go although fewer than N are left: each rule limits by itself", () => {
    const room = roomOf({ keep_per_type: 5, untagged_days: 7 }, model("a", 8), model("b", 1));
    expect(goes(room)).toHaveLength(1);
  });
});

describe("whatever the rules say", () => {
  it("aliases, protected ones, pins and latest-{type} keep a model", () => {
    const room: Registry = {
      ...roomOf(
        { keep_per_type: 0 },
        model("a", 9, { alias: "prod" as Alias }),
        model("b", 8, { alias: "gold" as Alias }),
        model("c", 7, { pinned }),
        model("d", 6),
        model("e", 5),
      ),
      protected_aliases: ["gold" as Alias],
    };
    expect(goes(room).map((text) => text[0])).toEqual(["d"]);
    expect(keeps(room)).toEqual({
      a: ["alias prod"],
      b: ["alias gold (protected)"],
      c: ["pinned by ada: the paper's"],
      e: ["latest-unet"],
    });
  });

  it("parts of kept pipelines stay, and go with their pipeline", () => {
    const parts = ["a", "b"].map((digit) => ({
      model_type: "centroid" as ModelType,
      model: digit.repeat(8) as ModelId,
    }));
    const pipeline = { ...type("ensemble"), pipeline: { parts } };
    const all = [
      model("a", 9, type("centroid")),
      model("b", 8, type("centroid")),
      model("c", 7, pipeline),
      model("d", 6, type("centroid")),
      model("e", 5, type("ensemble")),
    ];
    const kept = roomOf({ per_type: { centroid: 0 } }, ...all);
    expect(goes(kept)).toEqual([]);
    expect(keeps(kept)).toMatchObject({ a: ["part of pipeline cccccccc"] });
    const going = roomOf({ keep_per_type: 0 }, ...all);
    expect(goes(going).map((text) => text[0])).toEqual(["a", "b", "c"]);
    const pinnedOne = roomOf(
      { keep_per_type: 0 },
      ...all.map((one) => (one.id.startsWith("c") ? { ...one, pinned } : one)),
    );
    expect(goes(pinnedOne)).toEqual([]);
  });

  it("what something else needs stays", () => {
    const room = roomOf({ keep_per_type: 0 }, model("a", 9), model("b", 1));
    expect(goes(room, new Map([["aaaaaaaa", "job j_1 is fine-tuned from it"]]))).toEqual([]);
  });

  it("the parent of a kept model may go", () => {
    const child = entryOf("bbbbbbbb").training;
    const room = roomOf(
      { keep_per_type: 1 },
      model("a", 9),
      model("b", 1, { training: { ...child, parent_model: "aaaaaaaa" as ModelId } }),
    );
    expect(goes(room).map((text) => text[0])).toEqual(["a"]);
  });
});

describe("changing the rules", () => {
  const none = { clear: false, per_type: {} };
  it("sets what is named, leaves the rest, and null takes away", () => {
    const one = changeRetention(emptyRegistry(LAB), {
      ...none,
      keep_per_type: 5,
      per_type: { ["centroid" as ModelType]: 3, ["llm" as ModelType]: 1 },
    }).registry;
    const two = changeRetention(one, {
      ...none,
      keep_per_type: null,
      per_type: { ["llm" as ModelType]: null },
      untagged_days: 30,
      grace_hours: 24,
    });
    expect(two.result).toEqual({ per_type: { centroid: 3 }, untagged_days: 30, grace_hours: 24 });
    const cleared = changeRetention(two.registry, { ...none, clear: true, keep_per_type: 9 });
    expect(cleared.result).toEqual({ keep_per_type: 9, per_type: {}, grace_hours: 168 });
  });

  it("that changes nothing writes nothing", () => {
    const { registry } = changeRetention(emptyRegistry(LAB), { ...none, keep_per_type: 5 });
    expect(changeRetention(registry, { ...none, keep_per_type: 5 }).registry).toBe(registry);
    expect(changeRetention(registry, none).registry).toBe(registry);
  });
});
