import {
  type Arbitrary,
  array,
  assert,
  constantFrom,
  integer,
  nat,
  oneof,
  property,
  record,
  tuple,
} from "fast-check";
import { describe, expect, it } from "vitest";
import { ShardMap } from "../artifact/index.ts";
import { ArtifactManifest, WaybillError, decodeValue } from "../protocol/index.ts";
import {
  type DownloadEffect,
  type DownloadEvent,
  type DownloadState,
  type NewSource,
  beginDownload,
  nextDownload,
} from "./download-state.ts";
import { ShardSet } from "./shard-set.ts";
import type { SourceKind } from "./source.ts";

/** One packed file of `count` shards of 1 KiB. */
function mapOf(count: number): ShardMap {
  const shards = Array.from({ length: count }, (_, at) => at.toString(16).padStart(64, "0"));
  const file = { path: "data.bin", size: count * 1024, shards };
  const manifest = { format: 1, name: "t", layout: "packed", shardBytes: 1024, files: [file] };
  return new ShardMap(decodeValue(ArtifactManifest, manifest, "manifest"));
}

function source(id: string, init: Partial<NewSource> = {}): NewSource {
  return {
    id,
    kind: "s3",
    cost: "paid",
    window: 2,
    has: ShardSet.all(1000),
    mayGain: false,
    runEnd: () => Number.POSITIVE_INFINITY,
    ...init,
  };
}

/** Drives the machine and remembers every effect. */
class Machine {
  readonly map: ShardMap;
  readonly effects: DownloadEffect[] = [];
  state: DownloadState;

  constructor(count: number, done = ShardSet.empty) {
    this.map = mapOf(count);
    this.state = beginDownload(count, done);
  }

  send(event: DownloadEvent): readonly DownloadEffect[] {
    const step = nextDownload(this.state, event, this.map);
    this.state = step.state;
    this.effects.push(...step.effects);
    return step.effects;
  }

  add(...sources: NewSource[]): readonly DownloadEffect[] {
    return this.send({ type: "sources-added", sources });
  }
}

const fetches = (effects: readonly DownloadEffect[]) =>
  effects.filter((effect) => effect.type === "fetch");
const kinds = (effects: readonly DownloadEffect[]) => effects.map((effect) => effect.type);

describe("a download, phase by event", () => {
  const failure = new WaybillError("unreachable", "gone");
  const cases: readonly [string, (machine: Machine) => DownloadEvent, string[], string][] = [
    [
      "sources-added",
      () => ({ type: "sources-added", sources: [source("new")] }),
      ["fetch", "fetch"],
      "running",
    ],
    ["source-has", () => ({ type: "source-has", source: "a", has: ShardSet.empty }), [], "running"],
    [
      "source-gone",
      () => ({ type: "source-gone", source: "a", reason: "left" }),
      ["cancel", "cancel", "drop", "fail"],
      "failed",
    ],
    ["matched", () => ({ type: "matched", request: 1, count: 1 }), [], "running"],
    ["bad-shard", () => ({ type: "bad-shard", request: 1 }), ["fetch"], "running"],
    ["ended", () => ({ type: "ended", request: 1, error: failure }), ["fetch"], "running"],
    [
      "ended for good",
      () => ({ type: "ended", request: 1, error: failure, final: true }),
      ["cancel", "drop", "fail"],
      "failed",
    ],
    [
      "stopped",
      () => ({ type: "stopped", error: failure }),
      ["cancel", "cancel", "fail"],
      "failed",
    ],
  ];

  it.each(cases)("running: %s", (_, event, effects, phase) => {
    const machine = new Machine(1024);
    machine.add(source("a", { has: ShardSet.all(1024) }));
    expect(kinds(machine.send(event(machine)))).toEqual(effects);
    expect(machine.state.phase).toBe(phase);
  });

  it.each(["done", "failed"] as const)("%s: nothing changes any more", (phase) => {
    for (const [, event] of cases) {
      const machine = new Machine(1024);
      machine.add(source("a"));
      machine.state = { ...machine.state, phase };
      const before = machine.state;
      expect(machine.send(event(machine))).toEqual([]);
      expect(machine.state).toBe(before);
    }
  });
});

