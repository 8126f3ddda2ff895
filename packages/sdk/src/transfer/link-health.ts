// What connections to one host teach about the path to it: the age at which something on the way resets them,
// how fast one is, how many are let in. Pure: facts and times go in, advice comes out. Downloads and uploads
// use it to end every request before its connection is cut (docs/transfer.md, rule 9).

/** A connection that was reset by the other side or on the way. */
type Reset = { readonly ageMs: number; readonly atMs: number };

export type LinkHealth = {
  readonly resets: readonly Reset[];
  /** Bytes a second of one connection, weighted towards the latest; undefined before the first. */
  readonly bytesPerS: number | undefined;
  /** Milliseconds from a request to its answer's first byte, weighted; undefined before the first. */
  readonly answerMs: number | undefined;
  /** Requests at once when the host last refused one. */
  readonly refusedAt: { readonly parallel: number; readonly atMs: number } | undefined;
};

/** What a transfer does about it; absent members are no limit. */
export type LinkAdvice = {
  /** Bytes a request may carry and still end in half the reset age. */
  readonly maxRequestBytes?: number;
  /** Milliseconds a request may last. */
  readonly maxRequestMs?: number;
  /** A kept connection that is older is not used again, in milliseconds. */
  readonly maxConnectionAgeMs?: number;
  readonly maxParallel?: number;
};

export type LinkFact =
  /** A connection died of a reset or an unexpected end. */
  | { readonly type: "reset"; readonly ageMs: number }
  /** A connection did its work at this age. */
  | { readonly type: "alive"; readonly ageMs: number }
  /** One request moved bytes in that time. */
  | { readonly type: "moved"; readonly bytes: number; readonly ms: number }
  | { readonly type: "answered"; readonly ms: number }
  /** The host turned a request away (429, 503, a refused connection) while so many were under way. */
  | { readonly type: "refused"; readonly parallel: number };

/** Latest resets that are remembered. */
const MAX_RESETS = 16;
/** Younger connections die of other things: a closed port, a restart. */
const MIN_AGE_MS = 1000;
/** Resets within this factor of each other are one cause. */
const SIMILAR = 1.5;
/** Without a reset for so long the path is taken for another one. */
const FORGET_MS = 600_000;
/** A single reset is acted on for so long. */
const SUSPICION_MS = 60_000;
/** Resets within this are one event. */
const TOGETHER_MS = 1500;
/** A refusal says little about the next minute. */
const REFUSAL_MS = 60_000;
/** Share of the reset age a request may last, and age at which a connection is still used again: 0.9 together. */
const REQUEST_SHARE = 0.5;
const REUSE_SHARE = 0.4;
/** Weight of a new measurement. */
const WEIGHT = 0.3;
/** Shorter transfers measure buffers, not the link. */
const MIN_MOVED_BYTES = 64 * 1024;

export const FRESH_LINK: LinkHealth = {
  resets: [],
  bytesPerS: undefined,
  answerMs: undefined,
  refusedAt: undefined,
};

/** Adds one fact; `nowMs` and ages are of one monotonic clock. */
export function learnLink(link: LinkHealth, fact: LinkFact, nowMs: number): LinkHealth {
  switch (fact.type) {
    case "reset": {
      if (fact.ageMs < MIN_AGE_MS) return link;
      const resets = [...link.resets, { ageMs: fact.ageMs, atMs: nowMs }].slice(-MAX_RESETS);
      return { ...link, resets };
    }
    case "alive": {
      // Living much longer than what was learned disproves it.
      const resets = link.resets.filter(({ ageMs }) => fact.ageMs < 2 * ageMs);
      return resets.length === link.resets.length ? link : { ...link, resets };
    }
    case "moved": {
      if (fact.bytes < MIN_MOVED_BYTES || fact.ms <= 0) return link;
      return { ...link, bytesPerS: blend(link.bytesPerS, (fact.bytes * 1000) / fact.ms) };
    }
    case "answered":
      return { ...link, answerMs: blend(link.answerMs, fact.ms) };
    case "refused":
      return { ...link, refusedAt: { parallel: fact.parallel, atMs: nowMs } };
  }
}

/** The age at which connections are reset, in milliseconds; undefined unless two similar resets were seen. */
export function resetAgeMs(link: LinkHealth, nowMs: number): number | undefined {
  const latest = link.resets.at(-1);
  if (latest === undefined || nowMs - latest.atMs > FORGET_MS) return undefined;
  const ages = link.resets.map(({ ageMs }) => ageMs).sort((a, b) => a - b);
  // The youngest age that is no exception.
  return ages.find((age, at) => (ages[at + 1] ?? Infinity) <= age * SIMILAR);
}

/**
 * As `resetAgeMs`; after a first reset, for a while, its age, or the oldest of those that died together: acting on it
 * costs a few more connections, and not acting a second loss.
 */
export function suspectedAgeMs(link: LinkHealth, nowMs: number): number | undefined {
  const latest = link.resets.at(-1);
  if (latest === undefined || nowMs - latest.atMs > SUSPICION_MS) return resetAgeMs(link, nowMs);
  const together = link.resets.filter(({ atMs }) => latest.atMs - atMs < TOGETHER_MS);
  return resetAgeMs(link, nowMs) ?? Math.max(...together.map(({ ageMs }) => ageMs));
}

/** What to do on this link now. */
export function adviceFor(link: LinkHealth, nowMs: number): LinkAdvice {
  const ageMs = resetAgeMs(link, nowMs);
  const { bytesPerS, refusedAt } = link;
  const refused = refusedAt !== undefined && nowMs - refusedAt.atMs < REFUSAL_MS;
  const maxRequestMs = ageMs === undefined ? undefined : ageMs * REQUEST_SHARE;
  return {
    ...(ageMs === undefined ? {} : { maxConnectionAgeMs: ageMs * REUSE_SHARE }),
    ...(maxRequestMs === undefined ? {} : { maxRequestMs }),
    ...(maxRequestMs === undefined || bytesPerS === undefined
      ? {}
      : { maxRequestBytes: Math.max(1, Math.floor((bytesPerS * maxRequestMs) / 1000)) }),
    ...(refused ? { maxParallel: Math.max(1, refusedAt.parallel - 1) } : {}),
  };
}

function blend(old: number | undefined, sample: number): number {
  return old === undefined ? sample : old + WEIGHT * (sample - old);
}
