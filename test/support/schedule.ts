// What goes wrong in one run, and when: drawn from a seed, so that a run that failed can be had again.
import { randomOf } from "./random.ts";

export type Place = "viewer" | "hub" | "worker a" | "worker b";

/**
 * `kill`: SIGKILL, started again afterwards. `cut`: the path to the hub is reset and refused. `silence`: nothing arrives. `slow`: every connection
 * of the path gets a delay of its own, so that what goes over different ones arrives in another order.
 */
export type Fault = {
  readonly atMs: number;
  readonly on: Place;
  readonly what: "kill" | "cut" | "silence" | "slow";
  readonly forMs: number;
};

export type Schedule = {
  readonly seed: number;
  /** The workers are of kind `ephemeral`, and a killed one takes its trainer and its disk with it. */
  readonly pods: boolean;
  readonly faults: readonly Fault[];
};

const PLACES: readonly Place[] = ["viewer", "hub", "worker a", "worker b"];
/** Faults begin within this time of the job's first metric; the trainer takes about as long. */
const SPAN_MS = 2000;
const MAX_FAULTS = 6;

/** `leaseMs`: some outages last longer than this, so that a job changes hands. */
export function scheduleOf(seed: number, leaseMs: number): Schedule {
  const random = randomOf(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pods = random() < 0.3;
  const faults = Array.from({ length: 1 + below(MAX_FAULTS) }, (): Fault => {
    const on = PLACES[below(PLACES.length)] ?? "hub";
    // A hub has no path of its own here: each of the others' leads to it.
    const kinds =
      on === "hub" ? (["kill"] as const) : (["kill", "cut", "silence", "slow"] as const);
    const long = on !== "hub" && random() < 0.5;
    return {
      atMs: below(SPAN_MS),
      on,
      what: kinds[below(kinds.length)] ?? "kill",
      forMs: long ? leaseMs + below(leaseMs) : 20 + below(600),
    };
  });
  return { seed, pods, faults: faults.toSorted((a, b) => a.atMs - b.atMs) };
}

/** A line for each fault. */
export function describeSchedule({ seed, pods, faults }: Schedule): string {
  const lines = faults.map(
    ({ atMs, on, what, forMs }) => `  ${atMs} ms: ${what} ${on} for ${forMs} ms`,
  );
  return [`seed ${seed}${pods ? ", on pods" : ""}:`, ...lines].join("\n");
}
