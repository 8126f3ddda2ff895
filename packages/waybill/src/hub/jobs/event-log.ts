// A job's event log in the bucket: immutable segments, appended without gaps or repeats and read in pages
// (docs/protocol/events.md §1, §4; I6). Remembers where each log ends, so that appending costs one PUT.
import { isDeepStrictEqual } from "node:util";
import { type JobEvent, type JobId, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import type { Bucket } from "../bucket/bucket.ts";
import { KeyedQueue } from "../bucket/keyed-queue.ts";
import { firstSeqOf, segmentKey, segmentsPrefix } from "./job-keys.ts";
import { MAX_SEGMENT_EVENTS, type Segment, decodeSegment, segmentsOf } from "./segments.ts";

/** Where a job's log ends. */
export type Tail = {
  /** First number of the last segment. */
  readonly first: number;
  readonly last: JobEvent;
};

export type Page = {
  readonly events: JobEvent[];
  readonly more: boolean;
};

/** One answer of the hub, below its body limit; whole segments are taken while they fit. */
const PAGE_BYTES = 900_000;
const PAGE_SEGMENTS = 128;
/** GETs at once for one page. */
const PARALLEL_READS = 16;
/** Logs whose end is remembered. */
const MAX_TAILS = 4096;

export class EventLog {
  readonly #bucket: Bucket;
  readonly #queue = new KeyedQueue();
  readonly #tails = new Map<string, Tail>();

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  /**
   * Stores consecutive events of one attempt behind what is stored; the same events again are no error. Answers the
   * log's last number. Throws `conflict` for a gap or a difference, `storage_failed`, also when `timeLeftMs` is over: what
   * was not stored by then must not land behind what the next writer stores.
   */
  async append(
    room: RoomId,
    job: JobId,
    events: readonly JobEvent[],
    timeLeftMs?: () => number,
  ): Promise<number> {
    return this.#queue.run(segmentsPrefix(room, job), async () => {
      let remembered = this.#tails.has(segmentsPrefix(room, job));
      let rest = events;
      // Each round either stores all, or learns from the bucket why it could not.
      for (let round = 0; round < 4; round++) {
        const first = rest[0];
        if (first === undefined) return (await this.#tail(room, job, 0))?.last.seq ?? 0;
        const tail = await this.#tail(room, job, first.seq);
        if (follows(first, tail)) {
          const stored = await this.#store(room, job, rest, timeLeftMs);
          if (stored === "all") return rest.at(-1)?.seq ?? first.seq;
        } else if (!remembered) {
          if (tail === undefined || first.seq > tail.last.seq) throw gap(job, rest, tail);
          rest = await this.#afterStored(room, job, rest, tail.last.seq);
          continue;
        }
        remembered = false;
        this.#tails.delete(segmentsPrefix(room, job));
      }
      throw new WaybillError("conflict", `events of job ${job} are being stored by somebody else`);
    });
  }

  /** Stores the first event of a job that has just been created, whose log is known to be empty. */
  async begin(room: RoomId, job: JobId, event: JobEvent): Promise<void> {
    await this.#queue.run(segmentsPrefix(room, job), async () => {
      await this.#create(room, job, { first: event.seq, events: [event], body: lineOf(event) });
    });
  }

  /**
   * Stores consecutive events whose numbers the hub has taken for itself; storing them again is no error. Once the log
   * goes on above a number it is left unused: readers that are past it would never see the event (I6).
   */
  async put(room: RoomId, job: JobId, ...events: readonly JobEvent[]): Promise<void> {
    await this.#queue.run(segmentsPrefix(room, job), async () => {
      // Another hub may have stored what the writer before sent last.
      this.#tails.delete(segmentsPrefix(room, job));
      const last = (await this.#tail(room, job, events.at(-1)?.seq ?? 0))?.last.seq ?? 0;
      const left = events.filter((event) => event.seq > last);
      const [first] = left;
      if (first === undefined) return;
      const body = left.map(lineOf).join("");
      await this.#create(room, job, { first: first.seq, events: left, body });
    });
  }

  /** Where the log ends. `near`: a number at most 1,000 above it, when one is known. */
  async tail(room: RoomId, job: JobId, near = 0): Promise<Tail | undefined> {
    return this.#queue.run(segmentsPrefix(room, job), async () => {
      this.#tails.delete(segmentsPrefix(room, job));
      return this.#tail(room, job, near);
    });
  }

  /** Up to `limit` stored events after `since`, ascending. */
  async read(room: RoomId, job: JobId, since: number, limit: number): Promise<Page> {
    const { keys, more } = await this.#keysAfter(room, job, since, limit);
    const events: JobEvent[] = [];
    let at = 0;
    while (at < keys.length && events.length < limit) {
      const batch = keys.slice(at, at + PARALLEL_READS);
      at += batch.length;
      const segments = await Promise.all(batch.map((key) => this.#read(key)));
      for (const event of segments.flat()) if (event.seq > since) events.push(event);
    }
    const cut = events.length > limit || at < keys.length;
    return { events: events.slice(0, limit), more: more || cut };
  }

  /** The last `count` stored events, ascending; fewer when there are no more or they would not fit a page. */
  async last(room: RoomId, job: JobId, count: number): Promise<JobEvent[]> {
    // What is remembered may be old, but nothing is ever stored below it.
    const near = (this.#tails.get(segmentsPrefix(room, job))?.first ?? 0) - MAX_SEGMENT_EVENTS;
    let events: JobEvent[] = [];
    for (const after of near > 0 ? [near, 0] : [0]) {
      const segments = await this.#segmentsAfter(room, job, after);
      events = [];
      let bytes = 0;
      for (const { key, size } of segments.toReversed()) {
        bytes += size;
        if (events.length >= count || (bytes > PAGE_BYTES && events.length > 0)) break;
        events.unshift(...(await this.#read(key)));
      }
      if (events.length >= count || bytes > PAGE_BYTES) break;
    }
    return events.slice(-count);
  }

  /** Keys of the segments a page is made of: from the one that may hold `since + 1` on. */
  async #keysAfter(
    room: RoomId,
    job: JobId,
    since: number,
    limit: number,
  ): Promise<{ keys: string[]; more: boolean }> {
    // events.md §1: the segment that holds since+1 begins at most 999 below it.
    const startAfter = segmentKey(room, job, Math.max(0, since + 1 - MAX_SEGMENT_EVENTS));
    let before: { key: string; first: number; size: number } | undefined;
    const keys: string[] = [];
    let bytes = 0;
    // A page must hold something new, or its reader would ask for the same again.
    let anyNew = false;
    for await (const { key, size } of this.#bucket.list(segmentsPrefix(room, job), {
      startAfter,
    })) {
      const first = firstSeqOf(key);
      if (first === undefined) continue;
      if (first <= since) {
        before = { key, first, size };
        continue;
      }
      if (keys.length === 0 && before !== undefined && first !== since + 1) {
        keys.push(before.key);
        bytes += before.size;
      }
      const full =
        bytes + size > PAGE_BYTES || keys.length >= PAGE_SEGMENTS || first > since + limit;
      if (full && anyNew) return { keys, more: true };
      anyNew = true;
      keys.push(key);
      bytes += size;
    }
    if (keys.length === 0 && before !== undefined) {
      const tail = this.#tails.get(segmentsPrefix(room, job));
      const known = tail?.first === before.first && tail.last.seq <= since;
      if (!known) keys.push(before.key);
    }
    return { keys, more: false };
  }

  async #read(key: string): Promise<JobEvent[]> {
    const object = await this.#bucket.get(key);
    return object === undefined ? [] : decodeSegment(object.body);
  }

  async #tail(room: RoomId, job: JobId, near: number): Promise<Tail | undefined> {
    const remembered = this.#tails.get(segmentsPrefix(room, job));
    if (remembered !== undefined) return remembered;
    const key =
      (await this.#lastKey(room, job, near - MAX_SEGMENT_EVENTS)) ??
      (near > MAX_SEGMENT_EVENTS ? await this.#lastKey(room, job, 0) : undefined);
    if (key === undefined) return undefined;
    const last = (await this.#read(key)).at(-1);
    if (last === undefined) return undefined;
    const tail = { first: firstSeqOf(key) ?? last.seq, last };
    this.#remember(room, job, tail);
    return tail;
  }

  async #lastKey(room: RoomId, job: JobId, after: number): Promise<string | undefined> {
    return (await this.#segmentsAfter(room, job, after)).at(-1)?.key;
  }

  /** Segments that begin above `after`, ascending. */
  async #segmentsAfter(
    room: RoomId,
    job: JobId,
    after: number,
  ): Promise<{ key: string; size: number }[]> {
    const startAfter = segmentKey(room, job, Math.max(0, after));
    const segments: { key: string; size: number }[] = [];
    for await (const { key, size } of this.#bucket.list(segmentsPrefix(room, job), {
      startAfter,
    })) {
      if (firstSeqOf(key) !== undefined) segments.push({ key, size });
    }
    return segments;
  }

  async #store(
    room: RoomId,
    job: JobId,
    events: readonly JobEvent[],
    timeLeftMs?: () => number,
  ): Promise<"all" | "outrun"> {
    for (const segment of segmentsOf(events)) {
      const withinMs = timeLeftMs?.();
      if (withinMs !== undefined && withinMs <= 0) {
        throw new WaybillError("storage_failed", `events of job ${job} took too long to store`);
      }
      if (!(await this.#create(room, job, segment, withinMs))) return "outrun";
    }
    return "all";
  }

  /** Creates a segment; `false` when there is one already. */
  async #create(room: RoomId, job: JobId, segment: Segment, withinMs?: number): Promise<boolean> {
    const last = segment.events.at(-1);
    try {
      await this.#bucket.put(segmentKey(room, job, segment.first), segment.body, {
        condition: { ifAbsent: true },
        contentType: "application/jsonl",
        ...(withinMs === undefined ? {} : { withinMs }),
      });
    } catch (error) {
      // Whether or not the segment is there now must be looked up.
      this.#tails.delete(segmentsPrefix(room, job));
      if (error instanceof WaybillError && error.code === "precondition_failed") return false;
      throw error;
    }
    if (last !== undefined) this.#remember(room, job, { first: segment.first, last });
    return true;
  }

  /** Checks the events that are stored already against what is stored; answers those that are not. */
  async #afterStored(
    room: RoomId,
    job: JobId,
    events: readonly JobEvent[],
    lastStored: number,
  ): Promise<readonly JobEvent[]> {
    const overlap = events.filter((event) => event.seq <= lastStored);
    const stored = new Map<number, JobEvent>();
    let since = (overlap[0]?.seq ?? 1) - 1;
    for (;;) {
      const page = await this.read(room, job, since, MAX_SEGMENT_EVENTS);
      for (const event of page.events) stored.set(event.seq, event);
      since = page.events.at(-1)?.seq ?? lastStored;
      if (!page.more || since >= (overlap.at(-1)?.seq ?? 0)) break;
    }
    const other = overlap.find((event) => !isDeepStrictEqual(stored.get(event.seq), event));
    if (other !== undefined) {
      throw new WaybillError("conflict", `event ${other.seq} of job ${job} is stored differently`);
    }
    return events.slice(overlap.length);
  }

  #remember(room: RoomId, job: JobId, tail: Tail): void {
    const key = segmentsPrefix(room, job);
    this.#tails.delete(key);
    this.#tails.set(key, tail);
    for (const oldest of this.#tails.keys()) {
      if (this.#tails.size <= MAX_TAILS) break;
      this.#tails.delete(oldest);
    }
  }
}

/** Whether an event may come next: the next number, or anything above when its attempt is new. */
function follows(event: JobEvent, tail: Tail | undefined): boolean {
  if (tail === undefined) return true;
  if (event.seq === tail.last.seq + 1) return true;
  return event.attempt > tail.last.attempt && event.seq > tail.last.seq;
}

function gap(job: JobId, events: readonly JobEvent[], tail: Tail | undefined): WaybillError {
  const last = tail?.last.seq ?? 0;
  const first = events[0]?.seq ?? 0;
  return new WaybillError(
    "conflict",
    `events from ${first} on do not follow ${last}, the last stored of job ${job}: ${last + 1}–${first - 1} are missing`,
  );
}

function lineOf(event: JobEvent): string {
  return `${JSON.stringify(event)}\n`;
}
