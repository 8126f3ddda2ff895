// One watch of a job under way: what to read, whom to ask, and when to look again.
//
//   stored ──caught up, worker known──▶ asked ──answers──▶ serving
//      ▲                                  │                   │
//      └──refused, no answer, gone, job changed───────────────┘
import {
  EVENT_WINDOW,
  type JobEvent,
  type JobEventOf,
  type JobState,
  type PeerId,
  WaybillError,
  cryptoRandom,
  isTerminal,
  randomText,
} from "../protocol/index.ts";
import { type Clock, systemClock } from "../swarm/index.ts";
import { abortReason, backoffMs } from "../timing/index.ts";
import { type Delivery, type WatchItem, mergeEvents, startMerge } from "./event-merge.ts";
import { EventQueue } from "./event-queue.ts";
import { LiveSubscription } from "./live-subscription.ts";
import { SampleReceiver } from "./sample-receiver.ts";
import { StoredJob } from "./stored-job.ts";
import type { WatchDeps, WatchOptions } from "./watch-options.ts";
import { PathReport } from "./watch-path.ts";

/** A worker that got the question answers within a round trip. */
const ANSWER_MS = 2000;
/** Running workers report system metrics every 2 s: this much silence means that something was lost. */
const SILENT_MS = 15_000;
/** When nothing tells us of changes (the hub's messages do), the stored log is looked at this often. */
const POLL_MS = 2000;
/** A job in a terminal state has its last event stored; a hub killed in between writes it after its restart. */
const LAST_EVENT_MS = 5000;
/** A live gap is asked for once; again when the answer is this late. */
const GAP_MS = 1000;
/** A hole in the stored log is read again so many times before it counts as one. */
const HOLE_TRIES = 5;
/** Pages are not read ahead of a consumer by more than this. */
const MAX_QUEUED = 4 * EVENT_WINDOW;

export class JobWatch {
  /** To the consumer. */
  readonly items = new EventQueue<WatchItem>();
  readonly #deps: WatchDeps;
  readonly #options: WatchOptions;
  readonly #stopping = new AbortController();
  readonly #clock: Clock;
  readonly #live: LiveSubscription;
  readonly #stored: StoredJob;
  readonly #samples: SampleReceiver | undefined;
  #off: (() => void)[] = [];
  #merge;
  #over = false;
  #wakeLoop = () => {};
  /** The stored log may hold what we have not seen. */
  #stale = true;
  /** Something happened since the loop last looked. */
  #poked = false;
  #cancelLater = () => {};
  #worker: PeerId | undefined;
  /** Counts what we were told of the job, so that an older answer does not overwrite it. */
  #told = 0;
  #misses = 0;
  #holes = 0;
  #terminalSince: number | undefined;
  /** The gap that was asked for: what follows this number. */
  #gapSeq: number | undefined;
  #cancelGap = () => {};
  readonly #path: PathReport;

