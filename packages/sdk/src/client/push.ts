// Push: a folder or file of this machine becomes an artifact of a room. Composes the scan, the upload
// machine, the hub's upload sessions and presigned PUTs.
import { type TreeScan, artifactId, scanTree } from "../artifact/index.ts";
import type { HubClient } from "../hub-client/index.ts";
import { type ByteTransport, createByteTransport, createHasher } from "../platform/index.ts";
import {
  type ArtifactId,
  ArtifactName,
  type ArtifactRecord,
  Digest,
  type RoomId,
  type UploadId,
  type UploadPlan,
  type UploadPurpose,
  WaybillError,
  decodeValue,
} from "../protocol/index.ts";
import { createPresignedPut } from "../s3/index.ts";
import {
  type Sink,
  type TreeLayout,
  type UploadOutcome,
  type UploadProgress,
  layOutTree,
  runUpload,
} from "../transfer/index.ts";

/** The part of a hub client that transfers need. */
export type HubCalls = Pick<HubClient, "call">;

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
  /** Bytes confirmed, all bytes, and bytes put on the wire. Called often. */
  readonly onProgress?: (progress: UploadProgress) => void;
  readonly onRetry?: (error: unknown, waitMs: number) => void;
  /** How long hub and store may be away before the push gives up. Default 10 minutes. */
  readonly retryForMs?: number;
  /** Parts in flight at most (default 4; fewer for small pushes, so that a kill costs less than 2 %). */
  readonly concurrency?: number;
  /** Bulk HTTP to use; one of its own when absent. */
  readonly transport?: ByteTransport;
};

export type PushResult = {
  readonly artifact: ArtifactId;
  readonly files: number;
  readonly bytes: number;
  /** Body bytes this call put on the wire, resends and the manifest included. */
  readonly sentBytes: number;
  /** Bytes that did not have to be sent, because the store held them. */
  readonly savedBytes: number;
  readonly seconds: number;
  readonly warnings: readonly string[];
  readonly record: ArtifactRecord | undefined;
};

const DEFAULT_RETRY_MS = 600_000;
/** An upload that is dropped under us (expired, swept, aborted) is begun again this often. */
const MAX_RESTARTS = 3;

/**
 * Pushes a tree. Resumes what an earlier push of the same tree left in the store, whatever happened to it.
 * Throws `local_io`, `unsafe_path`, `source_changed` (this machine), `storage_full`, `unreachable` (after
 * `retryForMs`), `forbidden` and the like (the hub), or the signal's reason.
 *
 * @example
 * const { artifact } = await pushArtifact(hub, { room, path: "./data", name: "digits" });
 */
export async function pushArtifact(hub: HubCalls, options: PushOptions): Promise<PushResult> {
  const startMs = performance.now();
  const name = decodeValue(ArtifactName, options.name, `the name ${JSON.stringify(options.name)}`);
  const scan = options.scan ?? (await scanTree(options.path, { signal: options.signal }));
  const concurrency = options.concurrency === undefined ? {} : { concurrency: options.concurrency };
  const layout = layOutTree(scan, concurrency);
  const transport = options.transport ?? createByteTransport();
  try {
    const push = new Push(hub, { ...options, name }, scan, layout, transport);
    const { outcome, id } = await push.run();
    return {
      artifact: id,
      files: scan.files.length,
      bytes: scan.bytes,
      sentBytes: push.sentBytes,
      savedBytes: Math.min(outcome.savedBytes, scan.bytes),
      seconds: (performance.now() - startMs) / 1000,
      warnings: scan.warnings,
      record: outcome.record,
    };
  } finally {
    if (options.transport === undefined) transport.close();
  }
}

class Push {
  sentBytes = 0;
  readonly #hub: HubCalls;
  readonly #options: PushOptions & { readonly name: ArtifactName };
  readonly #scan: TreeScan;
  readonly #layout: TreeLayout;
  readonly #transport: ByteTransport;
  readonly #retryForMs: number;

