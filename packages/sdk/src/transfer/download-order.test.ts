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
import { WaybillError } from "../protocol/index.ts";
import { Machine, source } from "../testing/download-machine.ts";
import type { DownloadEffect } from "./download-state.ts";
import type { Preference } from "./policy.ts";
import { ShardSet } from "./shard-set.ts";
import type { SourceKind } from "./source.ts";

type Action = {
  readonly do: keyof typeof WEIGHTS;
  readonly pick: number;
  readonly count: number;
};

const WEIGHTS = {
  match: 8,
  receive: 4,
  wait: 4,
  end: 2,
  bad: 1,
  reset: 1,
  throttled: 1,
  missing: 1,
  defect: 1,
  gone: 1,
  gain: 1,
  advise: 1,
  hold: 1,
};

const action: Arbitrary<Action> = oneof(
  ...Object.entries(WEIGHTS).map(([name, weight]) => ({
    weight,
    arbitrary: record({
      do: constantFrom(name as keyof typeof WEIGHTS),
      pick: nat(20),
      count: integer({ min: 1, max: 9 }),
    }),
  })),
);

const ERRORS = {
  reset: new WaybillError("unreachable", "reset"),
  throttled: new WaybillError("storage_failed", "slow down", { retryAfterMs: 3000 }),
  missing: new WaybillError("not_found", "no such object"),
  defect: new TypeError("undefined is not a function"),
};

const KINDS: readonly SourceKind[] = ["cache", "peer", "s3", "http"];
const PREFERENCES: readonly Preference[] = ["cheap", "fast", { deadlineMs: 20_000 }];

