// What the link of an upload takes: bytes over the time in which at least one body was on its way, so that waiting for
// the disk or the compressor is not taken for a slow link.
import { advanceMeter, meterRate, resumeMeter, startMeter } from "./source-meter.ts";

/** Rates of seconds ago say little. */
const TAU_MS = 2000;

export class WireMeter {
  readonly #now: () => number;
  #meter = startMeter(0);
  #bodies = 0;

  /** @param now monotonic milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Bytes a second while something was on its way; undefined before that was long enough to tell. */
  get bytesPerS(): number | undefined {
    return meterRate(this.#meter);
  }

  /** A body sets out. */
  began(): void {
    if (this.#bodies === 0) this.#meter = resumeMeter(this.#meter, this.#now());
    this.#bodies += 1;
  }

  sent(bytes: number): void {
    this.#meter = advanceMeter(this.#meter, bytes, this.#now(), TAU_MS);
  }

  /** A body was taken, or failed. */
  ended(): void {
    this.sent(0);
    this.#bodies -= 1;
  }
}
