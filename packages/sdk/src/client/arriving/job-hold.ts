// Holds the upload of a job's data set back while its worker reads it from this machine: tells `hold-state.ts` what
// becomes of the job and of the bytes, and carries out what it decides.
import {
  type HubToPeer,
  type JobId,
  type JobState,
  type PeerId,
  type RoomId,
  type WorkerKind,
  WaybillError,
  isTerminal,
} from "../../protocol/index.ts";
import { type Clock, systemClock } from "../../swarm/index.ts";
import type { HubCalls } from "../push.ts";
import { DIRECT_BELOW_BYTES, type Via, chooseVia } from "./choose-via.ts";
import { HOLD_RULES, HOLD_START, type HoldEvent, type HoldRules, nextHold } from "./hold-state.ts";

/** What an announced push asks before it sends anything, and waits for. */
export type UploadHold = {
  /** Whether to hold the upload of a tree back. */
  decide(tree: { readonly bytes: number; readonly serves: boolean }): Promise<boolean>;
  /** Whether the upload is to be sent after all; resolves once. */
  readonly end: Promise<{ readonly upload: boolean }>;
};

type Changed = Pick<Extract<HubToPeer, { type: "job.changed" }>, "state" | "worker" | "attempt">;

export type JobHoldInit = {
  readonly hub: HubCalls;
  /** A `SignalingSession`. */
  readonly session: {
    on(
      event: "job.changed",
      listener: (message: Extract<HubToPeer, { type: "job.changed" }>) => void,
    ): () => void;
    on(event: "welcome", listener: () => void): () => void;
  };
  readonly room: RoomId;
  readonly job: JobId;
  readonly via: Via;
  /** Larger trees go to the store at once. Default 100 MB; 0: all do. */
  readonly belowBytes?: number;
  /** Workers present that could take the job; when it is not given, all that are present count. */
  readonly fitting?: number;
  /** This process ends before the job does. */
  readonly leaves?: boolean;
  /** One line for each decision. */
  readonly onDecision?: (why: string) => void;
  readonly clock?: Clock;
};

/** Bytes leave many times a second; the hold counts seconds. */
const SERVED_EVERY_MS = 250;

export class JobHold implements UploadHold {
  readonly end: Promise<{ readonly upload: boolean }>;
  /** Whether the upload is held, or was until nobody needed it. */
  isHeld = false;
  readonly #init: JobHoldInit;
  readonly #clock: Clock;
  readonly #rules: HoldRules;
  readonly #ended = Promise.withResolvers<{ readonly upload: boolean }>();
  readonly #off: (() => void)[];
  #state = HOLD_START;
  #cancelTimer = () => {};
  #servedMs = Number.NEGATIVE_INFINITY;
  #isSubmitted = false;
  #isStopped = false;
  #kinds = new Map<PeerId, WorkerKind>();
  /** What we are told is taken in order, although some of it has to be asked about. */
  #told: Promise<void> = Promise.resolve();

  constructor(init: JobHoldInit) {
    this.#init = init;
    this.#clock = init.clock ?? systemClock;
    const waits = init.via === "peer" ? { queuedMs: Number.POSITIVE_INFINITY } : {};
    this.#rules = { ...HOLD_RULES, ...waits, leaves: init.leaves ?? false };
    this.end = this.#ended.promise;
    const { session, job } = init;
    this.#off = [
      session.on("job.changed", (changed) => {
        if (changed.job === job) this.#tell(async () => this.#changed(changed));
      }),
      // What has changed while we were away, we were not told.
      session.on("welcome", () => {
        if (this.#isSubmitted) this.#look();
      }),
    ];
  }

