// What a download prefers: little money, little time, or little money in time (docs/transfer.md, rule 1).
import { WaybillError } from "../protocol/index.ts";
import type { SourceKind } from "./source.ts";

/** `cheap`: paid sources only for what no cheaper one brings at a sensible rate. `fast`: all at once. Or cheap while in time. */
export type Preference = "cheap" | "fast" | { readonly deadlineMs: number };

/** Cache, free, paid, and what is used only when nothing else is left. */
export type Rank = 0 | 1 | 2 | 3;

/**
 * The rank of a source. A cache is a local disk: it is first even when speed is all that counts.
 * `paidJoined`: under a deadline, whether the cheaper sources turned out too slow.
 */
export function rankOf(
  source: { readonly kind: SourceKind; readonly cost: "free" | "paid" },
  prefer: Preference,
  paidJoined: boolean,
): Rank {
  if (source.kind === "cache") return 0;
  if (source.cost === "free" || prefer === "fast") return 1;
  return typeof prefer === "object" && paidJoined ? 1 : 2;
}

/**
 * The rank of a free source that lags or is being tested: it holds back nobody. A cache keeps its own.
 */
export function laggingRank(
  source: { readonly kind: SourceKind; readonly cost: "free" | "paid" },
  prefer: Preference,
  paidJoined: boolean,
): Rank {
  if (source.kind === "cache") return 0;
  return rankOf({ kind: source.kind, cost: "paid" }, prefer, paidJoined);
}

/** The projected end may be this much off before a deadline counts as missed. */
const DEADLINE_MARGIN = 1.2;
/** An unknown rate counts as none after this long. */
const UNKNOWN_MS = 2000;

/** Whether the cheaper sources will miss the deadline. */
export function missesDeadline(projection: {
  readonly deadlineAtMs: number;
  readonly startedMs: number;
  readonly nowMs: number;
  readonly leftBytes: number;
  /** Of each cheaper source that is ready; undefined when not measured yet. */
  readonly bytesPerS: readonly (number | undefined)[];
}): boolean {
  const { nowMs, startedMs, leftBytes, deadlineAtMs } = projection;
  const known = projection.bytesPerS.filter((rate) => rate !== undefined);
  const settled = known.length === projection.bytesPerS.length || nowMs - startedMs >= UNKNOWN_MS;
  if (!settled && nowMs < deadlineAtMs) return false;
  const sum = known.reduce((total, rate) => total + rate, 0);
  const needMs = sum === 0 ? Infinity : (leftBytes * 1000) / sum;
  return nowMs + needMs * DEADLINE_MARGIN > deadlineAtMs;
}

/** Checks a preference that comes from outside; throws `invalid_request`. */
export function checkPreference(prefer: Preference): Preference {
  if (prefer === "cheap" || prefer === "fast") return prefer;
  if (typeof prefer === "object" && prefer.deadlineMs > 0) return prefer;
  throw new WaybillError("invalid_request", "a deadline is a time ahead, in milliseconds");
}
