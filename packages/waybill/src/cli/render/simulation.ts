// The table `waybill simulate` prints.
import type { Assumptions } from "../../simulate/assumptions.ts";
import type { Outcome, ScenarioName } from "../../simulate/simulate.ts";
import { table } from "./format.ts";

const NAMES: Readonly<Record<ScenarioName, string>> = {
  store: "store only",
  caches: "+ caches",
  peers: "+ peers",
  proxies: "+ proxies",
};

/** Lines for a terminal of 80 columns. */
export function outcomeLines(outcomes: readonly Outcome[], assumptions: Assumptions): string[] {
  const { currency } = assumptions.prices;
  const money = (amount: number) => `${currency}${Math.round(amount).toLocaleString("en-US")}`;
  const rows = outcomes.map(({ scenario, metBy, fetches, monthly, saved, claimed }) => {
    const isFirst = scenario === "store";
    return [
      NAMES[scenario],
      percent(metBy.store / fetches),
      `${(monthly.egressGigabytes / 1000).toFixed(2)} TB`,
      money(monthly.egress),
      isFirst ? "–" : percent(saved.bandwidth),
      percent(claimed.bandwidth),
      money(monthly.total),
      isFirst ? "–" : percent(saved.total),
      percent(claimed.total),
    ];
  });
  const { workload, months } = assumptions;
  const count = outcomes[0]?.fetches ?? 0;
  return [
    `${count.toLocaleString("en-US")} fetches of ${workload.modelMegabytes} MB by ${workload.users.toLocaleString("en-US")} users in ${months} months; means of a month`,
    table([["", "STORE", "EGRESS", "COST", "SAVED", "CLAIM", "TOTAL", "SAVED", "CLAIM"], ...rows]),
    ...outcomes.slice(-1).map(({ metBy, fetches }) => {
      const of = (met: number) => percent(met / fetches);
      return `with all of it: own cache ${of(metBy.cache)}, peers ${of(metBy.peer)}, proxies ${of(metBy.proxy)}, store ${of(metBy.store)}`;
    }),
  ];
}

function percent(share: number | undefined): string {
  return share === undefined ? "–" : `${(share * 100).toFixed(1)} %`;
}
