// Token buckets per remote address and over all of them, for the few public routes that could be guessed
// at or filled up. Bounded memory; the oldest addresses are forgotten first.
import { WaybillError } from "@waybill/sdk/protocol";
import type { Clock } from "../log.ts";

export type RateLimitInit = {
  /** What is limited, for the error. */
  readonly what: string;
  readonly perRemote: Rate;
  readonly global: Rate;
  readonly clock: Clock;
};

type Rate = {
  /** At once. */
  readonly burst: number;
  /** And then one each so many milliseconds. */
  readonly everyMs: number;
};

type Level = { left: number; atMs: number };

const MAX_REMOTES = 10_000;

export class RateLimit {
  readonly #init: RateLimitInit;
  readonly #remotes = new Map<string, Level>();
  readonly #global: Level;

  constructor(init: RateLimitInit) {
    this.#init = init;
    this.#global = { left: init.global.burst, atMs: init.clock() };
  }

  /** Takes one; throws `rate_limited` when none is left. The answer gives it back. */
  take(remote: string): () => void {
    const { perRemote, global, clock, what } = this.#init;
    const nowMs = clock();
    const network = networkOf(remote);
    const level = this.#remotes.get(network) ?? { left: perRemote.burst, atMs: nowMs };
    this.#remotes.delete(network);
    this.#remotes.set(network, level);
    const oldest = this.#remotes.keys().next();
    if (this.#remotes.size > MAX_REMOTES && oldest.done !== true) {
      this.#remotes.delete(oldest.value);
    }
    const waitMs = Math.max(refill(level, perRemote, nowMs), refill(this.#global, global, nowMs));
    if (waitMs > 0) {
      throw new WaybillError("rate_limited", `too many ${what}`, {
        hint: `wait ${Math.ceil(waitMs / 1000)} s`,
        retryAfterMs: waitMs,
      });
    }
    level.left -= 1;
    this.#global.left -= 1;
    return () => {
      level.left = Math.min(perRemote.burst, level.left + 1);
      this.#global.left = Math.min(global.burst, this.#global.left + 1);
    };
  }
}

/** Adds what time has brought; answers how long until one is left, 0 when there is. */
function refill(level: Level, rate: Rate, nowMs: number): number {
  const gained = Math.max(0, nowMs - level.atMs) / rate.everyMs;
  level.left = Math.min(rate.burst, level.left + gained);
  level.atMs = nowMs;
  return level.left >= 1 ? 0 : Math.ceil((1 - level.left) * rate.everyMs);
}

/** One subscriber has a whole IPv6 /64. */
function networkOf(remote: string): string {
  const address = remote.replace(/^::ffff:(?=\d+\.)/, "");
  return address.includes(":") ? address.split(":").slice(0, 4).join(":") : address;
}
