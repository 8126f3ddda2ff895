// Remembers proofs until they would be too old anyway, so that a recorded one cannot be used again.
// Memory is bounded: under a flood the oldest minutes are forgotten and proofs of that age refused from then
// on, so that forgetting never means accepting. Another hub, or this one after a restart, does not know the
// proofs seen here; all routes are idempotent, so what a replay there could do is repeat.
import { LIMITS } from "@waybill/sdk/protocol";

/** 30 minutes of 100 proofs a second; some 30 MB at most. */
const MAX_PROOFS = 180_000;
const MINUTE_MS = 60_000;

export class ReplayCache {
  readonly #maxProofs: number;
  /** By the minute a proof was made in. */
  readonly #minutes = new Map<number, Set<string>>();
  #count = 0;
  /** Proofs made before this time are refused. */
  #floorMs = 0;

  constructor(maxProofs = MAX_PROOFS) {
    this.#maxProofs = maxProofs;
  }

  /** Notes a proof by its maker's key and id; `false` when it was seen before or is too old to know. */
  admit(thumbprint: string, jti: string, issuedMs: number, nowMs: number): boolean {
    this.#forgetBefore(nowMs - LIMITS.proofSkewMs - MINUTE_MS);
    if (issuedMs < this.#floorMs) return false;
    const minute = Math.floor(issuedMs / MINUTE_MS);
    const seen = this.#minutes.get(minute) ?? new Set<string>();
    const proof = `${thumbprint}.${jti}`;
    if (seen.has(proof)) return false;
    seen.add(proof);
    this.#minutes.set(minute, seen);
    this.#count += 1;
    while (this.#count > this.#maxProofs) {
      const oldest = Math.min(...this.#minutes.keys());
      this.#forgetBefore((oldest + 1) * MINUTE_MS);
      this.#floorMs = Math.max(this.#floorMs, (oldest + 1) * MINUTE_MS);
    }
    return true;
  }

  #forgetBefore(beforeMs: number): void {
    for (const [minute, seen] of this.#minutes) {
      if ((minute + 1) * MINUTE_MS > beforeMs) continue;
      this.#minutes.delete(minute);
      this.#count -= seen.size;
    }
  }
}
