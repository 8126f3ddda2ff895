import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Alias, ModelEntry, ModelType, Registry, Tag } from "../protocol/index.ts";
import { readMetricFilters } from "../protocol/index.ts";
import { emptyRegistry } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";
import { type ModelQuery, queryModels } from "./query.ts";

const by = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const day = (n: number) => new Date(Date.UTC(2026, 0, n)).toISOString();
const PAST_LAST = 1000;

type Facts = {
  day?: number;
  metrics?: Record<string, unknown>;
  bytes?: number;
  over?: Partial<ModelEntry>;
};

function model(id: string, { day: n = 1, metrics = {}, bytes = 1, over = {} }: Facts = {}) {
  const entry = entryOf(id, over);
  return {
    ...entry,
    storage: { ...entry.storage, size_bytes: bytes },
    training: { ...entry.training, trained_at: day(n), metrics },
  };
}

const roomOf = (...entries: ModelEntry[]): Registry =>
  entries.reduce((registry, entry) => addModel(registry, entry, by).registry, emptyRegistry(LAB));

const room = roomOf(
  model("aaaaaaaa", {
    day: 1,
    metrics: { val_loss: 0.04, acc: 0.9 },
    bytes: 30,
    over: { tags: ["validated", "x"] as Tag[], alias: "prod-v1" as Alias },
  }),
  model("bbbbbbbb", {
    day: 2,
    metrics: { val_loss: 0.02, acc: 0.7 },
    bytes: 10,
    over: { tags: ["validated"] as Tag[], model_type: "centroid" as ModelType },
  }),
  model("cccccccc", { day: 3, metrics: { val_loss: "NaN" }, bytes: 20 }),
  model("dddddddd", { day: 4, bytes: 20, over: { alias: "prod-v2" as Alias } }),
);

const ids = (query: ModelQuery, registry = room) =>
  queryModels(registry, query, { limit: PAST_LAST }).models.map((row) => row.model.id.slice(0, 1));
const filters = (text: string) => readMetricFilters(text, "--metric");

describe("a query", () => {
  it.each<[string, ModelQuery, string]>([
    ["all, newest first", {}, "dcba"],
    ["of a type", { type: "centroid" as ModelType }, "b"],
    ["with every tag", { tags: ["validated", "x"] as Tag[] }, "a"],
    ["below a metric", { metrics: filters("val_loss<0.03") }, "b"],
    ["within several metrics", { metrics: filters("val_loss<0.05,acc>0.8") }, "a"],
    ["never with a metric that is no number", { metrics: filters("val_loss!=0") }, "ba"],
    ["since a time", { since: day(3) }, "dc"],
    ["with an alias that matches", { alias: "prod-*" }, "da"],
    ["with an automatic alias that matches", { alias: "latest-c?ntroid" }, "b"],
    ["oldest first", { order: "asc" }, "abcd"],
    ["biggest first, then newest", { sort: "size" }, "adcb"],
    ["smallest first, then newest", { sort: "size", order: "asc" }, "bdca"],
    ["by id", { sort: "id" }, "abcd"],
    ["by metric, least first, without it last", { sort: "val_loss" }, "badc"],
    ["by metric, greatest first, without it last", { sort: "val_loss", order: "desc" }, "abdc"],
    ["by a metric that sounds so, greatest first", { sort: "acc" }, "abdc"],
    ["by a metric called like a word", { sort: "metric:size" }, "dcba"],
  ])("finds models %s", (_, query, expected) => {
    expect(ids(query).join("")).toBe(expected);
  });

  it("tells every alias of a model, and how many there are on all pages", () => {
    const page = queryModels(room, { type: "unet" as ModelType }, { limit: 1 });
    expect(page).toMatchObject({ total: 3, models: [{ aliases: ["latest-unet", "prod-v2"] }] });
    expect(page.next).toBeDefined();
  });

  it("ends a page before it grows too long, and never without a row", () => {
    const pages = queryModels(room, {}, { limit: PAST_LAST, maxBytes: 1 });
    expect(pages.models).toHaveLength(1);
    const two = JSON.stringify(queryModels(room, {}, { limit: 2 }).models).length;
    expect(queryModels(room, {}, { limit: PAST_LAST, maxBytes: two }).models).toHaveLength(2);
  });

  it("refuses a cursor that is none, or of another order", () => {
    const { next } = queryModels(room, { sort: "größe" }, { limit: 1 });
    expect(() => queryModels(room, {}, { limit: 1, cursor: next })).toThrow(/sorted otherwise/);
    for (const cursor of ["", "x", "bm8", btoa("[1,2,3]")]) {
      expect(() => queryModels(room, {}, { limit: 1, cursor })).toThrow(/none that a list gave/);
    }
  });
});

describe("paging", () => {
  const facts = fc.record({
    day: fc.integer({ min: 1, max: 3 }),
    bytes: fc.integer({ min: 0, max: 2 }),
    loss: fc.constantFrom<unknown>(0, 0.1, 0.2, "NaN", undefined),
  });
  const models = fc
    .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 0xffff }), facts), {
      maxLength: 20,
      selector: ([n]) => n,
    })
    .map((all) =>
      all.map(([n, { day: at, bytes, loss }]) =>
        model(n.toString(16).padStart(8, "0"), {
          day: at,
          bytes,
          metrics: loss === undefined ? {} : { loss },
        }),
      ),
    );
  const query = fc.record({
    sort: fc.constantFrom("trained", "size", "id", "loss"),
    order: fc.constantFrom("asc" as const, "desc" as const, undefined),
  });

  /** Every row of all pages; `between` is what happens between two of them. */
  function walk(start: Registry, asked: ModelQuery, limit: number, between = (r: Registry) => r) {
    const seen: string[] = [];
    let registry = start;
    let cursor: string | undefined;
    do {
      const page = queryModels(registry, asked, { limit, cursor });
      expect(page.models.length).toBeLessThanOrEqual(limit);
      seen.push(...page.models.map((row) => row.model.id));
      cursor = page.next;
      registry = between(registry);
    } while (cursor !== undefined);
    return seen;
  }

  it("gives what one long page gives, in every order", () => {
    fc.assert(
      fc.property(models, query, fc.integer({ min: 1, max: 5 }), (all, asked, limit) => {
        const registry = roomOf(...all);
        const whole = queryModels(registry, asked, { limit: PAST_LAST });
        expect(whole.next).toBeUndefined();
        expect(whole.models).toHaveLength(all.length);
        expect(walk(registry, asked, limit)).toEqual(whole.models.map((row) => row.model.id));
      }),
    );
  });

  it("repeats and misses none of the models that stay while others come", () => {
    fc.assert(
      fc.property(models, models, query, (all, others, asked) => {
        const before = new Set(all.map(({ id }) => id));
        const coming = others.filter(({ id }) => !before.has(id));
        const seen = walk(roomOf(...all), asked, 2, (registry) => {
          const next = coming.pop();
          return next === undefined ? registry : addModel(registry, next, by).registry;
        });
        expect(new Set(seen).size).toBe(seen.length);
        expect(seen.filter((id) => before.has(id as ModelEntry["id"]))).toHaveLength(all.length);
      }),
    );
  });
});
