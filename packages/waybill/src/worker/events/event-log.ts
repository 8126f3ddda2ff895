// A job's events on this worker. Each gets its number here, is written to the spool, and only then shown to
// anybody (I6: what a viewer has seen is on the disk and will never be told differently). Live
// readers take the newest from memory and the rest from the file.
//
//   append ─▶ pending ─▶ file (group commit) ─▶ visible: lastSeq, subscribers
//   seal   ─▶ pending ─▶ file ─▶ hidden until `release()`: the outcome is told only after the hub has it
import { type JobEvent, type NewJobEvent, WaybillError } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import type { EventLogReader, Log } from "../ports.ts";
import { fitEvent } from "./encode.ts";
import { EventFile } from "./event-file.ts";

export type EventLogInit = {
  readonly path: string;
  readonly attempt: number;
  readonly firstSeq: number;
  /** Last number that may be used before `reserve` has raised it. */
  readonly seqReserved: number;
  readonly now: () => number;
  readonly log: Log;
};

/** Newest events kept in memory: what a live viewer on a slow path may lag behind without file reads. */
const RING_EVENTS = 2048;
const RING_BYTES = 2 * 1024 * 1024;
/** Events not yet on the disk; a reader of trainer output waits above this. */
const PENDING_EVENTS = 4096;
const PENDING_BYTES = 4 * 1024 * 1024;
/** Numbers kept back from output, so that states and answers to commands always have one. */
const SEQ_HEADROOM = 512;

type Kept = { readonly event: JobEvent; readonly bytes: number };

export class EventLog implements EventLogReader {
  readonly firstSeq: number;
  readonly #init: EventLogInit;
  readonly #file: EventFile;
  readonly #listeners = new Set<() => void>();
  readonly #waiting = new Set<() => void>();
  #ring: Kept[] = [];
  #pending: JobEvent[] = [];
  #writing: Promise<void> | undefined;
  /** Resolved after the batch that is written now, if anybody waits for it. */
  #batch: PromiseWithResolvers<void> | undefined;
  #nextSeq: number;
  #reserved: number;
  #visible: number;
  #pendingBytes = 0;
  #ringBytes = 0;
  #hiddenSeq = Number.POSITIVE_INFINITY;
  #sealed = false;

  private constructor(init: EventLogInit, file: EventFile) {
    this.#init = init;
    this.#file = file;
    this.firstSeq = init.firstSeq;
    this.#nextSeq = file.lastSeq + 1;
    this.#visible = file.lastSeq;
    this.#reserved = init.seqReserved;
  }

  /** Opens a job's log, going on where a former daemon's ended. */
  static async open(init: EventLogInit): Promise<EventLog> {
    return new EventLog(init, await EventFile.open(init.path, init.firstSeq));
  }

  /** Last event that may be shown. */
  get lastSeq(): number {
    return this.#visible;
  }

  /** Last number given out. */
  get lastUsedSeq(): number {
    return this.#nextSeq - 1;
  }

  /** Whether the outcome has been appended: nothing may follow it. */
  get sealed(): boolean {
    return this.#sealed;
  }

  /** Bytes of all events on the disk. */
  get bytes(): number {
    return this.#file.bytes;
  }

  /** Numbers left before the reservation must have been renewed. */
  get seqsLeft(): number {
    return this.#reserved - this.#nextSeq + 1;
  }

  /** Whether trainer output may be appended now. */
  get hasRoom(): boolean {
    return (
      this.#pending.length < PENDING_EVENTS &&
      this.#pendingBytes < PENDING_BYTES &&
      this.seqsLeft > SEQ_HEADROOM
    );
  }

