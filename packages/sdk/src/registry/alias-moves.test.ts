import * as fc from "fast-check";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { type Alias, type ModelId, Registry, type Tombstone } from "../protocol/index.ts";
import { lastMove, moveAlias, protectAlias, removeAlias, rollbackAlias } from "./alias-moves.ts";
import { type Editor, aliasesOf, emptyRegistry, resolveModel } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";

const by: Editor = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const owner: Editor = { ...by, who: "owner", owner: true };
const prod = "prod-v1" as Alias;
const [A, B, C] = ["aaaaaaaa", "bbbbbbbb", "cccccccc"] as ModelId[] as [ModelId, ModelId, ModelId];

/** Three models, the first of them `prod-v1`. */
const room = [
  entryOf(A, { alias: prod, training: trained({ loss: 0.2, acc: 0.8 }) }),
  entryOf(B, { training: trained({ loss: 0.1, acc: "NaN" }) }),
  entryOf(C, { training: trained({}) }),
].reduce((registry, entry) => addModel(registry, entry, by).registry, emptyRegistry(LAB));

function trained(metrics: Record<string, unknown>) {
  return { ...entryOf(A).training, metrics };
}

const move = (registry: Registry, model: string, over = {}, editor = by) =>
  moveAlias(registry, { alias: prod, model, ...over }, editor);
const guarded = protectAlias(room, { alias: prod, protected: true }, owner).registry;

/** As removing a model leaves it. */
function without(registry: Registry, id: ModelId, state: Tombstone["state"]): Registry {
  const { [id]: entry, ...models } = registry.models;
  if (entry === undefined) throw new Error(`no ${id}`);
  const { when } = by;
  const tombstone = { entry, who: "ada", when, why: "old", bytes_until: when, state };
  return { ...registry, models, tombstones: { ...registry.tombstones, [id]: tombstone } };
}

describe("moving an alias", () => {
  it("keeps who, when, from, to and why, and tells where it pointed", () => {
    const moved = move(room, "latest-unet", { why: "better" }, { ...by, by: "ada@desk" });
    expect(moved.result).toEqual({ alias: prod, model: C, from: A });
    expect(moved.registry.models[C]?.alias).toBe(prod);
    expect(moved.registry.models[A]).not.toHaveProperty("alias");
    expect(moved.registry.alias_history.at(-1)).toEqual({
      alias: prod,
      from: A,
      to: C,
      who: "ada",
      by: "ada@desk",
      when: by.when,
      why: "better",
    });
    expect(v.parse(Registry, structuredClone(moved.registry))).toEqual(moved.registry);
  });

  it("says that no reason was given when none was", () => {
    expect(move(room, B).registry.alias_history.at(-1)?.why).toBe("no reason given");
    expect(move(room, B, { why: "  " }).registry.alias_history.at(-1)?.why).toBe("no reason given");
  });

  it("does not happen when it points elsewhere than expected", () => {
    expect(() => move(room, B, { expect: C })).toThrow(/points at aaaaaaaa, not at cccccccc/);
    expect(() => move(room, B, { expect: "none" })).toThrow(/points at aaaaaaaa, not at none/);
    const fresh = { alias: "fresh" as Alias, model: B };
    expect(() => moveAlias(room, { ...fresh, expect: A }, by)).toThrow(/points at no model/);
    expect(moveAlias(room, { ...fresh, expect: "none" }, by).result).toEqual(fresh);
  });

  it("can be asked again after a lost answer, whatever it expected", () => {
    const over = { expect: A, if: "loss < current", why: "better" };
    const once = move(room, B, over).registry;
    expect(move(once, B, over).registry).toBe(once);
  });

  it("is refused for names that JSON objects cannot hold, and for models that are not there", () => {
    const alias = "__proto__" as Alias;
    expect(() => moveAlias(room, { alias, model: A }, by)).toThrow(/cannot be an alias/);
    expect(() => move(room, "dddddddd")).toThrow(/no model dddddddd/);
  });
});

