// Performs the effects of the upload machine: reads, signs, puts, waits, completes. Decides nothing.
import { type TreeScan, artifactId, manifestPieces } from "../artifact/index.ts";
import {
  ARTIFACT_FORMAT_VERSION,
  type ArtifactManifest,
  type ArtifactRecord,
  LIMITS,
  MANIFEST_KEY,
  type SignedPart,
  type UploadPlan,
  WaybillError,
  assertNever,
  isAbort,
} from "../protocol/index.ts";
import { abortReason, backoffMs, delay } from "../timing/index.ts";
import { crc32 } from "../platform/index.ts";
import { PartReader, type ReadPart, crc32Base64 } from "./part-reader.ts";
import type { JoinedObject, Sink } from "./sink.ts";
import { type PlannedPart, type TreeLayout, partsOf } from "./upload-plan.ts";
import {
  type PutFailure,
  type UploadEffect,
  type UploadEvent,
  type UploadState,
  type UploadStep,
  beginUpload,
  nextUpload,
} from "./upload-state.ts";

export type UploadProgress = {
  /** Bytes of the artifact that are confirmed (manifest included). */
  readonly bytes: number;
  /** All bytes; grows by the manifest's when it is known. */
  readonly total: number;
  /** Body bytes put on the wire, resends included. */
  readonly sentBytes: number;
};

export type UploadInput = {
  readonly scan: TreeScan;
  readonly layout: TreeLayout;
  readonly plan: UploadPlan;
  readonly sink: Sink;
  /** A part that fails is tried again for this long. */
  readonly retryForMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: UploadProgress) => void) | undefined;
  /** Told of waits, for logs. */
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
};

export type UploadOutcome = {
  readonly manifest: ArtifactManifest;
  /** What the sink recorded; undefined when it had completed this upload before, with `previous`. */
  readonly record: ArtifactRecord | undefined;
  /** The artifact an earlier run of the same upload completed. */
  readonly previous: string | undefined;
  readonly sentBytes: number;
  readonly savedBytes: number;
};

/**
 * Uploads a tree. Reads it once, in order, beginning before the sink has answered. Throws what the sink or
 * the file system throws; `not_found` or `expired` when the upload was dropped meanwhile (begin again).
 */
export function runUpload(input: UploadInput): Promise<UploadOutcome> {
  return new UploadRun(input).run();
}

class UploadRun {
  readonly #input: UploadInput;
  readonly #reader: PartReader;
  readonly #abort = new AbortController();
  readonly #bodies = new Map<number, ReadPart>();
  readonly #permits = new Map<number, SignedPart>();
  readonly #crcs: string[] = [];
  readonly #errors = new Map<number, unknown>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #first: UploadStep;
  #state: UploadState;
  #sentBytes = 0;
  #manifest: ArtifactManifest | undefined;
  #manifestParts: readonly Uint8Array[] = [];
  #manifestBytes = 0;
  #record: ArtifactRecord | undefined;
  #previous: string | undefined;
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined;

  constructor(input: UploadInput) {
    this.#input = input;
    this.#reader = new PartReader(input.scan, input.layout);
    const { layout, retryForMs } = input;
    this.#first = beginUpload(layout.parts, { limits: layout.limits, retryForMs });
    this.#state = this.#first.state;
  }

