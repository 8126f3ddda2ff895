// Performs the effects of the upload machine: reads, signs, puts, copies, waits, completes. Decides nothing.
import { type TreeScan, artifactId } from "../artifact/index.ts";
import {
  type ArtifactId,
  type ArtifactManifest,
  type ArtifactRecord,
  type PartToCopy,
  type SignedPart,
  type UploadPlan,
  type UploadStatus,
  WaybillError,
  assertNever,
  isAbort,
  isPutAtOnce,
} from "../protocol/index.ts";
import { abortReason, backoffMs, delay } from "../timing/index.ts";
import { type CompressionPace, startCompression } from "./compression-pace.ts";
import { type HeldObject, heldObject, heldObjects } from "./held-parts.ts";
import { sealManifest, manifestParts } from "./manifest-parts.ts";
import { type MatchBases, MatchingReader } from "./matching-reader.ts";
import { type PartFeed, PartReader, type ReadPart } from "./part-reader.ts";
import type { JoinedObject, Sink } from "./sink.ts";
import type { PartBody } from "./tree-bytes.ts";
import { connectionAgeOf } from "./upload-pace.ts";
import { type TreeLayout, adoptLayout, withoutEncodings } from "./upload-plan.ts";
import {
  type PutFailure,
  type UploadEffect,
  type UploadEvent,
  type UploadState,
  type UploadStep,
  beginUpload,
  nextUpload,
} from "./upload-state.ts";
import { WireMeter } from "./wire-meter.ts";

/** Bytes that did not have to be sent, by reason. */
export type SavedBytes = {
  /** An earlier run of the same push left them in the store. */
  readonly held: number;
  /** The store copied them from artifacts of the room. */
  readonly copied: number;
  /** The whole tree was one of the room's artifacts. */
  readonly identical: number;
  /** What was sent was that much shorter than what it stands for. */
  readonly compressed: number;
};

export type UploadProgress = {
  /** Bytes of the artifact that are confirmed (manifest included). */
  readonly bytes: number;
  /** All bytes; grows by the manifest's when it is known. */
  readonly total: number;
  /** Body bytes put on the wire, resends included. */
  readonly sentBytes: number;
  /** Bytes a second put on the wire lately; undefined before the first measurement. */
  readonly bytesPerS: number | undefined;
  readonly saved: SavedBytes;
  /** Bodies that had to be sent again. */
  readonly retries: number;
  /** Bodies on their way. */
  readonly inFlight: number;
  /** Size of the parts that are cut now. */
  readonly partBytes: number;
};

export type UploadInput = {
  readonly scan: TreeScan;
  readonly plan: UploadPlan;
  readonly sink: Sink;
  /** Artifacts to compare with; asked for while the sink begins. Undefined when there are none. */
  readonly findBases?: ((signal: AbortSignal) => Promise<MatchBases | undefined>) | undefined;
  /** A part that fails is tried again for this long. */
  readonly retryForMs: number;
  /** Bodies at once at most. */
  readonly concurrency?: number | undefined;
  /** Whether encoded objects are compressed even where the link is faster than that. */
  readonly alwaysCompress?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: UploadProgress) => void) | undefined;
  /** Told of waits, for logs. */
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
};

export type UploadOutcome = {
  readonly artifact: ArtifactId;
  readonly manifest: ArtifactManifest;
  /** What the sink recorded; undefined when it had completed this upload before, with `previous`. */
  readonly record: ArtifactRecord | undefined;
  /** The artifact an earlier run of the same upload completed. */
  readonly previous: string | undefined;
  readonly sentBytes: number;
  readonly saved: SavedBytes;
  readonly retries: number;
};

/**
 * The sink holds an encoded object whole, from a completion that was cut off: where its frames lie in it cannot be told
 * any more. Begin another upload.
 */
export class JoinedUnseen extends WaybillError {
  constructor(key: string) {
    super("conflict", `${key} was joined by a completion that did not end`);
  }
}

/** The link is measured this often. */
const TICK_MS = 250;
/** Waits between tries of one part grow to this. */
const MAX_WAIT_MS = 5000;

/**
 * Uploads a tree. Reads it once, in order. Throws what the sink or the file system throws; `not_found` or
 * `expired` when the upload was dropped meanwhile (begin again).
 */
