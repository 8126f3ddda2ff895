// Sends a job's sample images to one subscriber over the bulk channel: one of a series at a time, newer ones in the
// place of those that wait, so that a slow viewer sees the present (peer-channel.md §5).
//
//   offer ─▶ sending (4 at most) ─▶ arrived
//      └──▶ waiting, newest of its series ──▶ sending │ passed │ stored
import type { ControlMessage, LiveSample } from "../protocol/index.ts";
import type { BulkStreams } from "./bulk/bulk.ts";
import type { Clock } from "./clock.ts";

/** An image and what is said of it. */
export type SampleImage = LiveSample & { readonly content: Uint8Array };

/** What samples need of a link's bulk streams. */
type SampleStreams = Pick<BulkStreams, "usable" | "newStreamId" | "openStream">;

type SampleMessage = Extract<ControlMessage, { type: "sample" }>;
type Stage = SampleMessage["stage"];

export type SampleSenderInit = {
  readonly streams: SampleStreams;
  readonly clock: Clock;
  /** May throw when there is no path. */
  readonly tell: (sample: LiveSample, stage: Stage, stream?: number) => void;
};

/** Enough to keep a long path busy with images of 100 kB; each in turn would wait for a round trip. */
const MAX_UNDER_WAY = 4;
/** The 100 that a trainer shows at its end, and some. */
const MAX_WAITING = 128;
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
/** 1 MiB takes 40 s at 200 kbit/s; slower paths are better off without. */
const GIVE_UP_MS = 60_000;

export class SampleSender {
  readonly #init: SampleSenderInit;
  readonly #underWay = new Map<string, { abort(reason: string): void }>();
  /** By series, oldest first. */
  readonly #waiting = new Map<string, SampleImage>();
  #waitingBytes = 0;
  #stopped = false;

  constructor(init: SampleSenderInit) {
    this.#init = init;
  }

  /** A new image: sends it, now or later, unless there is no bulk channel. */
  offer(image: SampleImage): void {
    if (this.#stopped || !this.#init.streams.usable) return;
    if (this.#maySend(image)) void this.#send(image);
    else this.#wait(image);
  }

  /** Ends what is under way; idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#waiting.clear();
    for (const stream of this.#underWay.values()) stream.abort("nobody wants it any more");
  }

  #maySend({ series }: SampleImage): boolean {
    return this.#underWay.size < MAX_UNDER_WAY && !this.#underWay.has(series);
  }

  #wait(image: SampleImage): void {
    const older = this.#waiting.get(image.series);
    if (older !== undefined) this.#leave(older, "passed");
    this.#waiting.set(image.series, image);
    this.#waitingBytes += image.bytes;
    this.#tell(image, "waiting");
    for (const oldest of this.#waiting.values()) {
      if (this.#waiting.size <= MAX_WAITING && this.#waitingBytes <= MAX_WAITING_BYTES) return;
      this.#leave(oldest, "stored");
    }
  }

  #leave(image: SampleImage, stage?: Stage): void {
    this.#waiting.delete(image.series);
    this.#waitingBytes -= image.bytes;
    if (stage !== undefined) this.#tell(image, stage);
  }

  async #send(image: SampleImage): Promise<void> {
    const { streams, clock } = this.#init;
    const { series } = image;
    let cancel = () => {};
    try {
      const id = streams.newStreamId();
      const stream = streams.openStream(id, { live: true });
      this.#underWay.set(series, stream);
      cancel = clock.after(GIVE_UP_MS, () => stream.abort("it takes too long"));
      this.#tell(image, "sending", id);
      await stream.write(image.content);
      await stream.end();
    } catch {
      // Refused, too slow, or no path any more: the store has it soon.
      this.#tell(image, "stored");
    }
    cancel();
    this.#underWay.delete(series);
    this.#next();
  }

  #next(): void {
    if (this.#stopped) return;
    for (const image of this.#waiting.values()) {
      if (!this.#init.streams.usable) this.#leave(image, "stored");
      else if (this.#maySend(image)) {
        this.#leave(image);
        void this.#send(image);
      }
    }
  }

  #tell({ content: _, ...sample }: SampleImage, stage: Stage, stream?: number): void {
    if (this.#stopped) return;
    try {
      this.#init.tell(sample, stage, stream);
    } catch {
      // No path: the viewer asks anew, and reads in the store what it has not got.
    }
  }
}