/** Fails a property with what was wrong. */
function demand(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** A machine and what a runner would know of it: requests under way, shards done. */
class Watched {
  readonly machine: Machine;
  readonly running = new Map<number, { source: string; next: number; end: number }>();
  readonly done = new Set<number>();
  readonly #windows = new Map<string, number>();

  constructor(count: number, prefer: Preference) {
    this.machine = new Machine(count, { prefer, retryForMs: 60_000 });
  }

  add(one: ReturnType<typeof source>): void {
    this.#windows.set(one.id, one.window);
    this.#apply(this.machine.add(one));
  }

  perform(one: Action): void {
    const { machine, running } = this;
    const [id, request] = [...running][one.pick % Math.max(1, running.size)] ?? [];
    const named = `s${one.pick}`;
    if (one.do === "wait") return this.#apply(machine.wait(one.count ** 3 * 10));
    if (one.do === "gone") {
      return this.#apply(machine.send({ type: "source-gone", source: named, reason: "left" }));
    }
    if (one.do === "gain") {
      const has = ShardSet.all(machine.map.count);
      return this.#apply(machine.send({ type: "source-has", source: named, has }));
    }
    if (one.do === "advise") {
      const advice =
        one.count < 3 ? { wholeObjects: true } : { maxParallel: 1, maxRequestBytes: 2048 };
      return this.#apply(machine.send({ type: "source-advised", source: named, advice }));
    }
    if (id === undefined || request === undefined) return undefined;
    switch (one.do) {
      case "match": {
        const length = Math.min(one.count, request.end - request.next);
        for (let at = 0; at < length; at++) this.done.add(request.next + at);
        request.next += length;
        return this.#apply(machine.send({ type: "matched", request: id, count: length }));
      }
      case "receive":
        return this.#apply(machine.send({ type: "received", request: id, bytes: one.count * 300 }));
      case "hold":
        return this.#apply(machine.send({ type: "held", request: id }));
      case "bad":
        if (request.next >= request.end) return undefined;
        running.delete(id);
        return this.#apply(machine.send({ type: "bad-shard", request: id }));
      case "end":
        running.delete(id);
        return this.#apply(machine.send({ type: "ended", request: id }));
      default:
        running.delete(id);
        return this.#apply(machine.send({ type: "ended", request: id, error: ERRORS[one.do] }));
    }
  }

  #apply(effects: readonly DownloadEffect[]): void {
    const { running } = this;
    for (const effect of effects) {
      const request = "request" in effect ? running.get(effect.request) : undefined;
      if (effect.type === "shorten" && request !== undefined) {
        demand(effect.end > request.next, "took the shard that is arriving");
        request.end = effect.end;
      }
      if (effect.type === "cancel") running.delete(effect.request);
      if (effect.type === "fetch") this.#begin(effect);
    }
  }

  #begin({ request, source: from, run, hedgeOf }: DownloadEffect & { type: "fetch" }): void {
    const end = run.first + run.count;
    for (let at = run.first; at < end; at++) {
      demand(!this.done.has(at), "asked for a done shard");
      for (const [id, other] of this.running) {
        demand(
          id === hedgeOf || at < other.next || at >= other.end,
          "asked for a shard that is on its way, and not as a hedge",
        );
      }
    }
    this.running.set(request, { source: from, next: run.first, end });
    const state = this.machine.state.sources.get(from);
    const busy = [...this.running.values()].filter((other) => other.source === from).length;
    demand(busy <= (this.#windows.get(from) ?? 0), "more requests than the window");
    demand(state?.advice.maxParallel !== 1 || busy <= 4, "more requests than the advice");
    demand(state?.gone === undefined, "asked a source that is gone");
    const fit = run.count <= 2 || state?.advice.maxRequestBytes === undefined;
    demand(fit || hedgeOf !== undefined, "a longer request than the advice");
  }

  /** What must hold after every event. */
  check(): void {
    const { machine, running, done } = this;
    const { state } = machine;
    const missing = ShardSet.all(machine.map.count).minus(state.done);
    const useful = [...state.sources.values()].some(
      ({ gone, has, refused, advice }) =>
        gone === undefined &&
        advice.wholeObjects !== true &&
        !missing.intersect(has.minus(refused)).isEmpty,
    );
    demand(state.phase !== "done" || done.size === machine.map.count, "done too early");
    demand(state.phase !== "failed" || !useful, "failed with a source left");
    const waits = state.wakeAtMs > machine.nowMs && Number.isFinite(state.wakeAtMs);
    demand(state.phase !== "running" || running.size > 0 || waits, "waits for nothing");
    demand(state.done.size === done.size, "lost or invented a done shard");
    demand(state.leftBytes === (machine.map.count - done.size) * 1024, "miscounted bytes");
  }
}

describe("a download under any order of events", () => {
  it("never asks for a done shard, or twice but for a hedge; ends only when all is done or no source is left", () => {
    const sources = array(tuple(nat(3), nat(40), nat(40), integer({ min: 1, max: 3 })), {
      minLength: 1,
      maxLength: 4,
    });
    assert(
      property(
        integer({ min: 1, max: 40 }),
        sources,
        constantFrom(...PREFERENCES),
        array(action, { maxLength: 120 }),
        (count, list, prefer, actions) => {
          const watched = new Watched(count, prefer);
          for (const [at, [kind, first, length, window]] of list.entries()) {
            const start = first % count;
            const has = ShardSet.of([{ first: start, count: Math.min(length, count - start) }]);
            const cost = kind === 2 ? "paid" : "free";
            watched.add(source(`s${at}`, { kind: KINDS[kind] ?? "s3", cost, window, has }));
            watched.check();
          }
          for (const one of actions) {
            watched.perform(one);
            watched.check();
          }
          // Whatever happened, a source that has everything and serves it brings the transfer to its end.
          watched.add(source("saviour", { has: ShardSet.all(count) }));
          const { machine, running } = watched;
          for (let step = 0; step < 1000 && machine.state.phase === "running"; step++) {
            watched.perform({ do: "match", pick: 0, count: 9 });
            const [, request] = [...running][0] ?? [];
            if (request === undefined) watched.perform({ do: "wait", pick: 0, count: 9 });
            else if (request.next === request.end) {
              watched.perform({ do: "end", pick: 0, count: 1 });
            }
            watched.check();
          }
          expect(machine.state.phase).not.toBe("running");
          expect(machine.state.phase === "done").toBe(watched.done.size === count);
        },
      ),
      { numRuns: 500 },
    );
  });
});