  constructor(
    hub: HubCalls,
    options: PushOptions & { readonly name: ArtifactName },
    scan: TreeScan,
    layout: TreeLayout,
    transport: ByteTransport,
  ) {
    this.#hub = hub;
    this.#options = options;
    this.#scan = scan;
    this.#layout = layout;
    this.#transport = transport;
    this.#retryForMs = options.retryForMs ?? DEFAULT_RETRY_MS;
  }

  async run(): Promise<{ outcome: UploadOutcome; id: ArtifactId }> {
    let salt = "";
    for (let restarts = 0; ; restarts++) {
      try {
        const outcome = await this.#once(salt);
        const id = artifactId(outcome.manifest);
        if (outcome.previous === undefined || outcome.previous === id) return { outcome, id };
        // Same paths, sizes and times, other bytes: an upload of its own.
        salt = id;
      } catch (error) {
        const dropped =
          error instanceof WaybillError && (error.code === "not_found" || error.code === "expired");
        if (!dropped || restarts >= MAX_RESTARTS) throw error;
        this.#options.onRetry?.(error, 0);
      }
    }
  }

  async #once(salt: string): Promise<UploadOutcome> {
    const before = this.sentBytes;
    const onProgress = (progress: UploadProgress) => {
      this.sentBytes = before + progress.sentBytes;
      this.#options.onProgress?.({ ...progress, sentBytes: this.sentBytes });
    };
    const { signal, onRetry } = this.#options;
    return runUpload({
      scan: this.#scan,
      layout: this.#layout,
      plan: this.#plan(salt),
      sink: this.#sink(),
      retryForMs: this.#retryForMs,
      signal,
      onProgress,
      onRetry,
    });
  }

  #plan(salt: string): UploadPlan {
    const { name, purpose = { kind: "dataset", keep: false } } = this.#options;
    const { layout, partBytes, objects } = this.#layout;
    return {
      fingerprint: fingerprintOf(this.#scan, this.#layout, { name, purpose, salt }),
      name,
      purpose,
      layout,
      bytes: this.#scan.bytes,
      partBytes,
      objects: [...objects],
    };
  }

  /** The hub keeps the account and signs; the bytes go to the store. */
  #sink(): Sink {
    const { room } = this.#options;
    const retryForMs = this.#retryForMs;
    let upload: UploadId | undefined;
    const inUpload = () => {
      if (upload === undefined) throw new WaybillError("internal", "upload was not begun");
      return { room, upload };
    };
    return {
      id: `room ${room}`,
      begin: async (plan, { signal }) => {
        const input = { params: { room }, body: plan };
        const { status } = await this.#hub.call("beginUpload", input, { signal, retryForMs });
        upload = status.upload;
        return status;
      },
      authorise: async (parts, { signal }) => {
        const input = { params: inUpload(), body: { parts: [...parts] } };
        const signed = await this.#hub.call("signParts", input, { signal, retryForMs });
        return signed.parts;
      },
      put: createPresignedPut(this.#transport),
      complete: async (artifact, objects, { signal }) => {
        const body = {
          artifact,
          objects: objects.map(({ key, parts }) => ({ key, parts: [...parts] })),
        };
        const input = { params: inUpload(), body };
        return this.#hub.call("completeUpload", input, { signal, retryForMs });
      },
    };
  }
}

/** What identifies a push before its bytes are read: paths, sizes, times, layout, name, purpose, salt. */
function fingerprintOf(
  scan: TreeScan,
  { layout, shardBytes, partBytes }: TreeLayout,
  identity: { readonly name: string; readonly purpose: UploadPurpose; readonly salt: string },
): Digest {
  const hasher = createHasher();
  const head = JSON.stringify({ ...identity, layout, shardBytes, partBytes });
  hasher.update(new TextEncoder().encode(`${head}\n`));
  let lines: string[] = [];
  const flush = () => {
    hasher.update(new TextEncoder().encode(lines.join("")));
    lines = [];
  };
  for (const { path, size, mtimeMs, executable } of scan.files) {
    lines.push(`${JSON.stringify([path, size, Math.floor(mtimeMs), executable])}\n`);
    if (lines.length >= 1024) flush();
  }
  flush();
  return decodeValue(Digest, hasher.digestHex(), "a fingerprint");
}