describe("the gate of a move", () => {
  it("lets it happen when the condition holds, and keeps condition and values", () => {
    const moved = move(room, B, { if: "loss<current" });
    expect(moved.result.gate).toBe("loss<current: loss is 0.1, < 0.2");
    expect(moved.registry.alias_history.at(-1)).toMatchObject({
      why: "loss<current",
      gate: { condition: "loss<current", candidate: 0.1, current: 0.2 },
    });
  });

  it.each([
    [
      B,
      "loss < current * 0.5",
      /stays at aaaaaaaa: bbbbbbbb does not meet loss < current \* 0.5 \(loss is 0.1, not < 0.1\)/,
    ],
    [C, "loss < current", /the model has no metric loss/],
    [B, "acc > 0.5", /no number as acc \(NaN\)/],
  ])("keeps %s from the alias when %s does not hold", (model, condition, message) => {
    expect(() => move(room, model, { if: condition })).toThrow(message);
    expect(() => move(room, model, { if: condition })).toThrow(
      expect.objectContaining({ code: "conflict" }),
    );
  });

  it("holds where there is nothing to compare with, and says so", () => {
    const fresh = { alias: "fresh" as Alias, model: B, if: "loss < current" };
    const { registry, result } = moveAlias(room, fresh, by);
    expect(result.gate).toContain("there is no current model");
    expect(registry.alias_history.at(-1)?.gate).toEqual({
      condition: "loss < current",
      candidate: 0.1,
    });
    const lacking = move(move(room, C).registry, B, { if: "loss < current" });
    expect(lacking.result.gate).toContain("the current model has no metric loss");
  });

  it("is judged on the document that is written, not on an older one", () => {
    const target = { if: "loss < current" };
    expect(move(room, B, target).result.from).toBe(A);
    const meanwhile = move(room, B).registry;
    expect(() => move(meanwhile, A, target)).toThrow(/loss is 0.2, not < 0.1/);
  });
});

describe("a protected alias", () => {
  it("is the owner's to move, remove and roll back, with a reason or under a condition", () => {
    expect(() => move(guarded, B, { why: "better" })).toThrow(/protected/);
    expect(() => removeAlias(guarded, { alias: prod, why: "old" }, by)).toThrow(/protected/);
    expect(() => move(guarded, B, {}, owner)).toThrow(/say why/);
    expect(() => removeAlias(guarded, { alias: prod }, owner)).toThrow(/say why/);
    expect(move(guarded, B, { if: "loss < current" }, owner).result.model).toBe(B);
    const moved = move(guarded, B, { why: "better" }, owner).registry;
    const back = { alias: prod, expect: B, to: A };
    expect(() => rollbackAlias(moved, back, by)).toThrow(/protected/);
    expect(rollbackAlias(moved, back, owner).result).toEqual({ alias: prod, model: A, from: B });
  });

  it("may be a name that points at nothing yet, and stays protected when it is removed", () => {
    const alias = "next" as Alias;
    const reserved = protectAlias(room, { alias, protected: true }, owner).registry;
    expect(() => moveAlias(reserved, { alias, model: A, why: "mine" }, by)).toThrow(/protected/);
    const removed = removeAlias(guarded, { alias: prod, why: "old" }, owner).registry;
    expect(removed.protected_aliases).toEqual([prod]);
  });

  it("is protected by owners only, with a record of it, once", () => {
    expect(() => protectAlias(room, { alias: prod, protected: true }, by)).toThrow(/owner/);
    expect(guarded.alias_history.at(-1)).toMatchObject({ from: A, to: A, protection: true });
    expect(protectAlias(guarded, { alias: prod, protected: true }, owner).registry).toBe(guarded);
    const free = protectAlias(guarded, { alias: prod, protected: false }, owner);
    expect(free.result).toEqual({ alias: prod, protected: false, model: A });
    expect(move(free.registry, B).result.model).toBe(B);
  });
});

describe("removing an alias", () => {
  it("keeps its history, and a model shows another of its names instead", () => {
    const best = "best" as Alias;
    const named = moveAlias(room, { alias: best, model: A }, by).registry;
    expect(aliasesOf(named, A)).toEqual(["best", "prod-v1"]);
    const { registry, result } = removeAlias(named, { alias: best }, by);
    expect(result).toEqual({ alias: best, from: A });
    expect(registry.models[A]?.alias).toBe("prod-v1");
    expect(registry.alias_history.at(-1)).toEqual({
      alias: "best",
      from: A,
      who: "ada",
      when: by.when,
      why: "no reason given",
    });
    expect(() => removeAlias(registry, { alias: best }, by)).toThrow(/no alias best/);
  });

  it("takes what it points at into account, and can be asked again after a lost answer", () => {
    expect(() => removeAlias(room, { alias: prod, expect: B }, by)).toThrow(/not at bbbbbbbb/);
    const once = removeAlias(room, { alias: prod, expect: A }, by);
    expect(removeAlias(once.registry, { alias: prod, expect: A }, by)).toEqual(once);
    const other = { ...by, who: "bob" };
    expect(() => removeAlias(once.registry, { alias: prod, expect: A }, other)).toThrow(/no alias/);
  });
});

