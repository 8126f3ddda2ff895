import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type {
  Alias,
  ArtifactId,
  ArtifactName,
  JobId,
  ModelEntry,
  ModelId,
  ModelType,
  Registry,
} from "../protocol/index.ts";
import { emptyRegistry } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { lineageOf, modelDetails } from "./lineage.ts";

const idOf = (n: number) => n.toString(16).padStart(8, "0") as ModelId;
const DATASET = "d".repeat(64) as ArtifactId;

type Facts = { readonly parent?: number; readonly parts?: readonly number[] };

function modelOf(n: number, { parent, parts }: Facts, over: object = {}): ModelEntry {
  const { training, ...entry } = entryOf(idOf(n));
  const steps = (parts ?? []).map((part) => ({
    model_type: "unet" as ModelType,
    model: idOf(part),
  }));
  return {
    ...entry,
    ...(steps.length === 0 ? {} : { pipeline: { parts: steps } }),
    training: {
      ...training,
      ...(parent === undefined ? {} : { parent_model: idOf(parent) }),
      ...over,
    },
  };
}

function registryOf(models: readonly ModelEntry[], gone: readonly ModelEntry[] = []): Registry {
  const stone = {
    who: "ada",
    when: "2026-01-03T00:00:00.000Z",
    why: "ttl",
    bytes_until: "2026-01-10T00:00:00.000Z",
    state: "held" as const,
  };
  return {
    ...emptyRegistry(LAB),
    models: Object.fromEntries(models.map((model) => [model.id, model])),
    tombstones: Object.fromEntries(gone.map((entry) => [entry.id, { entry, ...stone }])),
  };
}

describe("a model's lineage", () => {
  it("has data set, code, job, parent, children and pipelines, edges leading to what was made", () => {
    const over = {
      dataset: DATASET,
      dataset_name: "digits" as ArtifactName,
      code: "c".repeat(64) as ArtifactId,
      job: "j_01h2xcejqtf2nbrx" as JobId,
    };
    const registry = {
      ...registryOf([
        modelOf(1, {}),
        modelOf(2, { parent: 1 }, over),
        modelOf(3, { parent: 2 }),
        modelOf(4, { parts: [2, 5] }),
        modelOf(5, {}),
      ]),
      aliases: { prod: idOf(2), "latest-unet": idOf(4) },
    };
    const lineage = lineageOf(registry, "prod");
    expect(lineage.root).toBe(`model:${idOf(2)}`);
    expect(lineage.nodes.map(({ key }) => key).toSorted()).toEqual([
      `code:${over.code}`,
      `dataset:${DATASET}`,
      `job:${over.job}`,
      ...[1, 2, 3, 4].map((n) => `model:${idOf(n)}`),
    ]);
    expect(lineage.nodes.find(({ kind }) => kind === "dataset")).toMatchObject({ name: "digits" });
    expect(lineage.nodes.find(({ id }) => id === idOf(4))).toMatchObject({
      aliases: ["latest-unet"],
    });
    expect(lineage.edges.map(({ from, to, kind }) => `${from} ${kind} ${to}`).toSorted()).toEqual(
      [
        `code:${over.code} code model:${idOf(2)}`,
        `dataset:${DATASET} dataset model:${idOf(2)}`,
        `job:${over.job} job model:${idOf(2)}`,
        `model:${idOf(1)} parent model:${idOf(2)}`,
        `model:${idOf(2)} parent model:${idOf(3)}`,
        `model:${idOf(2)} part model:${idOf(4)}`,
      ].toSorted(),
    );
  });

  it("goes through removed models and names those the registry never knew", () => {
    const registry = registryOf([modelOf(3, { parent: 2 })], [modelOf(2, { parent: 1 })]);
    const { nodes } = lineageOf(registry, idOf(3));
    expect(nodes).toMatchObject([
      { id: idOf(3) },
      { id: idOf(2), removed: "held" },
      { id: idOf(1), aliases: [] },
    ]);
    expect(nodes[2]).not.toHaveProperty("model_type");
    expect(lineageOf(registry, idOf(2)).nodes.map(({ id }) => id)).toEqual(
      expect.arrayContaining([idOf(1), idOf(3)]),
    );
    expect(() => lineageOf(registry, idOf(1))).toThrow(/no model/);
  });

  it("ends where somebody made a circle, and says where a depth cut it off", () => {
    const circle = registryOf([modelOf(1, { parent: 2 }), modelOf(2, { parent: 1 })]);
    expect(lineageOf(circle, idOf(1)).edges).toHaveLength(2);
    const self = registryOf([modelOf(1, { parent: 1 })]);
    expect(lineageOf(self, idOf(1)).edges).toHaveLength(1);
    const chain = registryOf([1, 2, 3, 4].map((n) => modelOf(n, n > 1 ? { parent: n - 1 } : {})));
    const { nodes } = lineageOf(chain, idOf(2), { depth: 1 });
    expect(nodes.map(({ id }) => id)).toEqual([2, 1, 3].map(idOf));
    expect(nodes.filter((node) => "more" in node).map(({ id }) => id)).toEqual([idOf(3)]);
    expect(lineageOf(chain, idOf(2), { depth: 0 }).nodes).toMatchObject([{ more: true }]);
  });
});

