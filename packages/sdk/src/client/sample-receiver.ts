// A viewer's sample images: over the bulk channel while there is one, else from the store once their event has come;
// each once, verified, whatever becomes of either way (peer-channel.md §5).
//
//   file:  (unknown) ──waiting, sending──▶ coming ──arrived──▶ had
//              │  ▲                           │
//          event  └────── stored, broken ─────┘──passed──▶ had
//              └─▶ fetched from the store ─▶ had
import type { Clock } from "../swarm/index.ts";
import { blake3Hex } from "../platform/index.ts";
import {
  type ControlMessage,
  type JobEventOf,
  LIMITS,
  type LiveSample,
} from "../protocol/index.ts";

/** An image of a job as it is handed to a viewer, verified. */
export type ReceivedSample = {
  /** Digest of the bytes and extension, as in its `sample` event. */
  readonly file: string;
  /** As the trainer named it; undefined of one that was read in the store. */
  readonly series: string | undefined;
  readonly mime: string;
  readonly bytes: Uint8Array;
  readonly via: "webrtc" | "store";
};

export type SampleReceiverInit = {
  readonly onSample: (sample: ReceivedSample) => void;
  /** The bytes of a stored image; undefined when they cannot be had. */
  readonly fetchStored: (file: string) => Promise<Uint8Array | undefined>;
};

type SampleMessage = Extract<ControlMessage, { type: "sample" }>;
type SampleEvent = JobEventOf<"sample">;
type Accept = (stream: number) => AsyncIterable<Uint8Array>;

/** Files whose fate is remembered, so that none is shown twice: days of a busy trainer. */
const MAX_REMEMBERED = 4096;
/** After its job's end an image that is on its way has so long before it is read in the store. */
const SETTLE_MS = 5000;
/** Images that wait to be read in the store; above, the oldest are left there. */
const MAX_FETCHES = 128;

export class SampleReceiver {
  readonly #init: SampleReceiverInit;
  readonly #fates = new Map<string, "coming" | "had">();
  /** Announced by the log while on their way. */
  readonly #announced = new Map<string, SampleEvent>();
  readonly #fetches = new Map<string, SampleEvent>();
  #fetching = false;
  #stopped = false;
  #changed = () => {};

  constructor(init: SampleReceiverInit) {
    this.#init = init;
  }

  /** What the worker says of an image; `accept` opens the streams of the link it came by. */
  hear(message: SampleMessage, accept: Accept | undefined): void {
    const { file, stage, stream } = message;
    if (this.#fates.get(file) === "had") {
      // The worker learns that it need not wait.
      if (stream !== undefined && accept !== undefined) void readExactly(0, () => accept(stream));
      return;
    }
    switch (stage) {
      case "waiting":
        this.#remember(file, "coming");
        return;
      case "sending":
        this.#remember(file, "coming");
        if (stream === undefined || accept === undefined) this.#broke(file);
        else void this.#receive(message, () => accept(stream));
        return;
      case "passed":
        this.#remember(file, "had");
        this.#announced.delete(file);
        this.#changed();
        return;
      case "stored":
        this.#broke(file);
    }
  }

  /** The image is in the store, says the log. */
  announced(event: SampleEvent): void {
    const fate = this.#fates.get(event.file);
    if (fate === "coming") this.#announced.set(event.file, event);
    else if (fate === undefined) this.#fetch(event);
  }

  /** The worker's link was lost or is another one: nothing comes that was on its way. */
  lost(): void {
    for (const [file, fate] of this.#fates) if (fate === "coming") this.#broke(file);
  }

  /** The job is over: resolves when every image that was announced is shown, or given up. */
  async settled(clock: Clock): Promise<void> {
    const cancel = clock.after(SETTLE_MS, () => this.lost());
    while (!this.#stopped && (this.#fetching || this.#announced.size > 0)) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
    cancel();
  }

  stop(): void {
    this.#stopped = true;
    this.#changed();
    this.#fetches.clear();
  }

  #broke(file: string): void {
    this.#fates.delete(file);
    const event = this.#announced.get(file);
    this.#announced.delete(file);
    if (event !== undefined) this.#fetch(event);
  }

  async #receive(sample: LiveSample, open: () => AsyncIterable<Uint8Array>): Promise<void> {
    const bytes = await readExactly(sample.bytes, open);
    // The link may have been given up meanwhile, and the image read in the store.
    if (this.#stopped || this.#fates.get(sample.file) !== "coming") return;
    if (bytes === undefined || !isIts(sample.file, bytes)) return this.#broke(sample.file);
    const { file, series, mime } = sample;
    this.#show({ file, series, mime, bytes, via: "webrtc" });
  }

  #fetch(event: SampleEvent): void {
    this.#fetches.set(event.file, event);
    for (const oldest of this.#fetches.keys()) {
      if (this.#fetches.size <= MAX_FETCHES) break;
      this.#fetches.delete(oldest);
    }
    if (!this.#fetching) void this.#fetchAll();
  }

  async #fetchAll(): Promise<void> {
    this.#fetching = true;
    for (const { file, mime, ...event } of this.#fetches.values()) {
      const bytes = await this.#init.fetchStored(file).catch(() => undefined);
      // Kept until then, so that it is not asked for twice.
      this.#fetches.delete(file);
      if (this.#stopped) break;
      if (bytes === undefined || !isIts(file, bytes) || this.#fates.get(file) === "had") continue;
      this.#show({ file, series: seriesOf(event), mime, bytes, via: "store" });
    }
    this.#fetching = false;
    this.#changed();
  }

  #show(sample: ReceivedSample): void {
    this.#remember(sample.file, "had");
    this.#announced.delete(sample.file);
    this.#init.onSample(sample);
    this.#changed();
  }

  #remember(file: string, fate: "coming" | "had"): void {
    this.#fates.delete(file);
    this.#fates.set(file, fate);
    for (const oldest of this.#fates.keys()) {
      if (this.#fates.size <= MAX_REMEMBERED) break;
      this.#fates.delete(oldest);
      this.#announced.delete(oldest);
    }
  }
}

/** Undefined when there are fewer or more, or the stream broke. */
async function readExactly(
  length: number,
  open: () => AsyncIterable<Uint8Array>,
): Promise<Uint8Array | undefined> {
  if (length > LIMITS.sampleBytes) return undefined;
  const bytes = new Uint8Array(length);
  let at = 0;
  try {
    for await (const chunk of open()) {
      if (at + chunk.length > length) return undefined;
      bytes.set(chunk, at);
      at += chunk.length;
    }
  } catch {
    // The worker says `stored`, or the link is lost.
    return undefined;
  }
  return at === length ? bytes : undefined;
}

/** A file's name is the digest of its bytes (I4: what is shown was verified). */
function isIts(file: string, bytes: Uint8Array): boolean {
  return bytes.length <= LIMITS.sampleBytes && file.split(".")[0] === blake3Hex(bytes);
}

/** The trainer's own name for it, as its line said. */
function seriesOf({ data }: Pick<SampleEvent, "data">): string | undefined {
  const { file } = data;
  return typeof file === "string" ? file : undefined;
}