export async function runUpload(input: UploadInput): Promise<UploadOutcome> {
  const { scan, plan, sink } = input;
  const signal = input.signal ?? new AbortController().signal;
  signal.throwIfAborted();
  const askedMs = performance.now();
  let pathMs = 0;
  const [status, bases] = await Promise.all([
    sink.begin(plan, { signal }).finally(() => {
      // A connection and an answer.
      pathMs = (performance.now() - askedMs) / 2;
    }),
    input.findBases?.(signal),
  ]);
  const layout = adoptLayout(status);
  if (status.state === "completed") return hashOnly(input, layout, status);
  const held = heldObjects(status);
  const joined = layout.objects.find(({ key, encoding, size }) => {
    return encoding !== undefined && !isPutAtOnce(size) && isWhole(held.get(key));
  });
  if (joined !== undefined) throw new JoinedUnseen(joined.key);
  const compression: CompressionPace = startCompression(input.alwaysCompress !== true);
  const init = { scan, layout, held, compression };
  const feed = bases === undefined ? new PartReader(init) : new MatchingReader({ ...init, bases });
  const { name } = status;
  return new UploadRun(input, { name, layout, held, feed, bases, pathMs }).run();
}

/** The sink completed this upload before: whether with the bytes of this tree, only the bytes can tell. */
async function hashOnly(
  { scan, signal = new AbortController().signal }: UploadInput,
  layout: TreeLayout,
  status: UploadStatus,
): Promise<UploadOutcome> {
  const feed = new PartReader({ scan, layout: withoutEncodings(layout), held: new Map() });
  try {
    for (;;) {
      const part = await feed.next({ bytes: layout.rule.minBytes }, signal);
      if (part === undefined) break;
      part.body?.release();
    }
    const manifest = sealManifest(status.name, layout, feed.files());
    return {
      artifact: artifactId(manifest),
      manifest,
      record: undefined,
      previous: status.artifact,
      sentBytes: 0,
      saved: { held: scan.bytes, copied: 0, identical: 0, compressed: 0 },
      retries: 0,
    };
  } finally {
    await feed.close();
  }
}

/** What is known when the parts begin to travel. */
type Begun = {
  /** The session's: the same bytes have the same manifest then, whoever pushes them and whatever they call them. */
  readonly name: UploadStatus["name"];
  readonly layout: TreeLayout;
  readonly held: ReadonlyMap<string, HeldObject>;
  readonly feed: PartFeed;
  readonly bases: MatchBases | undefined;
  /** Milliseconds of a round trip, roughly. */
  readonly pathMs: number;
};

class UploadRun {
  readonly #input: UploadInput;
  readonly #name: UploadStatus["name"];
  readonly #layout: TreeLayout;
  readonly #held: ReadonlyMap<string, HeldObject>;
  readonly #feed: PartFeed;
  readonly #bases: MatchBases | undefined;
  readonly #abort = new AbortController();
  /** Every part that was read, by number. */
  readonly #parts: ReadPart[] = [];
  readonly #bodies = new Map<number, PartBody>();
  readonly #permits = new Map<number, SignedPart>();
  /** Etags of stored bodies that are not ours, by key. */
  readonly #replaces = new Map<string, string>();
  readonly #errors = new Map<number, unknown>();
  readonly #wire = new WireMeter(performance.now.bind(performance));
  readonly #tasks = new Set<Promise<void>>();
  readonly #first: UploadStep;
  #state: UploadState;
  #sentBytes = 0;
  #manifest: ArtifactManifest | undefined;
  #artifact: ArtifactId | undefined;
  #manifestBytes = 0;
  #record: ArtifactRecord | undefined;
  #adopted = false;
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined;