/** Models 0…n−1; each comes from models before it only, so that there is no circle. Some are removed. */
const graph = fc
  .array(
    fc.record({
      parent: fc.option(fc.nat(), { nil: undefined }),
      parts: fc.array(fc.nat(), { maxLength: 3 }),
      isGone: fc.boolean(),
    }),
    { minLength: 1, maxLength: 24 },
  )
  .map((drawn) =>
    drawn.map(({ parent, parts, isGone }, n) => ({
      ...(n === 0 || parent === undefined ? {} : { parent: parent % n }),
      parts: n === 0 ? [] : [...new Set(parts.map((part) => part % n))],
      isGone,
    })),
  );

/** What follows from the definition, as slowly as it may be. */
function closure(steps: readonly (readonly [number, number])[], root: number): Set<number> {
  const reached = new Set([root]);
  for (let grown = -1; grown !== reached.size;) {
    grown = reached.size;
    for (const [from, to] of steps) if (reached.has(from)) reached.add(to);
  }
  return reached;
}

describe("the lineage of random models", () => {
  const drawn = fc.tuple(graph, fc.nat(), fc.nat(6));
  const made = (facts: readonly (Facts & { isGone: boolean })[]) => {
    const models = facts.map((fact, n) => modelOf(n, fact, { dataset: DATASET }));
    return registryOf(
      models.filter((_, n) => facts[n]?.isGone !== true),
      models.filter((_, n) => facts[n]?.isGone === true),
    );
  };

  it("is what can be reached upwards, and downwards, and nothing else", () => {
    fc.assert(
      fc.property(drawn, ([facts, pick]) => {
        const root = pick % facts.length;
        const up = facts.flatMap(({ parent, parts }, n) =>
          [...(parent === undefined ? [] : [parent]), ...(parts ?? [])].map(
            (from) => [n, from] as const,
          ),
        );
        const down = up.map(([n, from]) => [from, n] as const);
        const expected = [...new Set([...closure(up, root), ...closure(down, root)])].map(idOf);
        const { nodes } = lineageOf(made(facts), idOf(root));
        const found = nodes.filter(({ kind }) => kind === "model").map(({ id }) => id);
        expect(found.toSorted()).toEqual(expected.toSorted());
        expect(nodes.filter(({ kind }) => kind === "dataset")).toHaveLength(1);
      }),
    );
  });

  it("names every node and edge once, and joins nodes it has; all hang together", () => {
    fc.assert(
      fc.property(drawn, ([facts, pick, depth]) => {
        const lineage = lineageOf(made(facts), idOf(pick % facts.length), { depth });
        const keys = lineage.nodes.map(({ key }) => key);
        expect(new Set(keys).size).toBe(keys.length);
        const edges = lineage.edges.map(({ from, to, kind }) => `${from} ${kind} ${to}`);
        expect(new Set(edges).size).toBe(edges.length);
        const at = new Map(keys.map((key, i) => [key, i]));
        const both = lineage.edges.flatMap(({ from, to }) => {
          const ends = [at.get(from) ?? -1, at.get(to) ?? -1] as const;
          expect(Math.min(...ends)).toBeGreaterThanOrEqual(0);
          return [ends, [ends[1], ends[0]] as const];
        });
        expect(closure(both, at.get(lineage.root) ?? -1).size).toBe(keys.length);
      }),
    );
  });

  it("grows with the depth, until nothing is cut off", () => {
    fc.assert(
      fc.property(drawn, ([facts, pick, depth]) => {
        const registry = made(facts);
        const at = (most: number) =>
          lineageOf(registry, idOf(pick % facts.length), { depth: most });
        const deeper = at(depth + 1).nodes.map(({ key }) => key);
        const { nodes } = at(depth);
        expect(deeper).toEqual(expect.arrayContaining(nodes.map(({ key }) => key)));
        const isCut = nodes.some((node) => "more" in node);
        expect(isCut).toBe(deeper.length > nodes.length);
      }),
    );
  });
});

describe("a model's details", () => {
  it("have the history of what it was called, its children, its pipelines and how it went", () => {
    const move = (alias: string, from: number | undefined, to: number | undefined) => ({
      alias: alias as Alias,
      ...(from === undefined ? {} : { from: idOf(from) }),
      ...(to === undefined ? {} : { to: idOf(to) }),
      who: "ada",
      when: "2026-01-02T00:00:00.000Z",
    });
    const registry: Registry = {
      ...registryOf(
        [modelOf(1, {}), modelOf(2, { parent: 1 }), modelOf(4, { parts: [1] })],
        [modelOf(3, { parent: 1 })],
      ),
      aliases: { prod: idOf(1), other: idOf(2) },
      protected_aliases: ["prod" as Alias, "other" as Alias],
      alias_history: [
        move("prod", undefined, 3),
        move("old", undefined, 1),
        move("other", undefined, 2),
        move("prod", 3, 1),
        move("old", 1, undefined),
      ],
    };
    const details = modelDetails(registry, "prod");
    expect(details).toMatchObject({
      model: { id: idOf(1) },
      aliases: ["prod"],
      protected_aliases: ["prod"],
      children: [idOf(3), idOf(2)],
      part_of: [idOf(4)],
    });
    expect(details.alias_history.map(({ alias }) => alias)).toEqual(["prod", "old", "prod", "old"]);
    expect(details).not.toHaveProperty("tombstone");
    expect(modelDetails(registry, idOf(3))).toMatchObject({
      model: { id: idOf(3) },
      aliases: [],
      tombstone: { state: "held", who: "ada", why: "ttl" },
    });
    expect(() => modelDetails(registry, idOf(9))).toThrow(/no model/);
  });
});
