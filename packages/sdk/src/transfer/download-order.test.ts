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
import { ShardSet } from "./shard-set.ts";
import type { SourceKind } from "./source.ts";

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
