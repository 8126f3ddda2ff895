// Remembers proofs until they would be too old anyway, so that a recorded one cannot be used again.
// Memory is bounded, for each maker and over all: who floods loses its own oldest minutes, and proofs of its that are
// as old are refused from then on, so that forgetting never means accepting and nobody else is kept out. Another hub, or
// this one after a restart, does not know the proofs seen here; all routes are idempotent, so what a replay
// there could do is repeat.
import { LIMITS } from "@waybill/sdk/protocol";

export type ReplayBounds = {
  /** Proofs of one maker: a minute of 1,000 a second. */
  readonly perMaker?: number;
  /** Over all: some 50 MB. */
  readonly total?: number;
};

const MAX_PER_MAKER = 60_000;
const MAX_TOTAL = 300_000;
const MINUTE_MS = 60_000;
/** What an overflow over all is cut down to, so that it does not come with every proof. */
const CUT_TO = 0.9;

/** The proofs of one maker. */
class Seen {
  /** By the minute a proof was made in. */
  readonly #minutes = new Map<number, Set<string>>();
  count = 0;
  /** Proofs made before this time are refused. */
  floorMs = 0;

  /** `false` when it was seen before or is too old to know. */
  add(jti: string, issuedMs: number): boolean {
    if (issuedMs < this.floorMs) return false;
    const minute = Math.floor(issuedMs / MINUTE_MS);
    const seen = this.#minutes.get(minute) ?? new Set<string>();
    if (seen.has(jti)) return false;
    seen.add(jti);
    this.#minutes.set(minute, seen);
    this.count += 1;
    return true;
  }

  /** Forgets minutes that have ended by then. */
  forgetBefore(beforeMs: number): void {
    for (const [minute, seen] of this.#minutes) {
      if ((minute + 1) * MINUTE_MS > beforeMs) continue;
      this.#minutes.delete(minute);
      this.count -= seen.size;
    }
  }

  /** Forgets the oldest minute, and refuses what is as old from now on. */
  cut(): void {
    const endMs = (Math.min(...this.#minutes.keys()) + 1) * MINUTE_MS;
    this.forgetBefore(endMs);
    this.floorMs = Math.max(this.floorMs, endMs);
  }
}

export class ReplayCache {
  readonly #perMaker: number;
  readonly #total: number;
  readonly #makers = new Map<string, Seen>();
  #count = 0;
  #tidiedMs = Number.NEGATIVE_INFINITY;

  constructor({ perMaker = MAX_PER_MAKER, total = MAX_TOTAL }: ReplayBounds = {}) {
    this.#perMaker = perMaker;
    this.#total = total;
  }

  /** How many proofs are remembered. */
  get size(): number {
    return this.#count;
  }

  /**
   * Notes a proof by its maker and id; `false` when it was seen before or is too old to know. A maker is whom the proof
   * speaks for: were it any key, a flooder could make itself as many as it likes.
   */
  admit(maker: string, jti: string, issuedMs: number, nowMs: number): boolean {
    this.#tidy(nowMs);
    const seen = this.#makers.get(maker) ?? new Seen();
    if (!seen.add(jti, issuedMs)) return false;
    this.#makers.set(maker, seen);
    this.#count += 1;
    while (seen.count > this.#perMaker) this.#cut(seen);
    if (this.#count > this.#total) this.#cutLargest();
    return true;
  }

  /** Forgets, now and then, what would be refused for its age. */
  #tidy(nowMs: number): void {
    if (Math.abs(nowMs - this.#tidiedMs) < MINUTE_MS) return;
    this.#tidiedMs = nowMs;
    const beforeMs = nowMs - LIMITS.proofSkewMs - MINUTE_MS;
    this.#count = 0;
    for (const [maker, seen] of this.#makers) {
      seen.forgetBefore(beforeMs);
      if (seen.count === 0 && seen.floorMs < beforeMs) this.#makers.delete(maker);
      this.#count += seen.count;
    }
  }

  #cutLargest(): void {
    const bySize = [...this.#makers.values()].sort((a, b) => b.count - a.count);
    for (const seen of bySize) {
      while (seen.count > 0) {
        if (this.#count <= this.#total * CUT_TO) return;
        this.#cut(seen);
      }
    }
  }

  #cut(seen: Seen): void {
    const before = seen.count;
    seen.cut();
    this.#count -= before - seen.count;
  }
}
