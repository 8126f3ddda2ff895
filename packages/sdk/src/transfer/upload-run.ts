// Performs the effects of the upload machine: reads, signs, puts, copies, waits, completes. Decides nothing.
import { artifactId } from "../artifact/index.ts";
import {
  type ArtifactId,
  type ArtifactManifest,
  type ArtifactRecord,
  type UploadStatus,
  WaybillError,
  assertNever,
  isAbort,
} from "../protocol/index.ts";
import { abortReason, backoffMs, delay } from "../timing/index.ts";
import type { HeldObject } from "./held-parts.ts";
import { manifestParts, sealManifest } from "./manifest-parts.ts";
import type { MatchBases } from "./matching-reader.ts";
import type { PartFeed, ReadPart } from "./part-reader.ts";
import type { SavedBytes, UploadInput, UploadOutcome } from "./upload-input.ts";
import { connectionAgeOf } from "./upload-pace.ts";
import { UploadParts } from "./upload-parts.ts";
import type { TreeLayout } from "./upload-plan.ts";
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

/** The link is measured this often. */
const TICK_MS = 250;
/** Waits between tries of one part grow to this. */
const MAX_WAIT_MS = 5000;

/** What is known when the parts begin to travel. */
export type BegunUpload = {
  /** The session's: the same bytes have the same manifest then, whoever pushes them and whatever they call them. */
  readonly name: UploadStatus["name"];
  readonly layout: TreeLayout;
  readonly held: ReadonlyMap<string, HeldObject>;
  readonly feed: PartFeed;
  readonly bases: MatchBases | undefined;
  /** Milliseconds of a round trip, roughly. */
  readonly pathMs: number;
};

export class UploadRun {
  readonly #input: UploadInput;
  readonly #name: UploadStatus["name"];
  readonly #layout: TreeLayout;
  readonly #held: ReadonlyMap<string, HeldObject>;
  readonly #feed: PartFeed;
  readonly #bases: MatchBases | undefined;
  readonly #abort = new AbortController();
  readonly #parts: UploadParts;
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

  constructor(input: UploadInput, { name, layout, held, feed, bases, pathMs }: BegunUpload) {
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
    this.#parts = new UploadParts(held);
  }

  /** Throws what ended it early. To be called once. */
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
    // Unless all may be there already.
    if (!this.#first.state.uncommitted) this.#expectBodies(this.#first.state);
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

  /** Connections are opened while permits are asked for. */
  #expectBodies({ pace, totalBytes }: UploadState): void {
    const bodies = Math.max(1, Math.ceil(totalBytes / pace.partBytes));
    this.#input.sink.expect?.(Math.min(pace.window, bodies));
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
    const id = this.#parts.add(part);
    const { size, plainBytes } = part;
    this.#dispatch({ type: "read", id, size, plainBytes, origin: originOf(part) });
  }

  async #reread(id: number): Promise<void> {
    const part = await this.#feed.again(this.#parts.get(id), this.#abort.signal);
    this.#parts.replace(id, part);
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
      return { id: this.#parts.add(part), size: part.size, held: part.held === true };
    });
    this.#dispatch({ type: "sealed", parts: sealed });
  }

  async #sign(ids: readonly number[]): Promise<void> {
    const askedMs = performance.now();
    const { sink } = this.#input;
    const wanted = ids.map((id) => this.#parts.toSign(id));
    const permits = await sink.authorise(wanted, this.#options());
    this.#parts.permit(ids, permits, sink.id);
    const untilMs = askedMs + permits.validForMs;
    this.#dispatch({ type: "signed", ids, untilMs, pathMs: sink.tripMs });
  }

  async #put(id: number): Promise<void> {
    const { body, permit } = this.#parts.toPut(id);
    const startedMs = performance.now();
    let openedMs: number | undefined;
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
      this.#parts.failed(id, error);
      const failure = failureOf(error);
      const nowMs = performance.now();
      // One that was never open tells nothing of the age at which connections are cut.
      const times = { startedMs, openedMs: openedMs ?? nowMs, nowMs };
      this.#dispatch({ type: "put-failed", id, failure, error, ...times });
      return;
    } finally {
      this.#wire.ended();
    }
    const times = { startedMs, openedMs: openedMs ?? startedMs, nowMs: performance.now() };
    this.#dispatch({ type: "put", id, ...times });
  }

  async #wait(id: number, failures: number): Promise<void> {
    const error = this.#parts.errorOf(id);
    const wished = error instanceof WaybillError ? (error.retryAfterMs ?? 0) : 0;
    const waitMs = Math.max(wished, backoffMs(failures - 1, { capMs: MAX_WAIT_MS }));
    this.#input.onRetry?.(error, waitMs);
    await delay(waitMs, this.#abort.signal);
    this.#dispatch({ type: "waited", id, nowMs: performance.now() });
  }

  /** Something is stored where a body was refused: ours, from a try whose answer was lost, or another. */
  async #check(id: number): Promise<void> {
    const status = await this.#input.sink.status(this.#options());
    this.#dispatch({ type: "checked", id, held: this.#parts.isStored(id, status) });
  }

  async #copy(ids: readonly number[]): Promise<void> {
    const copies = ids.map((id) => this.#parts.toCopy(id, this.#bases));
    const answers = await this.#input.sink.copy(copies, this.#options());
    this.#dispatch({ type: "copied", ...this.#parts.sortCopied(ids, answers) });
  }

  #release(id: number): void {
    this.#parts.release(id);
    this.#report();
  }

  async #complete(): Promise<void> {
    const { artifact } = this.#sealed();
    this.#record = await this.#input.sink.complete(artifact, this.#parts.joined(), this.#options());
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
      compressed: Math.max(0, compressedBytes),
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