describe("rolling an alias back", () => {
  const moved = move(room, B, { why: "better" }).registry;
  const back = { alias: prod, expect: B, to: A };

  it("points it where it pointed before its last move, and is a move itself", () => {
    const { registry, result } = rollbackAlias(moved, back, { ...by, who: "bob" });
    expect(result).toEqual({ alias: prod, model: A, from: B });
    expect(resolveModel(registry, prod).id).toBe(A);
    expect(registry.alias_history.at(-1)).toMatchObject({
      from: B,
      to: A,
      who: "bob",
      why: `rollback of the move of ${by.when} by ada`,
    });
    const forth = rollbackAlias(registry, { alias: prod, expect: A, to: B, why: "no" }, by);
    expect(forth.registry.alias_history.at(-1)).toMatchObject({ to: B, why: "rollback: no" });
  });

  it("brings a removed alias back", () => {
    const removed = removeAlias(moved, { alias: prod }, by).registry;
    const { registry } = rollbackAlias(removed, { alias: prod, expect: "none", to: B }, by);
    expect(resolveModel(registry, prod).id).toBe(B);
  });

  it("can be asked again after a lost answer", () => {
    const once = rollbackAlias(moved, back, by).registry;
    expect(rollbackAlias(once, back, by).registry).toBe(once);
  });

  it("does not happen when somebody moved it since, not even there and back", () => {
    const away = move(moved, C).registry;
    expect(() => rollbackAlias(away, back, by)).toThrow(/was moved since: it points at cccccccc/);
    const again = move(away, B).registry;
    expect(() => rollbackAlias(again, back, by)).toThrow(/was moved since/);
  });

  it("skips records of protection", () => {
    const safe = protectAlias(moved, { alias: prod, protected: true }, owner).registry;
    expect(rollbackAlias(safe, back, owner).result.model).toBe(A);
    expect(lastMove(safe, prod)?.why).toBe("better");
  });

  it("is refused when the model was removed since, saying what can be done", () => {
    const gone = /pointed at aaaaaaaa before: model aaaaaaaa was removed by ada on 2026-01-02: old/;
    const after = (state: Tombstone["state"]) => () =>
      rollbackAlias(without(moved, A, state), back, by);
    expect(after("held")).toThrow(gone);
    expect(after("held")).toThrow(
      expect.objectContaining({ code: "not_found", hint: expect.stringContaining("restore") }),
    );
    expect(after("purged")).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("waybill model removed") }),
    );
  });

  it("is refused for a name that never was an alias", () => {
    const never = { alias: "never" as Alias, expect: "none" as const, to: A };
    expect(() => rollbackAlias(room, never, by)).toThrow(/no alias never/);
  });
});

describe("any run of edits", () => {
  const names = ["a", "b"] as Alias[];
  const step = fc.record({
    alias: fc.constantFrom(...names),
    model: fc.constantFrom(A, B, C),
    kind: fc.constantFrom("set", "remove", "rollback"),
  });

  it("leaves what its history says when it is played again, and every alias at a model", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        let registry = room;
        for (const { alias, model, kind } of steps) registry = tried(registry, kind, alias, model);
        const played = new Map<string, string>();
        for (const { alias, from, to } of registry.alias_history) {
          expect(played.get(alias)).toBe(from);
          if (to === undefined) played.delete(alias);
          else played.set(alias, to);
        }
        const users = Object.entries(registry.aliases).filter(([n]) => !n.startsWith("latest-"));
        expect(new Map(users)).toEqual(played);
        for (const { id, alias } of Object.values(registry.models)) {
          const own = users.filter(([, to]) => to === id).map(([name]) => name);
          expect(own.length === 0).toBe(alias === undefined);
          expect([...own, undefined]).toContain(alias);
        }
      }),
    );
  });

  /** The document after an edit; the same one when it is refused. */
  function tried(registry: Registry, kind: string, alias: Alias, model: ModelId): Registry {
    try {
      if (kind === "set") return moveAlias(registry, { alias, model }, by).registry;
      if (kind === "remove") return removeAlias(registry, { alias }, by).registry;
      const last = lastMove(registry, alias);
      const target = { alias, expect: last?.to ?? ("none" as const), to: last?.from ?? model };
      return rollbackAlias(registry, target, by).registry;
    } catch {
      return registry;
    }
  }
});
