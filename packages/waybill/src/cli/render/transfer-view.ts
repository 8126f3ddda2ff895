// Progress of one transfer as it is shown: redrawn lines on a terminal, a plain line every ten seconds without
// one, JSON lines with --json (docs/cli.md, "Progress").
import { formatSeconds } from "./format.ts";
import { progressLines, progressText } from "./progress-lines.ts";
import type { Output } from "./output.ts";
import {
  type TransferFacts,
  type TransferMeter,
  type TransferReading,
  measure,
  readMeter,
  startMeter,
} from "./transfer-meter.ts";

/** JSON lines come at most this often while facts come in, and this often when none do. */
const JSON_EVERY_MS = 200;
const JSON_IDLE_MS = 5000;
const PLAIN_EVERY_MS = 10_000;
/** On a terminal the wait for the first facts gets a line after this long. */
const WAIT_MS = 2000;
/** A terminal over a slow link is a slow viewer, too. */
const REDRAW_MS = 66;
/** Time left and stalls go on while no facts come. */
const REFRESH_MS = 1000;

export type TransferViewInit = {
  readonly output: Output;
  /** Such as `push digits`. */
  readonly label: string;
  readonly now?: () => number;
};

/** Shows what it is told; must be stopped. */
export class TransferView implements Disposable {
  readonly #output: Output;
  readonly #label: string;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  readonly #startedMs: number;
  #meter: TransferMeter;
  #shownMs: number;
  #shown: TransferFacts | undefined;
  #begun = false;
  #waits = false;

  constructor({ output, label, now = performance.now.bind(performance) }: TransferViewInit) {
    this.#output = output;
    this.#label = label;
    this.#now = now;
    this.#startedMs = now();
    this.#meter = startMeter(this.#startedMs);
    // Without a terminal the first line waits as long as the next: a short transfer needs none.
    this.#shownMs = output.json || output.interactive ? -Infinity : now();
    this.#timer = setInterval(() => this.refresh(), REFRESH_MS);
    this.#timer.unref();
  }

  /** Takes new facts; call it as often as they change. */
  readonly tick = (facts: TransferFacts): void => {
    const nowMs = this.#now();
    this.#begun = true;
    this.#meter = measure(this.#meter, facts, nowMs);
    const { json, interactive } = this.#output;
    const everyMs = json ? JSON_EVERY_MS : interactive ? REDRAW_MS : PLAIN_EVERY_MS;
    if (nowMs - this.#shownMs >= everyMs) this.#show(nowMs, false);
  };

  /** Shows the time passing. */
  refresh(): void {
    const nowMs = this.#now();
    const { json, interactive } = this.#output;
    const everyMs = json ? JSON_IDLE_MS : interactive ? REDRAW_MS : PLAIN_EVERY_MS;
    if (nowMs - this.#shownMs < everyMs) return;
    if (this.#begun) this.#show(nowMs, false);
    else this.#showWait(nowMs);
  }

  /** What could be said at this moment. */
  get reading(): TransferReading {
    return readMeter(this.#meter, this.#now());
  }

  /** Shows the last facts and ends; idempotent. */
  stop(): void {
    clearInterval(this.#timer);
    if (this.#begun && this.#shown !== this.#meter.facts) this.#show(this.#now(), true);
    // A line about waiting is no result.
    if (!this.#begun && this.#waits) this.#output.status([], true);
    this.#begun = false;
    this.#waits = false;
    this.#output.settle();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  /** Nothing is known yet, not even how much there is to move; JSON has no record of that. */
  #showWait(nowMs: number): void {
    const output = this.#output;
    const waitedMs = nowMs - this.#startedMs;
    if (output.json || waitedMs < WAIT_MS) return;
    this.#shownMs = nowMs;
    const text = `${this.#label}  nothing has moved yet  ${formatSeconds(waitedMs / 1000)}`;
    if (!output.interactive) {
      output.note(text);
      return;
    }
    this.#waits = true;
    output.status([text], true);
  }

  #show(nowMs: number, last: boolean): void {
    this.#shownMs = nowMs;
    this.#shown = this.#meter.facts;
    const reading = readMeter(this.#meter, nowMs);
    const output = this.#output;
    if (output.json) output.record(progressRecord(reading));
    else if (output.interactive) {
      output.status(progressLines(reading, this.#label, output.width), true);
    } else if (!last) output.note(progressText(reading, this.#label));
  }
}

/** The JSON line; members that are not known are absent, `etaSeconds` is null while nothing moves. */
function progressRecord(reading: TransferReading): object {
  const { bytes, total, sentBytes, receivedBytes, saved, savedBytes } = reading;
  const { sources, retries, inFlight, etaSeconds } = reading;
  return {
    type: "progress",
    bytes,
    total,
    sentBytes,
    receivedBytes,
    saved,
    savedBytes,
    sources,
    retries,
    inFlight,
    rateBytesPerSecond: Math.round(reading.rateBytesPerSecond),
    etaSeconds: etaSeconds === undefined ? null : round(etaSeconds),
    elapsedSeconds: round(reading.elapsedSeconds),
    idleSeconds: round(reading.idleSeconds),
  };
}

function round(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}