  /** Resolves when there is room for output: backpressure that ends at the trainer's output file. */
  async waitForRoom(signal: AbortSignal): Promise<void> {
    while (!this.hasRoom && !this.#sealed) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.#waiting.add(wake);
        signal.addEventListener("abort", wake, { once: true });
      });
    }
  }

  /** Gives an event its number and time and writes it; throws `conflict` after `seal` or without a number left. */
  append(event: NewJobEvent): JobEvent {
    if (this.#sealed) throw new WaybillError("conflict", "the job's log has ended");
    const numbered = this.#number(event, new Date(this.#init.now()).toISOString());
    this.#wakeWriter();
    return numbered;
  }

  /** Appends many events of one time; what does not fit the reservation is not taken. */
  appendAll(events: readonly NewJobEvent[]): void {
    if (events.length === 0) return;
    const time = new Date(this.#init.now()).toISOString();
    for (const event of events) {
      if (this.#sealed) return;
      this.#number(event, time);
    }
    this.#wakeWriter();
  }

  /** Appends the last event; it is stored, but shown only after `release()`. */
  seal(event: NewJobEvent): JobEvent {
    this.#hiddenSeq = this.#nextSeq;
    const numbered = this.append(event);
    this.#sealed = true;
    this.#wakeRooms();
    return numbered;
  }

  /** Takes nothing more, and lets whoever waits for room go: the attempt is over and counts for nothing. */
  abandon(): void {
    this.#sealed = true;
    this.#wakeRooms();
  }

  /** Reopens a log whose last event is the outcome, as a restarted daemon finds it: sealed and hidden. */
  resealLast(): void {
    this.#sealed = true;
    this.#hiddenSeq = this.#file.lastSeq;
    this.#visible = this.#file.lastSeq - 1;
  }

  /** Shows the sealed event. */
  release(): void {
    this.#hiddenSeq = Number.POSITIVE_INFINITY;
    this.#show();
  }

  /** More numbers may be used. */
  reserve(seqReserved: number): void {
    this.#reserved = Math.max(this.#reserved, seqReserved);
    this.#wakeRooms();
  }

  /** Resolves when everything appended so far is on the disk. */
  async written(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Resolves when the event with this number is on the disk. */
  async writtenTo(seq: number): Promise<void> {
    while (this.#file.lastSeq < seq) {
      this.#batch ??= Promise.withResolvers<void>();
      await this.#batch.promise;
    }
  }

  /** Resolves when every event on the disk survives a loss of power: what the hub is told must never be taken back. */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  async read(sinceSeq: number, limit: number): Promise<JobEvent[]> {
    return this.#readTo(this.#visible, sinceSeq, limit);
  }

  /** As `read`, hidden events included: for storing them with the job's end. */
  async readStored(sinceSeq: number, limit: number): Promise<JobEvent[]> {
    return this.#readTo(this.#file.lastSeq, sinceSeq, limit);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#sealed = true;
    this.#wakeRooms();
    await this.written();
    await this.#file.close();
  }

  async #readTo(last: number, sinceSeq: number, limit: number): Promise<JobEvent[]> {
    const count = Math.min(limit, last - sinceSeq);
    if (count <= 0) return [];
    const oldest = this.#ring[0]?.event.seq ?? Number.POSITIVE_INFINITY;
    const from = Math.max(sinceSeq, this.firstSeq - 1);
    const start = from + 1 - oldest;
    if (start >= 0) return this.#ring.slice(start, start + count).map(({ event }) => event);
    return this.#file.read(from, Math.min(count, RING_EVENTS));
  }

  #number(event: NewJobEvent, time: string): JobEvent {
    if (this.#nextSeq > this.#reserved) {
      throw new WaybillError("conflict", `event numbers are used up at ${this.#reserved}`);
    }
    const numbered: JobEvent = {
      ...fitEvent(event),
      seq: this.#nextSeq++,
      time,
      attempt: this.#init.attempt,
    };
    this.#pending.push(numbered);
    this.#pendingBytes += numbered.type === "log" ? numbered.line.length : 0;
    return numbered;
  }

  #wakeWriter(): void {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Writes batch after batch; what arrives during a write goes into the next one. */
  async #write(): Promise<void> {
    while (this.#pending.length > 0) {
      const batch = this.#pending;
      this.#pending = [];
      this.#pendingBytes = 0;
      this.#remember(batch, await this.#writeBatch(batch));
      this.#batch?.resolve();
      this.#batch = undefined;
      this.#show();
      this.#wakeRooms();
    }
  }

  #remember(batch: readonly JobEvent[], lengths: readonly number[]): void {
    for (const [i, event] of batch.entries()) {
      const bytes = lengths[i] ?? 0;
      this.#ring.push({ event, bytes });
      this.#ringBytes += bytes;
    }
    if (this.#ring.length <= 2 * RING_EVENTS && this.#ringBytes <= 2 * RING_BYTES) return;
    let first = this.#ring.length;
    let bytes = 0;
    while (first > 0 && this.#ring.length - first < RING_EVENTS) {
      bytes += this.#ring[first - 1]?.bytes ?? 0;
      if (bytes > RING_BYTES) break;
      first -= 1;
    }
    this.#ring = this.#ring.slice(first);
    this.#ringBytes = this.#ring.reduce((sum, kept) => sum + kept.bytes, 0);
  }

  async #writeBatch(batch: readonly JobEvent[]): Promise<number[]> {
    for (let told = false; ; told = true) {
      try {
        return await this.#file.append(batch);
      } catch (error) {
        // A full disk holds up the log (and, above `PENDING_EVENTS`, reading output), not the trainer.
        if (!told) this.#init.log("error", `cannot write a job's events: ${String(error)}`);
        await delay(1000);
      }
    }
  }

  #show(): void {
    const last = Math.min(this.#file.lastSeq, this.#hiddenSeq - 1);
    if (last <= this.#visible) return;
    this.#visible = last;
    for (const listener of this.#listeners) listener();
  }

  #wakeRooms(): void {
    for (const wake of this.#waiting) wake();
  }
}
