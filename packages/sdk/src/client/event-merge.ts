// Makes one stream of a job's events out of many deliveries: live ones over whichever path, pages of the stored
// log, repeated, overlapping, out of order. Each number is handed out once, ascending (I6). Pure.
import { EVENT_WINDOW, type JobEvent, isTerminal } from "../protocol/index.ts";

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
};

export type MergeStep = {
  readonly state: MergeState;
  /** What may be handed out now, in order. */
  readonly events: readonly JobEvent[];
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
  if (state.ended) return { state, events: [], gap: false };
  const out = new Output(state);
  let above: readonly JobEvent[] = [];
  for (const [index, event] of delivery.events.entries()) {
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
  // Events above a hole of the stored log are not kept: another reading has to bring them whole.
  const held = join(state.held, delivery.kind === "live" ? above : []);
  const rest = out.takeHeld(held);
  return {
    state: { lastSeq: out.lastSeq, attempt: out.attempt, held: rest, ended: out.ended },
    events: out.events,
    gap: !out.ended && (rest.length > 0 || above.length > 0),
  };
}

/** A hub that takes over begins with a `state` event; a new attempt has a higher number. */
function newWriter(attempt: number | undefined, event: JobEvent): boolean {
  return event.type === "state" || (attempt !== undefined && event.attempt > attempt);
}

class Output {
  readonly events: JobEvent[] = [];
  lastSeq: number;
  attempt: number | undefined;
  ended = false;

  constructor(state: MergeState) {
    this.lastSeq = state.lastSeq;
    this.attempt = state.attempt;
  }

  push(event: JobEvent): void {
    this.events.push(event);
    this.lastSeq = event.seq;
    this.attempt = event.attempt;
    this.ended = event.type === "state" && isTerminal(event.state) && event.state !== "interrupted";
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
