// Replays a year of needs through each scenario and adds up what it costs. Pure: the same assumptions, the same table.
import type { Assumptions } from "./assumptions.ts";
import { type Bill, billOf } from "./costs.ts";
import { Fleet, type Means, type MetBy } from "./fleet.ts";
import { seededRandom } from "./random.ts";
import { needs } from "./workload.ts";

const SCENARIOS = {
  store: { caches: false, peers: false, proxies: false },
  caches: { caches: true, peers: false, proxies: false },
  peers: { caches: true, peers: true, proxies: false },
  proxies: { caches: true, peers: true, proxies: true },
} as const satisfies Record<string, Means>;

export type ScenarioName = keyof typeof SCENARIOS;

/** Shares of 1. */
type Saved = { readonly bandwidth: number; readonly total: number };

export type Outcome = {
  readonly scenario: ScenarioName;
  readonly fetches: number;
  /** How many of the fetches each met. */
  readonly metBy: Readonly<Record<MetBy, number>>;
  /** Means of a month. */
  readonly monthly: Bill;
  /** Against the store alone. */
  readonly saved: Saved;
  /** What was said of it before. */
  readonly claimed: Partial<Saved>;
};

/** Every scenario's outcome, the store alone first. */
export function simulate(assumptions: Assumptions): Outcome[] {
  const outcomes: Outcome[] = [];
  for (const scenario of Object.keys(SCENARIOS) as ScenarioName[]) {
    const run = replay(assumptions, SCENARIOS[scenario]);
    const base = outcomes[0]?.monthly ?? run.monthly;
    const claim = scenario === "store" ? undefined : assumptions.claims[scenario];
    outcomes.push({
      scenario,
      ...run,
      saved: {
        bandwidth: saving(base.egress, run.monthly.egress),
        total: saving(base.total, run.monthly.total),
      },
      claimed: {
        ...(claim?.bandwidth === undefined ? {} : { bandwidth: claim.bandwidth }),
        ...(claim?.total === undefined ? {} : { total: claim.total }),
      },
    });
  }
  return outcomes;
}

function replay(
  assumptions: Assumptions,
  means: Means,
): Pick<Outcome, "fetches" | "metBy" | "monthly"> {
  const { seed, months } = assumptions;
  const fleet = new Fleet(assumptions, means, seededRandom(seed + 1));
  const metBy = { cache: 0, peer: 0, proxy: 0, store: 0 };
  const fromStore = Array.from({ length: months }, () => 0);
  let fetches = 0;
  for (const need of needs(assumptions, seededRandom(seed))) {
    const by = fleet.meet(need);
    fetches += 1;
    metBy[by] += 1;
    if (by === "store") fromStore[need.month] = (fromStore[need.month] ?? 0) + 1;
  }
  const volumes = means.caches ? fleet.volumes : 0;
  return { fetches, metBy, monthly: billOf(assumptions, means, { fromStore, volumes }) };
}

function saving(before: number, after: number): number {
  return before === 0 ? 0 : 1 - after / before;
}