describe("a download", () => {
  it("is done at once when everything is there", () => {
    const machine = new Machine(8, ShardSet.all(8));
    expect(kinds(machine.add(source("a")))).toEqual(["finish"]);
    expect(kinds(new Machine(0).add())).toEqual(["finish"]);
  });

  it("fails at once without a source", () => {
    const machine = new Machine(8);
    expect(kinds(machine.add())).toEqual(["fail"]);
  });

  it("asks the cache first, then free sources, then paid ones", () => {
    const machine = new Machine(9);
    const third = (first: number) => ShardSet.of([{ first, count: 3 }]);
    machine.add(
      source("s3"),
      source("peer", { kind: "peer", cost: "free", has: third(0).union(third(3)) }),
      source("cache", { kind: "cache", cost: "free", has: third(0) }),
    );
    const byShard = new Map<number, string>();
    for (const effect of fetches(machine.effects)) byShard.set(effect.run.first, effect.source);
    expect(byShard.get(0)).toBe("cache");
    expect(byShard.get(3)).toBe("peer");
    expect(byShard.get(6)).toBe("s3");
  });

  it("asks a paid source for what the cache served badly", () => {
    const machine = new Machine(1);
    machine.add(source("cache", { kind: "cache", cost: "free" }), source("s3"));
    expect(fetches(machine.effects).map(({ source: id }) => id)).toEqual(["cache"]);
    const effects = machine.send({ type: "bad-shard", request: 1 });
    expect(fetches(effects).map(({ source: id }) => id)).toEqual(["s3"]);
  });

  it("I7: bans a peer at its first bad shard and fetches that shard elsewhere, and nothing else stops", () => {
    const machine = new Machine(4096);
    const peer = (id: string) =>
      source(id, { kind: "peer", cost: "free", window: 1, has: ShardSet.all(4096) });
    machine.add(peer("good"), peer("bad"));
    const [good, bad] = fetches(machine.effects);
    expect([good?.source, bad?.source]).toEqual(["good", "bad"]);
    const effects = machine.send({ type: "bad-shard", request: bad?.request ?? 0 });
    expect(kinds(effects)).toEqual(["drop"]);
    expect(machine.state.requests.has(good?.request ?? 0)).toBe(true);
    machine.send({ type: "matched", request: good?.request ?? 0, count: good?.run.count ?? 0 });
    const next = machine.send({ type: "ended", request: good?.request ?? 0 });
    expect(fetches(next)[0]).toMatchObject({ source: "good", run: { first: bad?.run.first } });
  });

  it("asks a store again for a bad shard, and gives up on that shard at the third time, by name", () => {
    const machine = new Machine(2);
    machine.add(source("s3", { window: 1, has: ShardSet.all(2) }));
    for (let time = 1; time <= 3; time++) {
      machine.send({ type: "bad-shard", request: machine.state.nextRequest - 1 });
    }
    // The other shard is still fetched.
    machine.send({ type: "matched", request: machine.state.nextRequest - 1, count: 1 });
    const effects = machine.send({ type: "ended", request: machine.state.nextRequest - 1 });
    expect(effects).toMatchObject([{ type: "fail", error: { code: "no_source_left" } }]);
    expect(String(Object(effects[0]).error)).toMatch(
      /shard 0 \(of data.bin\) from s3 failed its hash/,
    );
    expect(machine.state.done.size).toBe(1);
  });

  it("I8: says of every source why it failed when none is left", () => {
    const machine = new Machine(8);
    machine.add(
      source("p1", { kind: "peer", cost: "free", has: ShardSet.of([{ first: 0, count: 2 }]) }),
      source("s3", { has: ShardSet.of([{ first: 0, count: 8 }]) }),
    );
    machine.send({ type: "source-gone", source: "p1", reason: "left the room" });
    machine.send({ type: "source-gone", source: "s3", reason: "bucket is gone" });
    const failed = machine.effects.find((effect) => effect.type === "fail");
    const message = String(Object(failed).error);
    expect(message).toMatch(/p1: left the room/);
    expect(message).toMatch(/s3: bucket is gone/);
  });

  it("waits for a source whose shards may still come", () => {
    const machine = new Machine(4);
    const gaining = source("p", { kind: "peer", cost: "free", has: ShardSet.empty, mayGain: true });
    expect(machine.add(gaining)).toEqual([]);
    const effects = machine.send({ type: "source-has", source: "p", has: ShardSet.all(4) });
    expect(fetches(effects)).toHaveLength(2);
  });

  it("gives up a source after three failed requests in a row, and not when shards come between", () => {
    const error = new WaybillError("unreachable", "reset");
    const machine = new Machine(1024);
    machine.add(source("s3", { window: 1, has: ShardSet.all(1024) }));
    for (let time = 0; time < 10; time++) {
      const request = machine.state.nextRequest - 1;
      machine.send({ type: "ended", request, error });
      if (time % 2 === 1) {
        machine.send({ type: "matched", request: machine.state.nextRequest - 1, count: 1 });
      }
    }
    expect(machine.state.phase).toBe("running");
    for (let time = 0; time < 3; time++) {
      machine.send({ type: "ended", request: machine.state.nextRequest - 1, error });
    }
    expect(machine.state.phase).toBe("failed");
  });

  it("fetches contiguous shards as one run, at most 1/256 of the artifact and never across `runEnd`", () => {
    const machine = new Machine(1024);
    machine.add(
      source("s3", {
        window: 3,
        has: ShardSet.all(1024),
        runEnd: (first) => first + (first === 4 ? 1 : 9),
      }),
    );
    expect(fetches(machine.effects).map(({ run }) => run)).toEqual([
      { first: 0, count: 4 },
      { first: 4, count: 1 },
      { first: 5, count: 4 },
    ]);
  });

  it("lets an idle source take over the later half of the longest request, but no paid one from a free one", () => {
    const machine = new Machine(8, ShardSet.of([{ first: 0, count: 2 }]));
    machine.state = {
      ...machine.state,
      missing: ShardSet.empty,
      sources: new Map(
        [source("peer", { kind: "peer", cost: "free" }), source("s3")].map((one) => [
          one.id,
          { ...one, refused: ShardSet.empty, bad: new Map(), failures: 0, gone: undefined },
        ]),
      ),
      requests: new Map([[1, { id: 1, source: "s3", next: 2, end: 8 }]]),
      nextRequest: 2,
    };
    const effects = machine.send({ type: "matched", request: 1, count: 1 });
    expect(effects).toEqual([
      { type: "shorten", request: 1, end: 6 },
      { type: "fetch", request: 2, source: "peer", run: { first: 6, count: 2 } },
    ]);
    expect(kinds(machine.send({ type: "matched", request: 1, count: 3 }))).toEqual([]);
    // The store is idle now; the peer's request is not taken from it.
    expect(kinds(machine.send({ type: "ended", request: 1 }))).toEqual([]);
  });
});