  async run(): Promise<UploadOutcome> {
    const { signal } = this.#input;
    signal?.throwIfAborted();
    const onAbort = () => {
      if (signal !== undefined) this.#dispatch({ type: "failed", error: abortReason(signal) });
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const end = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#task(async () => this.#begin());
    this.#perform(this.#first.state, this.#first.effects);
    try {
      await end;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#abort.abort();
      await Promise.allSettled(this.#tasks);
      await this.#reader.close();
    }
    if (this.#manifest === undefined) throw new WaybillError("internal", "upload without manifest");
    return {
      manifest: this.#manifest,
      record: this.#record,
      previous: this.#previous,
      sentBytes: this.#sentBytes,
      savedBytes: this.#state.savedBytes,
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
        this.#task(async () => this.#read(effect.index));
        break;
      case "seal":
        this.#task(async () => this.#seal());
        break;
      case "sign":
        this.#task(async () => this.#sign(effect.indexes));
        break;
      case "put":
        this.#task(async () => this.#put(effect.index));
        break;
      case "wait":
        this.#task(async () => this.#wait(effect.index, effect.failures));
        break;
      case "release":
        this.#release(effect.index);
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

  async #begin(): Promise<void> {
    const { sink, plan } = this.#input;
    const status = await sink.begin(plan, { signal: this.#abort.signal });
    if (status.state === "completed") this.#previous = status.artifact;
    this.#dispatch({ type: "began", status });
  }

  #part(index: number): PlannedPart {
    const part = this.#state.parts[index];
    if (part === undefined) throw new WaybillError("internal", `no part number ${index}`);
    return part;
  }

  async #read(index: number): Promise<void> {
    const part = this.#part(index);
    const read =
      part.key === MANIFEST_KEY && index >= this.#input.layout.parts.length
        ? this.#manifestPart(part)
        : await this.#reader.read(part, this.#abort.signal);
    this.#bodies.set(index, read);
    this.#crcs[index] = read.crc32;
    this.#dispatch({ type: "read", index, crc32: read.crc32 });
  }

  #manifestPart(part: PlannedPart): ReadPart {
    const body = this.#manifestParts[Math.max(0, part.part - 1)] ?? new Uint8Array(0);
    return { body, crc32: crc32Base64(crc32(body)), release: () => undefined };
  }

  async #seal(): Promise<void> {
    const { layout, plan } = this.#input;
    this.#manifest = {
      format: ARTIFACT_FORMAT_VERSION,
      name: plan.name,
      layout: layout.layout,
      shardBytes: layout.shardBytes,
      files: this.#reader.files(),
    };
    this.#manifestParts = [...inParts(manifestPieces(this.#manifest), layout.partBytes)];
    const size = this.#manifestParts.reduce((sum, part) => sum + part.length, 0);
    if (size > LIMITS.manifestBytes) {
      throw new WaybillError("too_large", `the manifest would have ${size} bytes`, {
        hint: "push the tree in several artifacts",
      });
    }
    this.#manifestBytes = size;
    const parts = partsOf({ key: MANIFEST_KEY, size }, layout.partBytes);
    this.#dispatch({ type: "sealed", parts });
  }

  async #sign(indexes: readonly number[]): Promise<void> {
    const wanted = indexes.map((index) => {
      const { key, part, size } = this.#part(index);
      return { key, part, size, crc32: this.#crcs[index] ?? "" };
    });
    const permits = await this.#input.sink.authorise(wanted, { signal: this.#abort.signal });
    const byPart = new Map(permits.map((permit) => [`${permit.part}/${permit.key}`, permit]));
    for (const index of indexes) {
      const { key, part } = this.#part(index);
      const permit = byPart.get(`${part}/${key}`);
      if (permit === undefined) {
        throw new WaybillError("storage_failed", `${this.#input.sink.id} did not sign ${key}`);
      }
      this.#permits.set(index, permit);
    }
    this.#dispatch({ type: "signed", indexes });
  }

  async #put(index: number): Promise<void> {
    const body = this.#bodies.get(index)?.body;
    const permit = this.#permits.get(index);
    if (body === undefined || permit === undefined) {
      throw new WaybillError("internal", `part ${index} has no body or permit`);
    }
    const onSent = (bytes: number) => {
      this.#sentBytes += bytes;
      this.#report();
    };
    try {
      await this.#input.sink.put(permit, body, { signal: this.#abort.signal, onSent });
    } catch (error) {
      this.#errors.set(index, error);
      const failure = failureOf(error);
      this.#dispatch({ type: "put-failed", index, failure, error, nowMs: performance.now() });
      return;
    }
    this.#dispatch({ type: "put", index });
  }

  async #wait(index: number, failures: number): Promise<void> {
    const waitMs = backoffMs(failures - 1, { capMs: 5000 });
    this.#input.onRetry?.(this.#errors.get(index), waitMs);
    await delay(waitMs, this.#abort.signal);
    this.#dispatch({ type: "waited", index });
  }

  #release(index: number): void {
    this.#bodies.get(index)?.release();
    this.#bodies.delete(index);
    this.#permits.delete(index);
    this.#report();
  }

  async #complete(): Promise<void> {
    if (this.#previous === undefined) {
      const { sink } = this.#input;
      const signal = this.#abort.signal;
      const id = artifactId(this.#sealed());
      this.#record = await sink.complete(id, this.#joinedObjects(), { signal });
    }
    this.#dispatch({ type: "completed" });
  }

  #sealed(): ArtifactManifest {
    if (this.#manifest === undefined) throw new WaybillError("internal", "upload without manifest");
    return this.#manifest;
  }

  #joinedObjects(): JoinedObject[] {
    const objects = new Map<string, string[]>();
    for (const [index, { key, part }] of this.#state.parts.entries()) {
      if (part === 0) continue;
      const parts = objects.get(key) ?? [];
      parts.push(this.#crcs[index] ?? "");
      objects.set(key, parts);
    }
    return [...objects].map(([key, parts]) => ({ key, parts }));
  }

  #report(): void {
    this.#input.onProgress?.({
      bytes: this.#state.confirmedBytes,
      total: this.#input.scan.bytes + this.#manifestBytes,
      sentBytes: this.#sentBytes,
    });
  }
}

function failureOf(error: unknown): PutFailure {
  if (isAbort(error) || !(error instanceof WaybillError) || !error.retryable) return "final";
  return error.code === "url_expired" ? "expired" : "passing";
}

/** Gathers pieces into bodies of exactly `partBytes`, the last one shorter. */
function* inParts(pieces: Iterable<Uint8Array>, partBytes: number): Generator<Uint8Array> {
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  for (let piece of pieces) {
    while (bytes + piece.length >= partBytes) {
      const fitting = piece.subarray(0, partBytes - bytes);
      yield joined([...waiting, fitting], partBytes);
      piece = piece.subarray(fitting.length);
      waiting = [];
      bytes = 0;
    }
    waiting.push(piece);
    bytes += piece.length;
  }
  if (bytes > 0) yield joined(waiting, bytes);
}

function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
