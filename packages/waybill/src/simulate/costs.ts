// What a scenario costs a month, from what left the store.
import type { Assumptions } from "./assumptions.ts";
import type { Means } from "./fleet.ts";

/** Means of a month, in the currency of the prices. */
export type Bill = {
  readonly egressGigabytes: number;
  readonly egress: number;
  readonly requests: number;
  readonly storage: number;
  /** Hub, volumes, proxies. */
  readonly machines: number;
  readonly total: number;
};

type Use = {
  /** Models read from the store, by month. */
  readonly fromStore: readonly number[];
  /** Cluster volumes that caches lie on. */
  readonly volumes: number;
};

/** The store is read in ranges, and written in parts, of this size. */
const PART_MEGABYTES = 8;
const PER_THOUSAND = 1000;

export function billOf(assumptions: Assumptions, means: Means, use: Use): Bill {
  const { prices, workload, workers } = assumptions;
  const gigabytes = use.fromStore.map((models) => (models * workload.modelMegabytes) / 1000);
  const egress = mean(gigabytes.map((one) => egressPrice(prices.egressPerGigabyte, one)));
  const partsOfModel = Math.ceil(workload.modelMegabytes / PART_MEGABYTES);
  const gets = mean(use.fromStore) * partsOfModel;
  const puts = workload.users * workload.trainingsPerUserMonth * partsOfModel;
  const requests = (gets * prices.per1000Gets + puts * prices.per1000Puts) / PER_THOUSAND;
  const storage = prices.storedTerabytes * 1000 * prices.storagePerGigabyteMonth;
  const machines =
    (means.caches ? prices.hubMonth + use.volumes * prices.volumeMonth : 0) +
    (means.proxies ? workers.clusters * prices.proxyMonth : 0);
  return {
    egressGigabytes: mean(gigabytes),
    egress,
    requests,
    storage,
    machines,
    total: egress + requests + storage + machines,
  };
}

type Tiers = Assumptions["prices"]["egressPerGigabyte"];

/** The price of so many gigabytes in one month. */
export function egressPrice(tiers: Tiers, gigabytes: number): number {
  let left = gigabytes;
  let sum = 0;
  for (const { upToGigabytes = Number.POSITIVE_INFINITY, price } of tiers) {
    const part = Math.min(left, upToGigabytes);
    sum += part * price;
    left -= part;
  }
  return sum;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
