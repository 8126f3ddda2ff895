import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type {
  Alias,
  JobId,
  ModelId,
  ModelType,
  Registry,
  Tombstone,
  WaybillError,
} from "../protocol/index.ts";
import { type Editor, emptyRegistry, resolveModel } from "./edits.ts";
import { moveAlias } from "./alias-moves.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";
import { pinModel, unpinModel } from "./pins.ts";
import {
  applyRetention,
  askRemoval,
  beginPurge,
  cancelPurge,
  duePurges,
  endPurge,
  removeModels,
  restoreModel,
} from "./tombstones.ts";

const HOUR_MS = 3_600_000;
const NOW_MS = Date.parse("2026-03-01T00:00:00.000Z");
const at = (ms: number): Editor => ({
  who: "ada",
  owner: true,
  when: new Date(ms).toISOString(),
});
const by = at(NOW_MS);
const AFTER_MS = NOW_MS + 168 * HOUR_MS;
const A = "aaaaaaaa" as ModelId;
const B = "bbbbbbbb" as ModelId;
const prod = "prod" as Alias;

/** Two models; `latest-unet` is b. */
const room = [A, B].reduce((registry, id) => {
  const trained_at = at(NOW_MS - (id === A ? 2 : 1) * HOUR_MS).when;
  const training = { ...entryOf(id).training, trained_at };
  return addModel(registry, entryOf(id, { training }), by).registry;
}, emptyRegistry(LAB));
const rm = (registry: Registry, id: ModelId = A) =>
  removeModels(registry, { models: [id], why: "too old" }, by).registry;
const stateOf = ({ models, tombstones }: Registry, id: ModelId = A) =>
  models[id] === undefined ? tombstones[id]?.state : "kept";
const HELD = rm(room);
const PURGING = beginPurge(HELD, [A], AFTER_MS).registry;
const PURGED = endPurge(PURGING, [A], at(AFTER_MS).when).registry;

describe("the way of a removed model", () => {
  const states = { kept: room, held: HELD, purging: PURGING, purged: PURGED } as const;
  const steps = {
    remove: (registry: Registry) => rm(registry),
    restore: (registry: Registry) => restoreModel(registry, A, by).registry,
    "purge early": (registry: Registry) => beginPurge(registry, [A], AFTER_MS - 1).registry,
    purge: (registry: Registry) => beginPurge(registry, [A], AFTER_MS).registry,
    "cancel purge": (registry: Registry) => cancelPurge(registry, [A]).registry,
    "bytes gone": (registry: Registry) => endPurge(registry, [A], by.when).registry,
  } as const;
  type State = Tombstone["state"] | "kept";
  /** A step and state that are not named here do not compile. */
  const table: Record<keyof typeof steps, Record<State, State | "expired">> = {
    remove: { kept: "held", held: "held", purging: "purging", purged: "purged" },
    restore: { kept: "kept", held: "kept", purging: "expired", purged: "expired" },
    "purge early": { kept: "kept", held: "held", purging: "purging", purged: "purged" },
    purge: { kept: "kept", held: "purging", purging: "purging", purged: "purged" },
    "cancel purge": { kept: "kept", held: "held", purging: "held", purged: "purged" },
    "bytes gone": { kept: "kept", held: "held", purging: "purged", purged: "purged" },
  };
  const cases = Object.entries(table).flatMap(([step, row]) =>
    Object.entries(row).map(([from, to]) => [step, from, to] as const),
  );

  const take = (step: string, from: string) =>
    steps[step as keyof typeof steps](states[from as State]);
  const outcome = (step: string, from: string) => {
    try {
      return stateOf(take(step, from));
    } catch (error) {
      return (error as WaybillError).code;
    }
  };

  it.each(cases)("%s, when it is %s: %s", (step, from, to) => {
    expect(outcome(step, from)).toBe(to);
  });

  it.each(cases.filter(([, from, to]) => from === to))(
    "%s, when it is %s, writes nothing",
    (step, from) => {
      expect(take(step, from)).toBe(states[from as State]);
    },
  );

  it("keeps who, when, why and until when, and the entry as it was", () => {
    expect(HELD.tombstones[A]).toEqual({
      entry: room.models[A],
      who: "ada",
      when: by.when,
      why: "too old",
      bytes_until: at(AFTER_MS).when,
      state: "held",
    });
    expect(PURGED.tombstones[A]).toMatchObject({ state: "purged", purged_at: at(AFTER_MS).when });
    expect(() => resolveModel(HELD, A)).toThrow(/was removed by ada on 2026-03-01: too old/);
  });

  it("gives its id to nobody else, and its job no second model", () => {
    const again = () => addModel(PURGED, entryOf(A), by);
    expect(again).toThrow(expect.objectContaining({ code: "not_found" }));
    const job = "j_0123456789abcdef" as JobId;
    const training = { ...entryOf(A).training, job };
    const ended = rm(
      addModel(addModel(emptyRegistry(LAB), entryOf(A, { training }), by).registry, entryOf(B), by)
        .registry,
    );
    const late = addModel(ended, entryOf("cccccccc", { training }), by);
    expect([late.registry, late.result.id]).toEqual([ended, A]);
  });
});

