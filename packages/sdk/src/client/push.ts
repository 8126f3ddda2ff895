// Push: a folder or file of this machine becomes an artifact of a room. Composes the scan, the upload
// machine, the hub's upload sessions and presigned PUTs.
import { type TreeScan, contentFingerprint, planLayout, scanTree } from "../artifact/index.ts";
import { type Compress, chooseEncoded } from "../compression/index.ts";
import type { HubClient } from "../hub-client/index.ts";
import { type ByteTransport, createByteTransport } from "../platform/index.ts";
import {
  type ArtifactId,
  type ArtifactManifest,
  ArtifactName,
  type ArtifactRecord,
  type RoomId,
  type UploadPlan,
  type UploadPurpose,
  WaybillError,
  decodeValue,
} from "../protocol/index.ts";
import {
  JoinedUnseen,
  type Sink,
  type SavedBytes,
  type UploadOutcome,
  type UploadProgress,
  layOutTree,
  runUpload,
} from "../transfer/index.ts";
import { HubSink } from "./hub-sink.ts";
import { findBases } from "./push-bases.ts";
import { type BeforeRestart, NOTHING_BEFORE, savedSince, withRun } from "./push-savings.ts";

/** The part of a hub client that transfers need. */
export type HubCalls = Pick<HubClient, "call"> & Partial<Pick<HubClient, "tripMs">>;

/**
 * Where a push goes; whether its completion was refused: then what is missing is sent; and the artifact that was to be
 * completed.
 */
type PushSink = Sink & {
  readonly refused: boolean;
  readonly artifact: ArtifactId | undefined;
};

export type PushOptions = {
  readonly room: RoomId;
  /** Folder or file. */
  readonly path: string;
  /** 1–128 printable characters; how people will ask for it. */
  readonly name: string;
  /** Default: a dataset that expires with the upload's TTL. */
  readonly purpose?: UploadPurpose;
  /** A scan of `path` made before, to save the time; files that changed since end with `source_changed`. */
  readonly scan?: TreeScan;
  readonly signal?: AbortSignal | undefined;
  /** Bytes confirmed, all bytes, bytes put on the wire and saved, the link's pace. Called often. */
  readonly onProgress?: (progress: UploadProgress) => void;
  readonly onRetry?: (error: unknown, waitMs: number) => void;
  /** How long hub and store may be away before the push gives up. Default 10 minutes. */
  readonly retryForMs?: number;
  /** Bodies in flight at most; the link decides how many below that. Default: no bound of the caller's. */
  readonly concurrency?: number;
  /**
   * Whether what the room holds already is copied by the store instead of sent (default), for pushes of 8 MiB
   * and more.
   */
  readonly dedupe?: boolean;
  /**
   * Whether objects are stored as zstd frames: what shrinks by samples (`auto`, the default for datasets), everything,
   * or nothing (the default for models, which other programs read by themselves). A push that goes on keeps to what it
   * began with. Browsers send plain bytes.
   */
  readonly compress?: Compress;
  /** An artifact of the room to compare with first, such as the parent of a model. */
  readonly base?: ArtifactId | undefined;
  /** Puts something of the caller's in the way to the room, such as segments that others can read. */
  readonly wrapSink?: (sink: HubSink) => PushSink;
  /** Bulk HTTP to use; one of its own when absent. */
  readonly transport?: ByteTransport;
};

export type PushResult = {
  readonly artifact: ArtifactId;
  readonly files: number;
  readonly bytes: number;
  /** Body bytes this call put on the wire, resends and the manifest included. */
  readonly sentBytes: number;
  /** Bytes that did not have to be sent: the sum of `saved`. */
  readonly savedBytes: number;
  /** By reason: an earlier run had sent them, the store copied them, the room had the whole artifact, compression. */
  readonly saved: SavedBytes;
  /** Bodies that had to be sent again. */
  readonly retries: number;
  readonly seconds: number;
  readonly warnings: readonly string[];
  readonly record: ArtifactRecord | undefined;
  readonly manifest: ArtifactManifest;
};

const DEFAULT_RETRY_MS = 600_000;
/** An upload that is dropped under us (expired, swept, aborted) or not whole in the end is begun again this often. */
const MAX_RESTARTS = 3;

/**
 * Pushes a tree. Resumes what an earlier push of the same files left in the store, whatever happened to it and
 * on whatever machine. Throws `local_io`, `unsafe_path`, `source_changed` (this machine), `storage_full`,
 * `unreachable` (after `retryForMs`), `forbidden` and the like (the hub), or the signal's reason.
 *
 * @example
 * const { artifact } = await pushArtifact(hub, { room, path: "./data", name: "digits" });
 */
export async function pushArtifact(hub: HubCalls, options: PushOptions): Promise<PushResult> {
  const startMs = performance.now();
  const name = decodeValue(ArtifactName, options.name, `the name ${JSON.stringify(options.name)}`);
  const scan = options.scan ?? (await scanTree(options.path, { signal: options.signal }));
  const transport = options.transport ?? createByteTransport();
  try {
    const push = new Push(hub, { ...options, name }, scan, transport);
    const { artifact, record, saved, manifest } = await push.run();
    return {
      artifact,
      files: scan.files.length,
      bytes: scan.bytes,
      sentBytes: push.sentBytes,
      savedBytes: Math.min(
        scan.bytes,
        saved.held + saved.copied + saved.identical + saved.compressed,
      ),
      saved,
      retries: push.retries,
      seconds: (performance.now() - startMs) / 1000,
      warnings: scan.warnings,
      record,
      manifest,
    };
  } finally {
    if (options.transport === undefined) transport.close();
  }
}

