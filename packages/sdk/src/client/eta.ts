// When a job will be done, from what its events say: how far it is of how far it goes, and how long a unit took
// lately. A pure machine over events, on the worker's clock; only the last step uses the viewer's.
//
//   done   epochs (with the batches of the one that runs), else steps, else batches
//   pace   median of the last units, in time the trainer really ran: neither pauses nor the way to another worker count
import type { JobEvent } from "../protocol/index.ts";

/** Keys that count, in the order they are believed, and those that say how far. */
const COUNTERS = [
  { at: "epoch", of: ["epochs", "total_epochs", "num_epochs", "max_epochs"] },
  { at: "step", of: ["steps", "total_steps", "max_steps"] },
  { at: "global_step", of: ["steps", "total_steps", "max_steps"] },
  { at: "batch", of: ["batches", "total_batches", "num_batches"] },
] as const;
const BATCHES = ["batches", "total_batches", "num_batches"] as const;
type Counter = (typeof COUNTERS)[number]["at"];

/** Units of which the median is taken: some hiccups do not show, a slower GPU soon does. */
const PACES = 8;
/** Steps are paced in hundredths of the whole: single ones are too short to be told from noise. */
const GRAINS = 100;

type Mark = { readonly done: number; readonly activeMs: number };

export type EtaState = {
  /** Totals a job's configuration names. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Latest values of counters and totals. */
  readonly known: Readonly<Record<string, number>>;
  readonly counter: Counter | undefined;
  /** Whether the first epoch is called 0. */
  readonly fromZero: boolean;
  readonly attempt: number;
  readonly running: boolean;
  /** Time the trainer has run, up to `lastMs`. */
  readonly activeMs: number;
  /** Time of the newest event, on the worker's clock. */
  readonly lastMs: number | undefined;
  readonly done: number | undefined;
  /** When `done` was last passed on by a unit. */
  readonly mark: Mark | undefined;
  /** Milliseconds a unit took, oldest first. */
  readonly paces: readonly number[];
};

/** An estimate before any event. `config` is the job's: it may name `epochs` or `max_steps` that the trainer does not print. */
export function newEta(config: Readonly<Record<string, unknown>> = {}): EtaState {
  return {
    config,
    known: {},
    counter: undefined,
    fromZero: false,
    attempt: 0,
    running: false,
    activeMs: 0,
    lastMs: undefined,
    done: undefined,
    mark: undefined,
    paces: [],
  };
}

/** The estimate after one more event of the job. */
export function nextEta(before: EtaState, event: JobEvent): EtaState {
  const state = pass(before, event);
  if (event.type === "state") {
    return { ...state, running: event.state === "running" || event.state === "stopping" };
  }
  if (event.type !== "metric") return state;
  // A viewer may come when the job is long under way: metrics say that it runs.
  return progress({ ...state, running: true }, event);
}

/** Milliseconds to the end at `nowMs` of the viewer's clock; undefined while nothing is known of it. */
export function remainingMs(state: EtaState, nowMs: number): number | undefined {
  const total = totalOf(state);
  if (total === undefined || state.done === undefined || state.done >= total) return undefined;
  const pace = median(state.paces);
  if (pace === undefined) return undefined;
  const leftMs = (total - state.done) * pace;
  if (!state.running || state.lastMs === undefined) return leftMs;
  // Clocks differ; and what takes longer than a unit ever did is not nearly done.
  const sinceMs = Math.min(Math.max(0, nowMs - state.lastMs), grainOf(state, total) * pace);
  return Math.max(0, leftMs - sinceMs);
}

/** Time goes on to the event's. Another attempt begins with the time it begins at. */
function pass(state: EtaState, { time, attempt }: JobEvent): EtaState {
  const atMs = Date.parse(time);
  if (attempt !== state.attempt) {
    return { ...state, attempt, running: false, lastMs: atMs, mark: undefined };
  }
  const spentMs = state.running ? Math.max(0, atMs - (state.lastMs ?? atMs)) : 0;
  const lastMs = Math.max(atMs, state.lastMs ?? atMs);
  return { ...state, activeMs: state.activeMs + spentMs, lastMs };
}

function progress(before: EtaState, event: Extract<JobEvent, { type: "metric" }>): EtaState {
  const { data } = event;
  const known = { ...before.known };
  for (const { at, of } of COUNTERS) {
    for (const key of [at, ...of]) {
      const value = data[key];
      if (isCount(value)) known[key] = value;
    }
  }
  const zero = before.fromZero || known["epoch"] === 0 || event.source === "sleap";
  const counted: EtaState = { ...before, known, fromZero: zero };
  const counter = COUNTERS.find(
    ({ at, of }) => known[at] !== undefined && lookUp(counted, of) !== undefined,
  )?.at;
  if (counter === undefined || data[counter] === undefined) return counted;
  // What was measured in another unit says nothing.
  const state: EtaState =
    counter === before.counter
      ? counted
      : { ...counted, counter, done: undefined, mark: undefined, paces: [] };
  return advance(state, doneOf(state, counter, data));
}

/** An epoch's line without a batch says that it is over; with one, how far it is. */
function doneOf(
  state: EtaState,
  counter: Counter,
  data: Readonly<Record<string, unknown>>,
): number {
  const at = state.known[counter] ?? 0;
  if (counter !== "epoch") return at;
  const begun = at - (state.fromZero ? 0 : 1);
  const { batch } = data;
  if (typeof batch !== "number") return begun + 1;
  const batches = lookUp(state, BATCHES);
  return begun + (batches === undefined ? 0 : Math.min(1, batch / batches));
}

function advance(state: EtaState, done: number): EtaState {
  const { mark, activeMs } = state;
  const total = totalOf(state) ?? done;
  // A later attempt begins where its checkpoint was; so may another model in the same job.
  if (mark === undefined || done < mark.done) {
    return { ...state, done, mark: { done, activeMs } };
  }
  if (done - mark.done < grainOf(state, total)) return { ...state, done };
  const pace = (activeMs - mark.activeMs) / (done - mark.done);
  return {
    ...state,
    done,
    mark: { done, activeMs },
    paces: [...state.paces, pace].slice(-PACES),
  };
}

/** Units between two looks at the pace. */
function grainOf({ counter }: EtaState, total: number): number {
  return counter === "epoch" ? Math.min(1, total / 2) : Math.max(1, total / GRAINS);
}

function totalOf(state: EtaState): number | undefined {
  const counter = COUNTERS.find(({ at }) => at === state.counter);
  return counter === undefined ? undefined : lookUp(state, counter.of);
}

/** What the trainer prints counts more than what it was told. */
function lookUp({ known, config }: EtaState, keys: readonly string[]): number | undefined {
  const values: unknown[] = [...keys.map((key) => known[key]), ...keys.map((key) => config[key])];
  return values.filter((value) => isCount(value)).find((value) => value >= 1);
}

/** Beyond what is exact nothing is a count. */
function isCount(value: unknown): value is number {
  return typeof value === "number" && Math.abs(value) <= Number.MAX_SAFE_INTEGER;
}

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)];
  if (upper === undefined) return undefined;
  return Number.isInteger(middle) ? (upper + (sorted[middle - 1] ?? upper)) / 2 : upper;
}