  constructor(input: UploadInput, { name, layout, held, feed, bases, pathMs }: Begun) {
    this.#input = input;
    this.#name = name;
    this.#layout = layout;
    this.#held = held;
    this.#feed = feed;
    this.#bases = bases;
    const { retryForMs, concurrency, scan } = input;
    this.#first = beginUpload({
      rule: layout.rule,
      totalBytes: scan.bytes,
      retryForMs,
      ...(concurrency === undefined ? {} : { concurrency }),
      uncommitted: bases?.twin !== undefined,
      pathMs,
    });
    this.#state = this.#first.state;
    for (const [key, { whole }] of held) {
      if (whole?.etag !== undefined) this.#replaces.set(key, whole.etag);
    }
  }

  async run(): Promise<UploadOutcome> {
    const { signal } = this.#input;
    const onAbort = () => {
      if (signal !== undefined) this.#dispatch({ type: "failed", error: abortReason(signal) });
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const end = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    const clock = setInterval(() => {
      this.#dispatch({ type: "tick", nowMs: performance.now(), sentBytes: this.#sentBytes });
    }, TICK_MS);
    this.#perform(this.#first.state, this.#first.effects);
    if (signal?.aborted === true) onAbort();
    try {
      await end;
    } finally {
      clearInterval(clock);
      signal?.removeEventListener("abort", onAbort);
      this.#abort.abort();
      await Promise.allSettled(this.#tasks);
      await this.#feed.close();
    }
    const { retries } = this.#state;
    const { manifest, artifact } = this.#sealed();
    return {
      artifact,
      manifest,
      record: this.#record,
      previous: undefined,
      sentBytes: this.#sentBytes,
      saved: this.#saved(),
      retries,
    };
  }

  #dispatch(event: UploadEvent): void {
    const { state, effects } = nextUpload(this.#state, event);
    this.#perform(state, effects);
  }

  #perform(state: UploadState, effects: readonly UploadEffect[]): void {
    this.#state = state;
    for (const effect of effects) this.#start(effect);
  }

  /** Runs an effect; whatever it throws ends the upload. */
  #task(run: () => Promise<void>): void {
    const task: Promise<void> = run()
      .catch((error: unknown) => this.#dispatch({ type: "failed", error }))
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  #start(effect: UploadEffect): void {
    switch (effect.type) {
      case "read":
        this.#task(async () => this.#read(effect.wantedBytes));
        break;
      case "seal":
        this.#task(async () => this.#seal());
        break;
      case "sign":
        this.#task(async () => this.#sign(effect.ids));
        break;
      case "put":
        this.#task(async () => this.#put(effect.id));
        break;
      case "wait":
        this.#task(async () => this.#wait(effect.id, effect.failures));
        break;
      case "check":
        this.#task(async () => this.#check(effect.id));
        break;
      case "copy":
        this.#task(async () => this.#copy(effect.ids));
        break;
      case "reread":
        this.#task(async () => this.#reread(effect.id));
        break;
      case "release":
        this.#release(effect.id);
        break;
      case "complete":
        this.#task(async () => this.#complete());
        break;
      case "finish":
        this.#settle?.resolve();
        break;
      case "fail":
        this.#settle?.reject(effect.error);
        break;
      default:
        assertNever(effect);
    }
  }

  #part(id: number): ReadPart {
    const part = this.#parts[id];
    if (part === undefined) throw new WaybillError("internal", `no part number ${id}`);
    return part;
  }

  async #read(wantedBytes: number): Promise<void> {
    const wanted = { bytes: wantedBytes, linkBytesPerS: this.#wire.bytesPerS };
    const part = await this.#feed.next(wanted, this.#abort.signal);
    if (this.#state.uncommitted && this.#feed.twin === undefined) {
      this.#dispatch({ type: "committed" });
    }
    if (part === undefined) {
      this.#dispatch({ type: "read-all" });
      return;
    }
    const id = this.#add(part);
    const { size, plainBytes } = part;
    this.#dispatch({ type: "read", id, size, plainBytes, origin: originOf(part) });
  }

  /** Numbers a part; its body is kept until it is released. */
  #add({ body, ...part }: ReadPart): number {
    const id = this.#parts.push(part) - 1;
    if (body !== undefined) this.#bodies.set(id, body);
    return id;
  }

  async #reread(id: number): Promise<void> {
    const { body, ...part } = await this.#feed.again(this.#part(id), this.#abort.signal);
    this.#parts[id] = part;
    if (body !== undefined) this.#bodies.set(id, body);
    this.#dispatch({ type: "reread", id, size: part.size });
  }

  async #seal(): Promise<void> {
    const { sink } = this.#input;
    const stored = this.#feed.stored();
    const manifest = sealManifest(this.#name, this.#layout, this.#feed.files(), stored);
    this.#manifest = manifest;
    const id = artifactId(manifest);
    this.#artifact = id;
    if (this.#state.uncommitted) {
      if (this.#feed.twin === id) this.#record = await sink.adopt(id, this.#options());
      if (this.#record !== undefined) {
        this.#adopted = true;
        this.#dispatch({ type: "adopted" });
        this.#report();
        return;
      }
      this.#dispatch({ type: "committed" });
    }
    const parts = manifestParts(manifest, this.#layout.rule, this.#held);
    this.#manifestBytes = parts.reduce((sum, part) => sum + part.size, 0);
    const sealed = parts.map((part) => {
      return { id: this.#add(part), size: part.size, held: part.held === true };
    });
    this.#dispatch({ type: "sealed", parts: sealed });
  }

  async #sign(ids: readonly number[]): Promise<void> {
    const askedMs = performance.now();
    const wanted = ids.map((id) => {
      const { key, part, size, crc32, plainBytes } = this.#part(id);
      const etag = part === 0 ? this.#replaces.get(key) : undefined;
      return {
        key,
        part,
        size,
        crc32,
        ...(plainBytes === undefined ? {} : { plainBytes }),
        ...(etag === undefined ? {} : { replaces: etag }),
      };
    });
    const { sink } = this.#input;
    const permits = await sink.authorise(wanted, this.#options());
    const byPart = new Map(permits.parts.map((one) => [`${one.part}/${one.key}`, one] as const));
    for (const id of ids) {
      const { key, part } = this.#part(id);
      const permit = byPart.get(`${part}/${key}`);
      if (permit === undefined) {
        throw new WaybillError("storage_failed", `${sink.id} did not sign ${key}`);
      }
      this.#permits.set(id, permit);
    }
    this.#dispatch({ type: "signed", ids, untilMs: askedMs + permits.validForMs });
  }

  async #put(id: number): Promise<void> {
    const body = this.#bodies.get(id)?.bytes;
    const permit = this.#permits.get(id);
    if (body === undefined || permit === undefined) {
      throw new WaybillError("internal", `part ${id} has no body or permit`);
    }
    const startedMs = performance.now();
    let openedMs = startedMs;
    let left = body.length;
    const onSent = (bytes: number) => {
      this.#sentBytes += bytes;
      this.#wire.sent(bytes);
      left -= bytes;
      if (left === 0) this.#dispatch({ type: "handed", id });
      this.#report();
    };
    const maxConnectionAgeMs = connectionAgeOf(this.#state.pace, startedMs);
    this.#wire.began();
    try {
      await this.#input.sink.put(permit, body, {
        ...this.#options(),
        onSent,
        onConnection: ({ openedAtMs }) => {
          openedMs = openedAtMs;
        },
        ...(maxConnectionAgeMs === undefined ? {} : { maxConnectionAgeMs }),
      });
    } catch (error) {
      this.#errors.set(id, error);
      const failure = failureOf(error);
      const nowMs = performance.now();
      this.#dispatch({ type: "put-failed", id, failure, error, startedMs, openedMs, nowMs });
      return;
    } finally {
      this.#wire.ended();
    }
    this.#dispatch({ type: "put", id, startedMs, openedMs, nowMs: performance.now() });
  }

  async #wait(id: number, failures: number): Promise<void> {
    const error = this.#errors.get(id);
    const wished = error instanceof WaybillError ? (error.retryAfterMs ?? 0) : 0;
    const waitMs = Math.max(wished, backoffMs(failures - 1, { capMs: MAX_WAIT_MS }));
    this.#input.onRetry?.(error, waitMs);
    await delay(waitMs, this.#abort.signal);
    this.#dispatch({ type: "waited", id, nowMs: performance.now() });
  }

  /** Something is stored where a body was refused: ours, from a try whose answer was lost, or another. */
  async #check(id: number): Promise<void> {
    const { key, size, crc32 } = this.#part(id);
    const status = await this.#input.sink.status(this.#options());
    const object = status.objects.find((one) => one.key === key);
    const whole = object === undefined ? undefined : heldObject(object).whole;
    if (object?.etag === undefined) this.#replaces.delete(key);
    else this.#replaces.set(key, object.etag);
    const held = whole?.size === size && whole.crc32 === crc32;
    this.#dispatch({ type: "checked", id, held });
  }

  async #copy(ids: readonly number[]): Promise<void> {
    const copies = ids.map((id) => this.#partToCopy(id));
    const answers = await this.#input.sink.copy(copies, this.#options());
    const done = new Set(
      answers.filter(({ copied }) => copied).map(({ key, part }) => `${part}/${key}`),
    );
    const isDone = (id: number) => done.has(`${this.#part(id).part}/${this.#part(id).key}`);
    const refused = ids.filter((id) => !isDone(id));
    this.#dispatch({ type: "copied", ids: ids.filter(isDone), refused });
  }

  #partToCopy(id: number): PartToCopy {
    const { key, part, size, crc32, from } = this.#part(id);
    const artifact = from === undefined ? undefined : this.#bases?.bases[from.base]?.artifact;
    if (from === undefined || artifact === undefined) {
      throw new WaybillError("internal", `part ${id} has no base`);
    }
    return { key, part, size, crc32, from: { artifact, key: from.key, start: from.start } };
  }

  #release(id: number): void {
    this.#bodies.get(id)?.release();
    this.#bodies.delete(id);
    this.#permits.delete(id);
    this.#errors.delete(id);
    this.#report();
  }

  async #complete(): Promise<void> {
    const { artifact } = this.#sealed();
    this.#record = await this.#input.sink.complete(artifact, this.#joined(), this.#options());
    this.#dispatch({ type: "completed" });
  }

  #sealed(): { readonly manifest: ArtifactManifest; readonly artifact: ArtifactId } {
    const manifest = this.#manifest;
    const artifact = this.#artifact;
    if (manifest === undefined || artifact === undefined) {
      throw new WaybillError("internal", "upload without manifest");
    }
    return { manifest, artifact };
  }

  /** Every part of every object, but of those that were joined already and cannot be compared. */
  #joined(): JoinedObject[] {
    const objects = new Map<string, { part: number; crc32: string }[]>();
    for (const { key, part, crc32 } of this.#parts) {
      const held = this.#held.get(key);
      if (held?.joined === true && held.comparable !== true) continue;
      const parts = objects.get(key) ?? [];
      parts.push({ part, crc32 });
      objects.set(key, parts);
    }
    return [...objects].map(([key, parts]) => ({ key, parts }));
  }

  #options(): { readonly signal: AbortSignal } {
    return { signal: this.#abort.signal };
  }

  #saved(): SavedBytes {
    const { heldBytes, copiedBytes, compressedBytes } = this.#state;
    const { bytes } = this.#input.scan;
    if (this.#adopted) return { held: 0, copied: 0, identical: bytes, compressed: 0 };
    return {
      held: Math.min(heldBytes, bytes),
      copied: copiedBytes,
      identical: 0,
      compressed: compressedBytes,
    };
  }

  #report(): void {
    if (this.#input.onProgress === undefined) return;
    const { confirmedBytes, pace, retries, slots } = this.#state;
    let inFlight = 0;
    for (const { stage } of slots.values()) {
      if (stage === "putting" || stage === "handed") inFlight += 1;
    }
    const total = this.#input.scan.bytes + this.#manifestBytes;
    this.#input.onProgress({
      bytes: this.#adopted ? total : confirmedBytes,
      total,
      sentBytes: this.#sentBytes,
      bytesPerS: pace.bytesPerS,
      saved: this.#saved(),
      retries,
      inFlight,
      partBytes: pace.partBytes,
    });
  }
}

function isWhole(held: HeldObject | undefined): boolean {
  return held !== undefined && (held.joined || held.whole !== undefined);
}

function originOf({ body, held, from }: ReadPart): "body" | "held" | "copy" | "unread" {
  if (body !== undefined) return "body";
  if (held === true) return "held";
  return from === undefined ? "unread" : "copy";
}

function failureOf(error: unknown): PutFailure {
  if (isAbort(error) || !(error instanceof WaybillError) || !error.retryable) return "final";
  if (error.code === "url_expired") return "expired";
  if (error.code === "precondition_failed") return "taken";
  return error.code === "unreachable" ? "reset" : "busy";
}
