import type { JobId } from "@waybill/sdk/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { offerFairly } from "./fair-queue.ts";
import { jobIdAt } from "./job-hub.fixture.ts";
import type { QueuedJob } from "./matching.ts";

/** `ada bo ada`: jobs 1, 2, 3 in the order of submission. */
const jobsOf = (submitters: readonly string[]): QueuedJob[] =>
  submitters.map((submitter, i) => ({
    job: jobIdAt(i + 1),
    submittedAt: new Date(i).toISOString(),
    submitter,
    refusals: new Map(),
    wanted: { requirements: {}, submittedBy: submitter, submitter, artifacts: [] },
  }));

/** Numbers of the jobs that are placed, in order, with so many slots; those named fit nobody. */
function offered(
  submitters: string,
  slots: number,
  options: {
    running?: Record<string, number>;
    served?: Record<string, number>;
    unfit?: readonly number[];
  } = {},
): number[] {
  const placed: number[] = [];
  const unfit = new Set<JobId>((options.unfit ?? []).map(jobIdAt));
  offerFairly(
    jobsOf(submitters.split(" ")),
    new Map(Object.entries(options.running ?? {})),
    new Map(Object.entries(options.served ?? {})),
    ({ job }) => {
      if (placed.length === slots) return "full";
      if (unfit.has(job)) return "unfit";
      placed.push(Number(job.slice(2)));
      return "placed";
    },
  );
  return placed;
}

describe("a fair queue", () => {
  it.each([
    ["one person's jobs go in the order of submission", "ada ada ada", 2, {}, [1, 2]],
    ["two people take turns", "ada ada ada bo bo", 5, {}, [1, 4, 2, 5, 3]],
    ["whoever has fewer running goes first", "ada bo", 1, { running: { ada: 1 } }, [2]],
    ["and catches up", "ada ada bo bo bo", 3, { running: { ada: 2 } }, [3, 4, 1]],
    ["with as many, the oldest job goes first", "bo ada", 1, { running: { ada: 1, bo: 1 } }, [1]],
    [
      "of those, whoever was served longest ago",
      "ada ada bo",
      1,
      { served: { ada: 9, bo: 8 } },
      [3],
    ],
    ["and before them who never was", "ada bo", 1, { served: { ada: 9 } }, [2]],
    ["but not before who has fewer", "ada bo", 1, { running: { bo: 1 }, served: { ada: 9 } }, [1]],
    ["what fits nobody holds back nobody", "ada ada bo", 3, { unfit: [1] }, [2, 3]],
    ["whose jobs fit nobody loses no turn", "ada bo bo", 2, { unfit: [1] }, [2, 3]],
  ] as const)("%s", (_, submitters, slots, options, expected) => {
    expect(offered(submitters, slots, options)).toEqual(expected);
  });

  it("never lets one person get two ahead of another whose jobs fit as well", () => {
    const people = fc.array(fc.constantFrom("ada", "bo", "cy"), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(people, fc.nat(40), (submitters, slots) => {
        const placed = offered(submitters.join(" "), slots);
        expect(placed).toHaveLength(Math.min(slots, submitters.length));
        const counts = new Map<string, number>();
        const left = new Map<string, number>();
        for (const one of submitters) left.set(one, (left.get(one) ?? 0) + 1);
        for (const number of placed) {
          const who = submitters[number - 1] ?? "";
          const waiting = [...left].filter(([, jobs]) => jobs > 0).map(([one]) => one);
          const fewest = Math.min(...waiting.map((one) => counts.get(one) ?? 0));
          expect(counts.get(who) ?? 0).toBe(fewest);
          counts.set(who, (counts.get(who) ?? 0) + 1);
          left.set(who, (left.get(who) ?? 0) - 1);
        }
      }),
    );
  });
});