  constructor(deps: WatchDeps, options: WatchOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#clock = deps.clock ?? systemClock;
    this.#merge = startMerge(options.sinceSeq);
    const { room, job } = options;
    const { signal } = this.#stopping;
    this.#stored = new StoredJob({ hub: deps.hub, room, job, signal, clock: this.#clock });
    this.#samples = this.#receiveSamples();
    this.#path = new PathReport({
      live: () => this.#live.path,
      transport: () => deps.session.transport,
      onPath: options.onPath,
    });
    this.#live = new LiveSubscription({
      links: deps.links,
      job,
      id: randomText(12, cryptoRandom),
      clock: this.#clock,
      lastSeq: () => this.#merge.lastSeq,
      latest: options.latest ?? false,
      samples: this.#samples,
      onEvents: (delivery) => {
        this.#misses = 0;
        // A worker that ignores the window would fill memory: what it sends then is asked for again.
        if (this.items.length >= MAX_QUEUED) return;
        if (this.#take(delivery)) this.#askForGap();
      },
      onState: () => this.#lookAtPath(),
      onGone: () => this.#pokeLater(),
    });
  }

  start(): void {
    const { session } = this.#deps;
    const { signal, job } = this.#options;
    signal?.throwIfAborted();
    const onAbort = () => this.#fail(signal === undefined ? undefined : abortReason(signal));
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#off = [
      () => signal?.removeEventListener("abort", onAbort),
      session.on("job.changed", (changed) => {
        if (changed.job !== job) return;
        this.#told += 1;
        const moved = this.#worker !== changed.worker;
        this.#worker = changed.worker;
        if (moved) this.#live.leave();
        if (isTerminal(changed.state) || moved || !this.#live.serving) this.#poke();
      }),
      session.on("welcome", () => {
        this.#stored.reconnected();
        this.#live.relayReset();
        if (!this.#live.serving) this.#poke();
      }),
      session.on("presence", ({ peer, event }) => {
        if (peer.peerId !== this.#worker) return;
        if (event === "joined") this.#live.renew();
        else this.#live.relayReset();
        if (!this.#live.serving) this.#poke();
      }),
    ];
    void this.#run();
  }

  stop(): void {
    this.#over = true;
    this.#stopping.abort();
    for (const off of this.#off) off();
    this.#cancelLater();
    this.#cancelGap();
    this.#live.leave();
    this.#samples?.stop();
    this.#wakeLoop();
  }

  /** The last images of a job are part of it. */
  async samplesSettled(): Promise<void> {
    await this.#samples?.settled(this.#clock);
  }

  taken(seq: number): void {
    this.#live.taken(seq);
    if (this.items.length === MAX_QUEUED / 2) this.#wakeLoop();
  }

  #receiveSamples(): SampleReceiver | undefined {
    const { onSample } = this.#options;
    if (onSample === undefined) return undefined;
    return new SampleReceiver({ onSample, fetchStored: (file) => this.#stored.sample(file) });
  }

  #fail(error: Error | undefined): void {
    if (this.#options.signal?.aborted === true) {
      this.items.clear();
      this.#samples?.stop();
    }
    this.#finish(error);
  }

  #finish(error?: Error): void {
    this.#over = true;
    this.items.end(error);
    this.#wakeLoop();
  }

  #poke(): void {
    this.#poked = true;
    this.#stale = true;
    this.#wakeLoop();
  }

  /** A worker that refuses at once must not be asked in a circle. */
  #pokeLater(): void {
    this.#cancelLater();
    this.#cancelLater = this.#clock.after(this.#backoffMs(), () => this.#poke());
  }

  #askForGap(): void {
    const { lastSeq } = this.#merge;
    // What is still under way shows the same gap; the answer is coming behind it.
    if (this.#gapSeq === lastSeq) return;
    this.#gapSeq = lastSeq;
    this.#live.ask();
    this.#cancelGap();
    this.#cancelGap = this.#clock.after(GAP_MS, () => {
      this.#gapSeq = undefined;
      if (this.#merge.held.length > 0) this.#askForGap();
    });
  }

  /** Hands on what is new; says whether something is missing. */
  #take(delivery: Delivery): boolean {
    const step = mergeEvents(this.#merge, delivery);
    this.#merge = step.state;
    this.items.push(step.items);
    for (const event of step.items) {
      if (event.type === "state") this.#follow(event);
      else if (event.type === "sample") this.#samples?.announced(event);
    }
    if (step.state.ended) this.#finish();
    return step.gap;
  }

  #follow(event: JobEventOf<"state">): void {
    const over = event.state === "interrupted" || event.state === "queued";
    if (event.worker === undefined && !over) return;
    this.#worker = over ? undefined : event.worker;
    this.#told += 1;
    if (over) this.#live.leave();
    // Whether another attempt follows is the document's to say.
    if (event.state === "interrupted") this.#poke();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#over) {
        this.#poked = false;
        await this.#pause(await this.#round());
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Does what is due; gives how long to wait for news before looking again. */
  async #round(): Promise<number> {
    if (this.#live.serving && !this.#stale) {
      if (this.#live.silentMs() < SILENT_MS) return SILENT_MS;
      this.#live.reset();
    }
    this.#lookAtPath();
    this.#stale = false;
    const caughtUp = await this.#catchUp();
    if (this.#over) return 0;
    if (!caughtUp || this.#terminalSince !== undefined) {
      this.#stale = true;
      return this.#missed();
    }
    return this.#live.serving ? SILENT_MS : this.#goLive();
  }

  /** Sees to a live subscription. */
  async #goLive(): Promise<number> {
    if (this.#worker === undefined || this.#misses > 0) await this.#findWorker();
    if (this.#over) return 0;
    if (this.#worker === undefined) return POLL_MS;
    // Counted as a miss until the worker answers.
    const retryMs = this.#missed();
    return this.#live.follow(this.#worker) ? ANSWER_MS : retryMs;
  }

  #missed(): number {
    const ms = this.#backoffMs();
    this.#misses += 1;
    return ms;
  }

  #backoffMs(): number {
    return backoffMs(this.#misses, { baseMs: 50, capMs: POLL_MS });
  }

  /** Reads stored pages to the end of the log; false when the hub could not be reached. */
  async #catchUp(): Promise<boolean> {
    for (;;) {
      await this.#roomInQueue();
      const since = this.#merge.lastSeq;
      const page = await this.#stored.events(since);
      if (page === undefined || this.#over) return false;
      this.#take({ kind: "stored", events: page.events });
      if (this.#merge.ended) return true;
      if (page.events.length > 0 && this.#merge.lastSeq === since) {
        this.#sawHole(since, page.events);
        return false;
      }
      this.#holes = 0;
      if (page.more) continue;
      if (isTerminal(page.state)) await this.#sawTerminalState(page.state);
      return true;
    }
  }

  async #roomInQueue(): Promise<void> {
    while (this.items.length > MAX_QUEUED / 2 && !this.#over) {
      await new Promise<void>((resolve) => {
        this.#wakeLoop = resolve;
      });
    }
  }

  #sawHole(since: number, events: readonly JobEvent[]): void {
    this.#holes += 1;
    if (this.#holes < HOLE_TRIES) return;
    const { job } = this.#options;
    const text = `the stored events of job ${job} lack what lies between ${since} and ${events[0]?.seq}`;
    throw new WaybillError("internal", text);
  }

  /** The job has ended: either its last event was seen (before this viewer began, perhaps), or it is on its way. */
  async #sawTerminalState(state: JobState): Promise<void> {
    const seen = this.#merge.lastSeq;
    const page = seen > 0 ? await this.#stored.events(seen - 1, 1) : undefined;
    const last = page?.events[0];
    const now = this.#clock.now();
    this.#terminalSince ??= now;
    const before = last?.seq === seen && last.type === "state" && last.state === state;
    if (before || now - this.#terminalSince >= LAST_EVENT_MS) this.#finish();
  }

  async #findWorker(): Promise<void> {
    const told = this.#told;
    const document = await this.#stored.document();
    if (document !== undefined && told === this.#told) this.#worker = document.worker;
  }

  async #pause(ms: number): Promise<void> {
    if (this.#over || this.#poked) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(ms, resolve);
      this.#wakeLoop = () => {
        cancel();
        resolve();
      };
    });
  }

  #lookAtPath(): void {
    if (!this.#over) this.#path.look();
  }
}