class Push {
  /** Of all runs. */
  sentBytes = 0;
  retries = 0;
  readonly #hub: HubCalls;
  readonly #options: PushOptions & { readonly name: ArtifactName };
  readonly #scan: TreeScan;
  readonly #transport: ByteTransport;
  readonly #retryForMs: number;
  readonly #purpose: UploadPurpose;
  #before: BeforeRestart = NOTHING_BEFORE;

  constructor(
    hub: HubCalls,
    options: PushOptions & { readonly name: ArtifactName },
    scan: TreeScan,
    transport: ByteTransport,
  ) {
    this.#hub = hub;
    this.#options = options;
    this.#scan = scan;
    this.#transport = transport;
    this.#retryForMs = options.retryForMs ?? DEFAULT_RETRY_MS;
    this.#purpose = options.purpose ?? { kind: "dataset", keep: false };
  }

  async run(): Promise<UploadOutcome> {
    const plan = await this.#plan();
    let salt = "";
    const saltWith = (more: string) => {
      salt = `${salt}${more}`;
      this.#before = NOTHING_BEFORE;
    };
    let refusals = 0;
    for (let restarts = 0; ; restarts++) {
      const sink = this.#sink();
      try {
        // A base whose copies led nowhere is no help the second time.
        const dedupe = restarts < 2 && this.#options.dedupe !== false;
        const outcome = await this.#once(await this.#fingerprinted(plan, salt), sink, dedupe);
        if (outcome.previous === undefined) return outcome;
        if (outcome.previous === outcome.artifact) {
          const { signal = new AbortController().signal } = this.#options;
          return { ...outcome, record: await sink.complete(outcome.artifact, [], { signal }) };
        }
        // Other bytes where no sample lies: an upload of its own.
        saltWith(outcome.artifact);
      } catch (error) {
        if (restarts < MAX_RESTARTS && error instanceof JoinedUnseen) {
          saltWith("joined");
          continue;
        }
        const isGone = isDropped(error);
        if (restarts >= MAX_RESTARTS || !(sink.refused || isGone || isCompleted(error))) {
          throw error;
        }
        this.#options.onRetry?.(error, 0);
        if (isGone) this.#before = NOTHING_BEFORE;
        if (!sink.refused) continue;
        refusals += 1;
        // Refused again: somebody else may be putting other bytes into the same upload.
        if (refusals === 2 && sink.artifact !== undefined) saltWith(sink.artifact);
      }
    }
  }

  async #plan(): Promise<Omit<UploadPlan, "fingerprint">> {
    const { name, signal } = this.#options;
    const purpose = this.#purpose;
    const { compress = purpose.kind === "model" ? "never" : "auto" } = this.#options;
    const planned = planLayout(this.#scan.files);
    const isEncoded = await chooseEncoded(this.#scan, planned, compress, signal);
    const { layout, shardBytes, objects, rule } = layOutTree(this.#scan, isEncoded);
    const { unitBytes } = rule;
    const { bytes } = this.#scan;
    return { name, purpose, layout, shardBytes, unitBytes, bytes, objects: [...objects] };
  }

  async #fingerprinted(plan: Omit<UploadPlan, "fingerprint">, salt: string): Promise<UploadPlan> {
    const identity = { purpose: this.#purpose, salt };
    const fingerprint = await contentFingerprint(this.#scan, identity, this.#options.signal);
    return { ...plan, fingerprint };
  }

  async #once(plan: UploadPlan, sink: PushSink, dedupe: boolean): Promise<UploadOutcome> {
    const { signal, onRetry, concurrency, compress } = this.#options;
    const earlier = { sentBytes: this.sentBytes, retries: this.retries };
    const before = this.#before;
    const onProgress = (progress: UploadProgress) => {
      this.sentBytes = earlier.sentBytes + progress.sentBytes;
      this.retries = earlier.retries + progress.retries;
      this.#before = withRun(before, progress);
      const { sentBytes, retries } = this;
      const saved = savedSince(before, progress.saved);
      this.#options.onProgress?.({ ...progress, sentBytes, retries, saved });
    };
    const outcome = await runUpload({
      scan: this.#scan,
      plan,
      sink,
      findBases: dedupe ? async (stop) => this.#findBases(plan, stop) : undefined,
      retryForMs: this.#retryForMs,
      concurrency,
      alwaysCompress: compress === "always",
      signal,
      onProgress,
      onRetry,
    });
    return { ...outcome, saved: savedSince(before, outcome.saved) };
  }

  #findBases({ name, purpose }: UploadPlan, signal: AbortSignal): ReturnType<typeof findBases> {
    return findBases({
      hub: this.#hub,
      room: this.#options.room,
      transport: this.#transport,
      scan: this.#scan,
      name,
      base: this.#options.base,
      adopts: purpose.kind === "dataset",
      retryForMs: this.#retryForMs,
      signal,
    });
  }

  #sink(): PushSink {
    const sink = new HubSink({
      hub: this.#hub,
      room: this.#options.room,
      transport: this.#transport,
      purpose: this.#purpose,
      name: this.#options.name,
      retryForMs: this.#retryForMs,
      onRetry: this.#options.onRetry,
    });
    return this.#options.wrapSink?.(sink) ?? sink;
  }
}

/** Somebody else has completed the session meanwhile: with the same bytes or others. */
function isCompleted(error: unknown): boolean {
  return error instanceof WaybillError && error.code === "upload_completed";
}

/** The session is gone: aborted, expired or swept. */
function isDropped(error: unknown): boolean {
  return error instanceof WaybillError && (error.code === "not_found" || error.code === "expired");
}