  async decide({ bytes, serves }: Parameters<UploadHold["decide"]>[0]): Promise<boolean> {
    const { via, belowBytes = DIRECT_BELOW_BYTES, fitting } = this.#init;
    const workers = via === "auto" && serves ? (fitting ?? (await this.#workers())) : 0;
    const { held, why } = chooseVia({ via, bytes, belowBytes, serves, workers });
    this.#explain(why);
    this.isHeld = held && this.#state.phase !== "uploading";
    if (!held) this.stop();
    return held;
  }

  /** The job is at the hub. */
  submitted(): void {
    this.#isSubmitted = true;
    this.#look();
  }

  /** Bytes have left for a reader. */
  served(): void {
    const nowMs = this.#clock.now();
    if (nowMs - this.#servedMs < SERVED_EVERY_MS) return;
    this.#servedMs = nowMs;
    this.#happen({ type: "served" });
  }

  /** Nothing more can leave for a reader; `why` is for people. */
  blocked(why: string): void {
    this.#happen({ type: "blocked", why });
  }

  /** A reader has all of it, verified. */
  delivered(): void {
    this.#happen({ type: "delivered" });
  }

  /** The job is over. */
  finish(): void {
    this.#happen({ type: "ended" });
  }

  /** Nobody waits any more. Idempotent. */
  stop(): void {
    this.#isStopped = true;
    for (const off of this.#off) off();
    this.#cancelTimer();
  }

  #tell(what: () => Promise<void>): void {
    this.#told = this.#told.then(what).catch(() => undefined);
  }

  #look(): void {
    const { hub, room, job } = this.#init;
    this.#tell(async () => {
      const doc = await hub.call("showJob", { params: { room, job } }, { retryForMs: 0 });
      await this.#changed(doc);
    });
  }

  async #changed({ state, worker, attempt }: Changed): Promise<void> {
    if (state === "queued") this.#happen({ type: "queued" });
    else if (isTerminal(state)) this.#happen({ type: "ended" });
    else {
      const kind = worker === undefined ? undefined : await this.#kindOf(worker);
      this.#happen({ type: "assigned", attempt, kind });
      if (HAS_DATA.has(state)) this.#happen({ type: "delivered" });
    }
  }

  async #kindOf(worker: PeerId): Promise<WorkerKind | undefined> {
    if (!this.#kinds.has(worker)) await this.#workers();
    return this.#kinds.get(worker);
  }

  /** How many are present; none when the hub does not say. */
  async #workers(): Promise<number> {
    const { hub, room } = this.#init;
    try {
      const { workers } = await hub.call("listWorkers", { params: { room } }, { retryForMs: 0 });
      this.#kinds = new Map(
        workers.map(({ workerId, capabilities }) => [workerId, capabilities.kind]),
      );
      return workers.length;
    } catch (error) {
      if (error instanceof WaybillError) return 0;
      throw error;
    }
  }

  #happen(event: HoldEvent): void {
    if (this.#isStopped) return;
    const { state, effects } = nextHold(
      this.#state,
      { ...event, nowMs: this.#clock.now() },
      this.#rules,
    );
    // A timer may fire a fraction of a millisecond early: then it is set again.
    const isDue = event.type === "tick" || state.untilMs !== this.#state.untilMs;
    this.#state = state;
    if (isDue) this.#wait(state.untilMs);
    for (const effect of effects) {
      if (effect.type === "end") this.#ended.resolve({ upload: false });
      else this.#explain(effect.why);
      if (effect.type !== "upload") continue;
      this.isHeld = false;
      this.#ended.resolve({ upload: true });
    }
  }

  #wait(untilMs: number | undefined): void {
    this.#cancelTimer();
    if (untilMs === undefined) return;
    const ms = Math.max(0, untilMs - this.#clock.now());
    this.#cancelTimer = this.#clock.after(Math.ceil(ms), () => this.#happen({ type: "tick" }));
  }

  #explain(why: string): void {
    this.#init.onDecision?.(why);
  }
}

/** A trainer that runs has its data. */
const HAS_DATA: ReadonlySet<JobState> = new Set<JobState>(["running", "paused", "stopping"]);