describe("removing", () => {
  it("is refused for what a name, a pin or a pipeline holds; all or none", () => {
    const parts = [{ model_type: "unet" as ModelType, model: A }];
    const pipeline = entryOf("cccccccc", {
      model_type: "ensemble" as ModelType,
      pipeline: { parts },
    });
    const cases: [Registry, RegExp][] = [
      [moveAlias(room, { alias: prod, model: A }, by).registry, /alias prod/],
      [pinModel(room, A, "the paper's", by).registry, /pinned by ada: the paper's/],
      [addModel(room, pipeline, by).registry, /part of pipeline cccccccc/],
    ];
    for (const [registry, reason] of cases) expect(() => rm(registry)).toThrow(reason);
    expect(() => rm(room, B)).toThrow(
      expect.objectContaining({
        message: expect.stringContaining("latest-unet"),
        hint: "the newest model of a type stays until a newer one is published",
      }),
    );
    const both = { models: [A, B], why: "x" };
    expect(() => removeModels(room, both, by)).toThrow(/bbbbbbbb is kept/);
    const unpinned = unpinModel(pinModel(room, A, undefined, by).registry, A).registry;
    expect(stateOf(rm(unpinned))).toBe("held");
    expect(askRemoval(room, both.models).map(({ heldBy }) => heldBy)).toEqual([
      [],
      ["latest-unet"],
    ]);
  });

  it("takes a pipeline and its parts together", () => {
    const parts = [{ model_type: "unet" as ModelType, model: A }];
    const ensemble = { model_type: "ensemble" as ModelType };
    const two = [
      entryOf("cccccccc", { ...ensemble, pipeline: { parts } }),
      entryOf("dddddddd", ensemble),
    ];
    const full = two.reduce((registry, entry) => addModel(registry, entry, by).registry, room);
    const models = ["cccccccc" as ModelId, A];
    const { registry, result } = removeModels(full, { models, why: "x" }, by);
    expect(result.map(({ entry }) => entry.id)).toEqual(models);
    expect(Object.keys(registry.models)).toEqual([B, "dddddddd"]);
  });

  it("answers the same again, and knows no model that never was", () => {
    const again = removeModels(HELD, { models: [A], why: "other" }, by);
    expect(again.registry).toBe(HELD);
    expect(again.result).toEqual([HELD.tombstones[A]]);
    expect(() => rm(room, "eeeeeeee" as ModelId)).toThrow(/no model/);
  });
});

describe("restoring", () => {
  it("pins what the rules would take again at once, and nothing else", () => {
    expect(restoreModel(HELD, A, by).result).toEqual(room.models[A]);
    const strict = { ...HELD, retention: { ...HELD.retention, keep_per_type: 1 } };
    const { registry, result } = restoreModel(strict, A, by);
    expect(result.pinned).toMatchObject({ who: "ada", why: expect.stringMatching(/^restored/) });
    expect(applyRetention(registry, by, { limit: 9 }).registry).toBe(registry);
  });
});

describe("models that share a folder", () => {
  const storage = entryOf(A).storage;
  const shared = addModel(room, entryOf("cccccccc", { storage }), by).registry;
  const removed = rm(addModel(shared, entryOf("dddddddd"), by).registry);

  it("keep it until the last of them is over", () => {
    expect(duePurges(removed, AFTER_MS)).toEqual([]);
    expect(beginPurge(removed, [A], AFTER_MS).registry).toBe(removed);
    const both = removeModels(removed, { models: ["cccccccc"], why: "x" }, at(AFTER_MS)).registry;
    expect(duePurges(both, AFTER_MS)).toEqual([]);
    expect(duePurges(both, AFTER_MS + 168 * HOUR_MS)).toHaveLength(2);
  });

  it("let no other in, and none back, once it is going", () => {
    expect(() => addModel(PURGING, entryOf("cccccccc", { storage }), by)).toThrow(
      /removing the bytes/,
    );
    const both = removeModels(removed, { models: ["cccccccc"], why: "x" }, by).registry;
    const going = beginPurge(both, [A], AFTER_MS).registry;
    expect(() => restoreModel(going, "cccccccc" as ModelId, by)).toThrow(/are gone/);
  });
});

describe("the rules, applied", () => {
  it("take a bounded number in one write, oldest first, and say whether more is left", () => {
    const ids = ["a", "b", "c", "d"].map((digit) => digit.repeat(8));
    const full = ids.reduce<Registry>(
      (registry, id, day) => {
        const trained_at = at(NOW_MS - (9 - day) * 24 * HOUR_MS).when;
        const training = { ...entryOf(id).training, trained_at };
        return addModel(registry, entryOf(id, { training }), by).registry;
      },
      { ...emptyRegistry(LAB), retention: { keep_per_type: 1, per_type: {}, grace_hours: 1 } },
    );
    const hub: Editor = { ...by, who: "hub" };
    const first = applyRetention(full, hub, { limit: 2 });
    expect(first.result.more).toBe(true);
    expect(first.result.buried.map(({ entry, who }) => [entry.id[0], who])).toEqual([
      ["a", "hub"],
      ["b", "hub"],
    ]);
    expect(first.result.buried[0]).toMatchObject({
      why: "retention: 3 of type unet are newer, and 1 are kept",
      bytes_until: at(NOW_MS + HOUR_MS).when,
    });
    const second = applyRetention(first.registry, hub, { limit: 2 });
    expect(second.result.more).toBe(false);
    expect(Object.keys(second.registry.models)).toEqual(["dddddddd"]);
    expect(applyRetention(second.registry, hub, { limit: 2 }).registry).toBe(second.registry);
  });
});

describe("whatever order edits come in", () => {
  const C = "cccccccc" as ModelId;
  const models = [A, B, C];
  type Step = (registry: Registry, id: ModelId, nowMs: number) => Registry;
  const steps: Record<string, Step> = {
    publish: (registry, id, nowMs) => addModel(registry, entryOf(id), at(nowMs)).registry,
    alias: (registry, model, nowMs) =>
      moveAlias(registry, { alias: prod, model }, at(nowMs)).registry,
    pin: (registry, id, nowMs) => pinModel(registry, id, "x", at(nowMs)).registry,
    unpin: (registry, id) => unpinModel(registry, id).registry,
    remove: (registry, id, nowMs) =>
      removeModels(registry, { models: [id], why: "x" }, at(nowMs)).registry,
    rules: (registry, _, nowMs) => applyRetention(registry, at(nowMs), { limit: 9 }).registry,
    restore: (registry, id, nowMs) => restoreModel(registry, id, at(nowMs)).registry,
    purge: (registry, id, nowMs) => beginPurge(registry, [id], nowMs).registry,
    end: (registry, id, nowMs) => endPurge(registry, [id], at(nowMs).when).registry,
  };
  const names = Object.keys(steps);
  /** What is refused stores nothing. */
  const tried = (registry: Registry, name: string, id: ModelId, nowMs: number): Registry => {
    try {
      return steps[name]?.(registry, id, nowMs) ?? registry;
    } catch {
      return registry;
    }
  };
  /** Names that lead nowhere, and models that left other than by a tombstone, or while something held them. */
  const faults = (before: Registry, after: Registry): string[] => [
    ...Object.entries(after.aliases)
      .filter(([, id]) => after.models[id] === undefined)
      .map(([alias]) => `${alias} leads nowhere`),
    ...models
      .filter((id) => before.models[id] !== undefined && after.models[id] === undefined)
      .filter((id) => after.tombstones[id]?.state !== "held" || before.models[id]?.pinned)
      .map((id) => `${id} left`),
    ...models
      .filter((id) => after.models[id] !== undefined && after.tombstones[id] !== undefined)
      .map((id) => `${id} is kept and removed`),
    ...Object.values(before.tombstones)
      .filter(({ state, entry: { id } }) => state !== "held" && after.tombstones[id] === undefined)
      .map(({ entry }) => `${entry.id} came back without its bytes`),
    ...Object.values(before.tombstones)
      .filter(
        ({ state, entry: { id } }) => state === "purged" && after.tombstones[id]?.state !== state,
      )
      .map(({ entry }) => `${entry.id} lost its trace`),
  ];

  it("no name points at what was removed, nothing pinned goes, and no bytes come back (I12)", () => {
    const step = fc.record({
      name: fc.constantFrom(...names),
      id: fc.constantFrom(...models),
      hours: fc.constantFrom(0, 0, 24),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (taken) => {
        let nowMs = NOW_MS;
        let registry: Registry = {
          ...emptyRegistry(LAB),
          retention: { keep_per_type: 1, per_type: {}, grace_hours: 24 },
        };
        for (const { name, id, hours } of taken) {
          const after = tried(registry, name, id, nowMs);
          expect(faults(registry, after)).toEqual([]);
          registry = after;
          nowMs += hours * HOUR_MS;
        }
      }),
      { numRuns: 500 },
    );
  });

  it("a move of an alias and a removal of its target end alike in both orders: one of them is refused", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(["alias", "remove"], { minLength: 2 }), (order) => {
        const after = order.reduce((registry, name) => tried(registry, name, A, NOW_MS), room);
        expect([after.aliases[prod], stateOf(after)]).toEqual(
          order[0] === "alias" ? [A, "kept"] : [undefined, "held"],
        );
      }),
    );
  });
});
