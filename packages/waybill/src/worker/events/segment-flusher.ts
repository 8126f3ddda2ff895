// Stores a job's events in the room, a segment at a time. It reads them back from the log, so it may lag
// as far behind as the hub is away: the spool is the truth, and nothing waits for it but the job's end.
import {
  type JobEvent,
  type JobId,
  LIMITS,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";
import { abortReason } from "@waybill/sdk/timing";
import type { HubCalls } from "../ports.ts";
import type { EventLog } from "./event-log.ts";

export type FlusherInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly job: JobId;
  readonly attempt: number;
  readonly log: EventLog;
  /** Last event known to be stored. */
  readonly storedSeq: number;
  /** Oldest age of an event before it is stored. */
  readonly flushMs: number;
  /** Told after each segment. */
  readonly onStored: (seq: number) => void;
  /** Storing failed in a way that trying again at once does not mend. */
  readonly onFailed: (error: unknown) => void;
};

/** A segment is written once it has this many bytes, or when its oldest event is `flushMs` old. */
const SEGMENT_BYTES = 256 * 1024;
/** When far behind, segments grow to this; the hub takes bodies of up to `LIMITS.httpBodyBytes`. */
const CATCH_UP_BYTES = Math.floor(LIMITS.httpBodyBytes * 0.7);
/** Events carried by the end of a job itself. */
const TAIL_BYTES = Math.floor(LIMITS.httpBodyBytes * 0.5);
const READ_EVENTS = 1024;
/** A refusal (a token that ran out, say) is not asked for again before this. */
const AFTER_FAILURE_MS = 15_000;

export class SegmentFlusher {
  readonly #init: FlusherInit;
  readonly #stopped = new AbortController();
  #storedSeq: number;
  #storedBytes: number;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #finishing = false;
  #failed = false;
  #unsubscribe: (() => void) | undefined;

  constructor(init: FlusherInit) {
    this.#init = init;
    this.#storedSeq = init.storedSeq;
    this.#storedBytes = init.storedSeq < init.log.firstSeq ? 0 : init.log.bytes;
  }

  start(): void {
    this.#unsubscribe = this.#init.log.subscribe(() => this.#look());
    this.#look();
  }

  /** Puts the next small segment off: the job's end is near and takes the tail along. */
  postpone(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#look();
  }

  /**
   * Stores all but the last events and returns those, hidden ones included, for `endJob`. Throws `stale_attempt`
   * when the hub refuses, the signal's reason when it is aborted.
   */
  async finish(signal: AbortSignal): Promise<JobEvent[]> {
    this.#finishing = true;
    clearTimeout(this.#timer);
    await this.#running;
    await this.#init.log.written();
    for (;;) {
      signal.throwIfAborted();
      const { events, more } = await this.#read(TAIL_BYTES);
      if (!more) {
        await this.#init.log.sync();
        return events;
      }
      await this.#store(events, signal);
    }
  }

  /** Ends without storing what is left. */
  async stop(): Promise<void> {
    this.#finishing = true;
    this.#unsubscribe?.();
    clearTimeout(this.#timer);
    this.#stopped.abort();
    await this.#running;
  }

  #look(): void {
    if (this.#finishing || this.#running !== undefined) return;
    const { log, flushMs } = this.#init;
    if (log.lastSeq <= this.#storedSeq) return;
    if (this.#failed) this.#wait(AFTER_FAILURE_MS);
    else if (log.bytes - this.#storedBytes >= SEGMENT_BYTES) this.#run();
    else this.#wait(flushMs);
  }

  #wait(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#failed = false;
      this.#run();
    }, ms);
  }

  #run(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#running !== undefined || this.#finishing) return;
    this.#running = this.#flush()
      .catch((error: unknown) => {
        if (this.#stopped.signal.aborted) return;
        this.#failed = true;
        this.#init.onFailed(error);
      })
      .finally(() => {
        this.#running = undefined;
        this.#look();
      });
  }

  async #flush(): Promise<void> {
    do {
      const bytesNow = this.#init.log.bytes;
      const { events, more } = await this.#read(CATCH_UP_BYTES);
      if (events.length === 0) return;
      await this.#store(events, this.#stopped.signal);
      if (!more) this.#storedBytes = bytesNow;
    } while (!this.#finishing && this.#init.log.bytes - this.#storedBytes >= SEGMENT_BYTES);
  }

  /** The next events to store, at most `maxBytes`; hidden ones only when the job is ending. */
  async #read(maxBytes: number): Promise<{ events: JobEvent[]; more: boolean }> {
    const { log } = this.#init;
    const events: JobEvent[] = [];
    let bytes = 0;
    for (;;) {
      const since = this.#storedSeq + events.length;
      const page = this.#finishing
        ? await log.readStored(since, READ_EVENTS)
        : await log.read(since, READ_EVENTS);
      if (page.length === 0) return { events, more: false };
      for (const event of page) {
        bytes += Buffer.byteLength(JSON.stringify(event)) + 1;
        if (bytes > maxBytes && events.length > 0) return { events, more: true };
        events.push(event);
      }
    }
  }

  async #store(events: readonly JobEvent[], signal: AbortSignal): Promise<void> {
    const last = events.at(-1);
    if (last === undefined) return;
    const { hub, room, job, attempt, log } = this.#init;
    // After a loss of power the hub must not know of events that this worker has forgotten.
    await log.sync();
    try {
      await hub.call(
        "appendEvents",
        { params: { room, job }, body: { attempt, events: [...events] } },
        { signal, retryForMs: Number.POSITIVE_INFINITY },
      );
      this.#storedSeq = last.seq;
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
      this.#storedSeq = await this.#askStored(error, signal);
    }
    this.#init.onStored(this.#storedSeq);
  }

  /** After a crash the hub may hold more than was noted here: go on where it is. */
  async #askStored(conflict: WaybillError, signal: AbortSignal): Promise<number> {
    const { hub, room, job, log } = this.#init;
    const { lastSeq } = await hub.call(
      "readEvents",
      { params: { room, job }, query: { since: String(this.#storedSeq), limit: "1" } },
      { signal, retryForMs: Number.POSITIVE_INFINITY },
    );
    if (lastSeq <= this.#storedSeq || lastSeq > log.lastUsedSeq) throw conflict;
    return lastSeq;
  }
}
