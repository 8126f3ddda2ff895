// What a transfer's progress means: rate, time left, shares, savings. Pure: facts and times come in, a reading
// comes out. The rate is an exponentially weighted mean, so that it follows the link and does not flicker:
//
//   rate ← rate·d + (bytes moved / Δt)·(1 − d),  d = e^(−Δt / 5 s)

/** What a transfer says of itself, often; everything but `bytes` and `total` when it knows it. */
export type TransferFacts = {
  /** Bytes of the artifact that are where they belong, whatever way they came. */
  readonly bytes: number;
  readonly total: number;
  /** Bytes this process put on the wire, resends included. */
  readonly sentBytes?: number;
  /** Bytes that came over the wire. */
  readonly receivedBytes?: number;
  /** Of `bytes`, those that did not travel, by reason. */
  readonly saved?: Readonly<Record<string, number>>;
  /** Of `bytes`, by source. */
  readonly sources?: Readonly<Record<string, number>>;
  readonly retries?: number;
  /** Requests under way. */
  readonly inFlight?: number;
};

/** Facts, and what follows from their course. */
export type TransferReading = TransferFacts & {
  /** 0 to 1. */
  readonly share: number;
  readonly rateBytesPerSecond: number;
  /** Absent while nothing moves. */
  readonly etaSeconds: number | undefined;
  readonly elapsedSeconds: number;
  /** How long nothing has moved. */
  readonly idleSeconds: number;
  readonly savedBytes: number;
};

export type TransferMeter = {
  readonly facts: TransferFacts;
  readonly startedMs: number;
  /** When the mean was last brought up to date, and the bytes moved until then. */
  readonly foldedMs: number;
  readonly foldedBytes: number;
  readonly movedAtMs: number;
  readonly mean: number;
  /** How much of the mean is measured: it starts from nothing, not from zero bytes a second. */
  readonly weight: number;
};

/** Time constant of the mean. */
const TAU_MS = 5000;
/** Shorter intervals say nothing: a whole buffer may be accounted for within a millisecond. */
const MIN_INTERVAL_MS = 100;

/** A meter before the first facts. */
export function startMeter(nowMs: number): TransferMeter {
  return {
    facts: { bytes: 0, total: 0 },
    startedMs: nowMs,
    foldedMs: nowMs,
    foldedBytes: -1,
    movedAtMs: nowMs,
    mean: 0,
    weight: 0,
  };
}

/** Takes in new facts. What the first ones say is there already counts as nothing that moved. */
export function measure(meter: TransferMeter, facts: TransferFacts, nowMs: number): TransferMeter {
  const moved = movedBytes(facts);
  if (meter.foldedBytes < 0) {
    return { ...meter, facts, foldedMs: nowMs, foldedBytes: moved, movedAtMs: nowMs };
  }
  const movedAtMs = moved > movedBytes(meter.facts) ? nowMs : meter.movedAtMs;
  return fold({ ...meter, facts, movedAtMs }, nowMs);
}

/** What can be said now, also when no facts have come for a while. */
export function readMeter(meter: TransferMeter, nowMs: number): TransferReading {
  const { facts, mean, weight } = fold(meter, nowMs);
  const rate = weight > 0 ? mean / weight : 0;
  const left = Math.max(0, facts.total - facts.bytes);
  return {
    ...facts,
    share: facts.total === 0 ? 1 : Math.min(1, facts.bytes / facts.total),
    rateBytesPerSecond: rate,
    etaSeconds: left === 0 ? 0 : rate >= 1 ? left / rate : undefined,
    elapsedSeconds: (nowMs - meter.startedMs) / 1000,
    idleSeconds: (nowMs - meter.movedAtMs) / 1000,
    savedBytes: sum(facts.saved),
  };
}

function fold(meter: TransferMeter, nowMs: number): TransferMeter {
  const intervalMs = nowMs - meter.foldedMs;
  if (intervalMs < MIN_INTERVAL_MS || meter.foldedBytes < 0) return meter;
  const moved = movedBytes(meter.facts);
  // A transfer that begins again goes back; that is no negative rate.
  const rate = Math.max(0, moved - meter.foldedBytes) / (intervalMs / 1000);
  const d = Math.exp(-intervalMs / TAU_MS);
  return {
    ...meter,
    foldedMs: nowMs,
    foldedBytes: moved,
    mean: meter.mean * d + rate * (1 - d),
    weight: meter.weight * d + (1 - d),
  };
}

function movedBytes({ bytes, saved }: TransferFacts): number {
  return Math.max(0, bytes - sum(saved));
}

function sum(table: Readonly<Record<string, number>> | undefined): number {
  return Object.values(table ?? {}).reduce((total, bytes) => total + bytes, 0);
}
