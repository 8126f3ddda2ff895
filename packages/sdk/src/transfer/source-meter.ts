// How fast bytes come, weighted towards the latest: two sums that decay together, so that the first figures
// are a plain average and later ones forget what is older than a few τ. Pure.

export type Meter = {
  readonly bytes: number;
  /** Time the bytes took, decayed like them. */
  readonly ms: number;
  readonly atMs: number;
};

/** Less time than this measures nothing. */
const MIN_MS = 50;

export function startMeter(nowMs: number): Meter {
  return { bytes: 0, ms: 0, atMs: nowMs };
}

/** Counts bytes that came since the last call, and the time, whether bytes came or not. */
export function advanceMeter(meter: Meter, bytes: number, nowMs: number, tauMs: number): Meter {
  const passed = nowMs - meter.atMs;
  if (passed <= 0) return { ...meter, bytes: meter.bytes + bytes };
  const keep = Math.exp(-passed / tauMs);
  const weighted = ((1 - keep) * tauMs) / passed;
  return {
    bytes: meter.bytes * keep + bytes * weighted,
    ms: meter.ms * keep + passed * weighted,
    atMs: nowMs,
  };
}

/** Goes on after a time that does not count. */
export function resumeMeter(meter: Meter, nowMs: number): Meter {
  return { ...meter, atMs: nowMs };
}

/** Bytes a second up to now; undefined while too little time was measured or nothing ever came. */
export function meterRate(meter: Meter): number | undefined {
  return meter.ms < MIN_MS || meter.bytes === 0 ? undefined : (meter.bytes * 1000) / meter.ms;
}
