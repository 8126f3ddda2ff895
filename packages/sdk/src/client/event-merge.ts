// Makes one stream of a job's events out of many deliveries: live ones over whichever path, pages of the stored
// log, repeated, overlapping, out of order. Each number is handed out once, ascending (I6). Pure.
import { EVENT_WINDOW, type JobEvent, type LeftOut, isTerminal } from "../protocol/index.ts";

/** These events were left out by the worker because the viewer was slow; the stored log has them. */
export type Skipped = {
  readonly type: "skipped";
  /** First and last number, both left out. */
  readonly from: number;
  readonly to: number;
  /** How many of them, at most, are lines of the log. */
  readonly logs: number;
};

/** What a watch hands out: `skipped` only to those that ask for the newest. */
export type WatchItem = JobEvent | Skipped;

export type MergeState = {
  /** Number of the last event handed out; where the viewer began before the first. */
  readonly lastSeq: number;
  /** Attempt of the last event; unknown before the first. */
  readonly attempt: number | undefined;
  /** Live events above a gap, ascending. */
  readonly held: readonly JobEvent[];
  /** The last state was handed out: nothing follows. Another attempt may follow `interrupted`. */
  readonly ended: boolean;
};

/**
 * `live`: a run of consecutive events of one worker's log. `stored`: the hub's answer to a question for what follows
 * some number not above `lastSeq`; only there may numbers jump, where the writer changed (events.md §3).
 */
export type Delivery = {
  readonly kind: "live" | "stored";
  readonly events: readonly JobEvent[];
  /** Of a subscription of the newest: runs between the events that were not sent. */
  readonly left?: readonly LeftOut[] | undefined;
};

export type MergeStep = {
  readonly state: MergeState;
  /** What may be handed out now, in order. */
  readonly items: readonly WatchItem[];
  /** Something is missing before what was delivered: ask for it again after `lastSeq`. */
  readonly gap: boolean;
};

/** Bounds what is kept above a gap: as much as a worker may have under way. */
const MAX_HELD = EVENT_WINDOW;

/** A stream that continues after `sinceSeq`. */
export function startMerge(sinceSeq: number): MergeState {
  return { lastSeq: sinceSeq, attempt: undefined, held: [], ended: false };
}

/** Takes one delivery. */
export function mergeEvents(state: MergeState, delivery: Delivery): MergeStep {
  if (state.ended) return { state, items: [], gap: false };
  const out = new Output(state);
  let above: readonly JobEvent[] = [];
  const left = (delivery.left ?? []).values();
  let run = left.next().value;
  for (const [index, event] of delivery.events.entries()) {
    for (; run !== undefined && run.to < event.seq; run = left.next().value) out.skip(run);
    if (event.seq <= out.lastSeq) continue;
    const follows =
      event.seq === out.lastSeq + 1 ||
      (delivery.kind === "stored" && newWriter(out.attempt, event));
    if (!follows) {
      above = delivery.events.slice(index);
      break;
    }
    out.push(event);
    if (out.ended) break;
  }
  // Events above a hole of the stored log are not kept: another reading has to bring them whole. Nor are those
  // between runs left out: the worker thins out anew when it is asked again.
  const whole = delivery.kind === "live" && delivery.left === undefined;
  const held = join(state.held, whole ? above : []);
  const rest = out.takeHeld(held);
  return {
    state: { lastSeq: out.lastSeq, attempt: out.attempt, held: rest, ended: out.ended },
    items: out.items,
    gap: !out.ended && (rest.length > 0 || above.length > 0),
  };
}

/** A hub that takes over begins with a `state` event; a new attempt has a higher number. */
function newWriter(attempt: number | undefined, event: JobEvent): boolean {
  return event.type === "state" || (attempt !== undefined && event.attempt > attempt);
}

class Output {
  readonly items: WatchItem[] = [];
  lastSeq: number;
  attempt: number | undefined;
  ended = false;

  constructor(state: MergeState) {
    this.lastSeq = state.lastSeq;
    this.attempt = state.attempt;
  }

  push(event: JobEvent): void {
    this.items.push(event);
    this.lastSeq = event.seq;
    this.attempt = event.attempt;
    this.ended = event.type === "state" && isTerminal(event.state) && event.state !== "interrupted";
  }

  /** Goes over a run that was left out, unless something lies between. */
  skip(run: LeftOut): void {
    const from = Math.max(run.from, this.lastSeq + 1);
    if (run.to < from || run.from > this.lastSeq + 1) return;
    const logs = Math.min(run.logs, run.to - from + 1);
    this.items.push({ type: "skipped", from, to: run.to, logs });
    this.lastSeq = run.to;
  }

  /** Hands out what has become consecutive; gives what still lies above a gap. */
  takeHeld(held: readonly JobEvent[]): readonly JobEvent[] {
    let next = 0;
    for (const event of held) {
      if (this.ended || event.seq > this.lastSeq + 1) break;
      if (event.seq === this.lastSeq + 1) this.push(event);
      next += 1;
    }
    return this.ended ? [] : held.slice(next);
  }
}

/** Union of two ascending runs by number, bounded from below: the nearest events are the useful ones. */
function join(held: readonly JobEvent[], above: readonly JobEvent[]): readonly JobEvent[] {
  if (above.length === 0) return held;
  if (held.length === 0) return above.slice(0, MAX_HELD);
  const bySeq = new Map([...held, ...above].map((event) => [event.seq, event] as const));
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(0, MAX_HELD);
}