type Action =
  | { readonly do: "match"; readonly pick: number; readonly count: number }
  | { readonly do: "bad" | "end" | "error"; readonly pick: number }
  | { readonly do: "gone" | "gain"; readonly pick: number };

const action: Arbitrary<Action> = oneof(
  {
    weight: 6,
    arbitrary: record({
      do: constantFrom("match" as const),
      pick: nat(20),
      count: integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 2, arbitrary: record({ do: constantFrom("end" as const), pick: nat(20) }) },
  {
    weight: 1,
    arbitrary: record({ do: constantFrom("bad" as const, "error" as const), pick: nat(20) }),
  },
  {
    weight: 1,
    arbitrary: record({ do: constantFrom("gone" as const, "gain" as const), pick: nat(5) }),
  },
);

const KINDS: readonly SourceKind[] = ["cache", "peer", "s3", "http"];

/** Fails a property with what was wrong. */
function demand(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

describe("a download under any order of events", () => {
  it("never asks for a done shard or twice at once, and ends only when all is done or no source is left", () => {
    const sources = array(tuple(nat(3), nat(40), nat(40), integer({ min: 1, max: 3 })), {
      minLength: 1,
      maxLength: 4,
    });
    assert(
      property(
        integer({ min: 1, max: 40 }),
        sources,
        array(action, { maxLength: 120 }),
        (count, list, actions) => {
          const machine = new Machine(count);
          const added = list.map(([kind, first, length, window], at) =>
            source(`s${at}`, {
              kind: KINDS[kind] ?? "s3",
              cost: kind === 2 ? "paid" : "free",
              window,
              has: ShardSet.of([
                { first: first % count, count: Math.min(length, count - (first % count)) },
              ]),
            }),
          );
          /** What is under way, as the runner knows it: [next, end). */
          const running = new Map<number, { next: number; end: number }>();
          const done = new Set<number>();
          const apply = (effects: readonly DownloadEffect[]) => {
            for (const effect of effects) {
              if (effect.type === "fetch") {
                for (let at = effect.run.first; at < effect.run.first + effect.run.count; at++) {
                  demand(!done.has(at), "asked for a done shard");
                  for (const { next, end } of running.values())
                    demand(at < next || at >= end, "asked for a shard that is on its way");
                }
                const { first, count: length } = effect.run;
                running.set(effect.request, { next: first, end: first + length });
              }
              const request = "request" in effect ? running.get(effect.request) : undefined;
              if (effect.type === "shorten" && request !== undefined) request.end = effect.end;
              if (effect.type === "cancel") running.delete(effect.request);
            }
          };
          const perform = (one: Action) => {
            const [id, request] = [...running][one.pick % Math.max(1, running.size)] ?? [];
            if (one.do === "gone") {
              return machine.send({ type: "source-gone", source: `s${one.pick}`, reason: "left" });
            }
            if (one.do === "gain") {
              return machine.send({
                type: "source-has",
                source: `s${one.pick}`,
                has: ShardSet.all(count),
              });
            }
            if (id === undefined || request === undefined) return [];
            if (one.do === "match") {
              const length = Math.min(one.count, request.end - request.next);
              for (let at = 0; at < length; at++) done.add(request.next + at);
              request.next += length;
              return machine.send({ type: "matched", request: id, count: length });
            }
            // A request that ended is over before anything else happens, as in the runner.
            running.delete(id);
            if (one.do === "bad" && request.next < request.end) {
              return machine.send({ type: "bad-shard", request: id });
            }
            const error =
              one.do === "error" ? { error: new WaybillError("unreachable", "reset") } : {};
            return machine.send({ type: "ended", request: id, ...error });
          };
          apply(machine.add(...added));
          for (const one of actions) {
            apply(perform(one));
            const live = [...machine.state.sources.values()].filter(
              ({ gone }) => gone === undefined,
            );
            const useful = live.some(
              ({ has, refused }) =>
                !ShardSet.all(count).minus(machine.state.done).intersect(has.minus(refused))
                  .isEmpty,
            );
            const { phase } = machine.state;
            demand(phase !== "done" || done.size === count, "done too early");
            demand(phase !== "failed" || running.size > 0 || !useful, "failed with a source left");
            demand(phase !== "running" || running.size > 0, "waits for nothing");
            expect(machine.state.done.size).toBe(done.size);
          }
          // Whatever happened, a source that has everything and serves it brings the transfer to its end.
          apply(machine.add(source("saviour", { has: ShardSet.all(count) })));
          for (let step = 0; step < 500 && machine.state.phase === "running"; step++) {
            apply(perform({ do: "match", pick: 0, count: 9 }));
            const [id, request] = [...running][0] ?? [];
            if (id !== undefined && request?.next === request?.end) {
              running.delete(id);
              apply(machine.send({ type: "ended", request: id }));
            }
          }
          expect(machine.state.phase).not.toBe("running");
          expect(machine.state.phase === "done").toBe(done.size === count);
        },
      ),
      { numRuns: 300 },
    );
  });
});
