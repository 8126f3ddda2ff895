// What waits for a subscriber of the newest (peer-channel.md §5): complete while it is short, thinned out above
// that. Its size is bounded whatever the job prints, so a viewer that takes nothing costs next to nothing.
import type { JobEvent, LeftOut } from "../protocol/index.ts";

/** As many may gather within a commit of the log or a round trip's jitter: nothing is left out for that. */
export const BACKLOG_PLAIN = 64;
/** Metrics of one trainer, with a good margin; the newest values of more are not all kept. */
export const BACKLOG_KEYS = 128;
/** A screen of log. */
export const BACKLOG_LOGS = 64;
/** Events that must be sent; above, the rest stays in the log. All limits together stay below `EVENT_WINDOW`. */
export const BACKLOG_MUST = 128;

/** An event, and the run left out just before it. */
export type BacklogItem = { readonly left: LeftOut | undefined; readonly event: JobEvent };

/** `logsBefore`: lines seen in this backlog below the event. */
type Kept = { readonly event: JobEvent; readonly logsBefore: number };

export class EventBacklog {
  /** By number, ascending. */
  readonly #kept = new Map<number, Kept>();
  /** The event with the newest value of each key, least recently seen key first. */
  readonly #newest = new Map<string, number>();
  /** For how many keys a metric event holds the newest value. */
  readonly #holds = new Map<number, number>();
  readonly #logs: number[] = [];
  readonly #transfers = new Map<string, number>();
  #system: number | undefined;
  #plain: JobEvent[] = [];
  #thin = false;
  #must = 0;
  #logsSeen = 0;
  #since: number;

  /** Nothing waits; the next event is the one after `sinceSeq`. */
  constructor(sinceSeq: number) {
    this.#since = sinceSeq;
  }

  get empty(): boolean {
    return this.#plain.length === 0 && this.#kept.size === 0;
  }

  /** Whether more would have to be kept than may be: take before the next `push`. */
  get full(): boolean {
    return this.#must >= BACKLOG_MUST;
  }

  /** Takes the event that follows the last one in the log. */
  push(event: JobEvent): void {
    if (isMust(event)) this.#must += 1;
    if (this.#thin) {
      this.#keep(event);
      return;
    }
    this.#plain.push(event);
    if (this.#plain.length <= BACKLOG_PLAIN) return;
    this.#thin = true;
    for (const one of this.#plain) this.#keep(one);
    this.#plain = [];
  }

  /** Empties it: what is to be sent, ascending, with every number left out named. */
  take(): BacklogItem[] {
    const items: BacklogItem[] = [];
    const waiting = this.#thin
      ? this.#kept.values()
      : this.#plain.map((event) => ({ event, logsBefore: 0 }));
    let last = this.#since;
    let logs = 0;
    for (const { event, logsBefore } of waiting) {
      const { seq } = event;
      const run = { from: last + 1, to: seq - 1, logs: logsBefore - logs };
      items.push({ left: run.from > run.to ? undefined : run, event });
      last = seq;
      logs = logsBefore + (event.type === "log" ? 1 : 0);
    }
    this.clear(last);
    return items;
  }

  /** Forgets what waits and goes on after `sinceSeq`. */
  clear(sinceSeq: number): void {
    this.#since = sinceSeq;
    this.#kept.clear();
    this.#newest.clear();
    this.#holds.clear();
    this.#transfers.clear();
    this.#logs.length = 0;
    this.#plain = [];
    this.#system = undefined;
    this.#thin = false;
    this.#must = 0;
    this.#logsSeen = 0;
  }

  #keep(event: JobEvent): void {
    const { seq } = event;
    this.#kept.set(seq, { event, logsBefore: this.#logsSeen });
    switch (event.type) {
      case "metric":
        this.#keepMetric(seq, Object.keys(event.data));
        return;
      case "log":
        this.#logsSeen += 1;
        this.#logs.push(seq);
        if (this.#logs.length > BACKLOG_LOGS) this.#drop(this.#logs.shift());
        return;
      case "system":
        this.#drop(this.#system);
        this.#system = seq;
        return;
      case "transfer": {
        const kind = `${event.what} ${event.direction}`;
        this.#drop(this.#transfers.get(kind));
        if (event.done) this.#transfers.delete(kind);
        else this.#transfers.set(kind, seq);
        return;
      }
      default:
        // Never left out.
        return;
    }
  }

  #keepMetric(seq: number, keys: readonly string[]): void {
    // Data without keys count as one.
    const held = keys.length === 0 ? [""] : keys.slice(0, BACKLOG_KEYS);
    this.#holds.set(seq, held.length);
    for (const key of held) {
      this.#unhold(this.#newest.get(key));
      // Set anew, so that it is the key seen last.
      this.#newest.delete(key);
      this.#newest.set(key, seq);
    }
    for (const [key, holder] of this.#newest) {
      if (this.#newest.size <= BACKLOG_KEYS) break;
      this.#newest.delete(key);
      this.#unhold(holder);
    }
  }

  #unhold(seq: number | undefined): void {
    if (seq === undefined) return;
    const left = (this.#holds.get(seq) ?? 0) - 1;
    if (left > 0) {
      this.#holds.set(seq, left);
      return;
    }
    this.#holds.delete(seq);
    this.#drop(seq);
  }

  #drop(seq: number | undefined): void {
    if (seq !== undefined) this.#kept.delete(seq);
  }
}

/** Whether an event may never be left out. */
export function isMust(event: JobEvent): boolean {
  switch (event.type) {
    case "metric":
    case "log":
    case "system":
      return false;
    case "transfer":
      return event.done;
    default:
      return true;
  }
}
