// Pull: an artifact of a room becomes a folder of this machine. Composes the hub's records and signed reads,
// the store as a source, whatever other sources the caller has, and the download machine.
import { decodeManifest } from "../artifact/index.ts";
import { type ByteTransport, createByteTransport, files } from "../platform/index.ts";
import {
  type ArtifactId,
  type ArtifactManifest,
  ArtifactName,
  type ArtifactRecord,
  MANIFEST_KEY,
  type RoomId,
  WaybillError,
  decodeValue,
} from "../protocol/index.ts";
import { RangeReader, S3Source, type SignReads, readKeys, readManifest } from "../s3/index.ts";
import {
  type PullProgress,
  type SourceFactory,
  type SourceKind,
  localTree,
  pullTree,
} from "../transfer/index.ts";
import type { HubCalls } from "./push.ts";

export type PullOptions = {
  readonly room: RoomId;
  /** Artifact id, a unique prefix of it (8 digits or more), or a name. */
  readonly ref: string;
  /** Folder the files are laid out in. */
  readonly dir: string;
  /** Sources besides the store. */
  readonly sources?: readonly SourceFactory[];
  /** Folder with artifacts under their ids (`<cacheDir>/<id>/…`), used before the store. */
  readonly cacheDir?: string;
  /** Replace files in `dir` that have other content. */
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: PullProgress) => void;
  readonly onRetry?: (error: unknown, waitMs: number) => void;
  /** Told when a source is given up, and why. */
  readonly onDrop?: (source: string, reason: string) => void;
  /** How long hub and store may be away before the pull gives up. Default 10 minutes. */
  readonly retryForMs?: number;
  readonly transport?: ByteTransport;
};

export type PullResult = {
  readonly artifact: ArtifactId;
  readonly name: string;
  readonly files: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Bytes by where they came from; `cache` includes what was in `dir` already. */
  readonly sources: Partial<Record<SourceKind, number>>;
};

const DEFAULT_RETRY_MS = 600_000;
/** Readings of a manifest that does not match its id before it is called damaged. */
const MANIFEST_TRIES = 3;

/**
 * Pulls an artifact. Resumes what an earlier pull into the same folder left. Throws `not_found`, `conflict`
 * (other content in the way), `no_source_left`, `storage_full`, `local_io`, `unreachable` (after
 * `retryForMs`), or the signal's reason.
 *
 * @example
 * const { files } = await pullArtifact(hub, { room, ref: "digits", dir: "./digits" });
 */
export async function pullArtifact(hub: HubCalls, options: PullOptions): Promise<PullResult> {
  const startMs = performance.now();
  const { room, signal, retryForMs = DEFAULT_RETRY_MS } = options;
  const transport = options.transport ?? createByteTransport();
  try {
    const ref = decodeValue(
      ArtifactName,
      options.ref,
      `the artifact ${JSON.stringify(options.ref)}`,
    );
    const callOptions = { signal, retryForMs };
    const record = await hub.call("resolveArtifact", { params: { room, ref } }, callOptions);
    const { artifact } = record;
    const sign: SignReads = async (keys, { signal: own }) => {
      const input = { params: { room, artifact }, body: { keys: [...keys] } };
      const { reads } = await hub.call("signReads", input, { signal: own, retryForMs });
      return reads;
    };
    const base = { sign, transport, retryForMs, onRetry: options.onRetry };
    const manifest = await fetchManifest(
      new RangeReader({ ...base, keys: [MANIFEST_KEY] }),
      record,
      signal,
    );
    const stored: SourceFactory = ({ map }) =>
      new S3Source({ id: "s3", map, reader: new RangeReader({ ...base, keys: readKeys(map) }) });
    const { cacheDir } = options;
    const { bytes, sources } = await pullTree({
      artifact,
      manifest,
      dir: options.dir,
      sources: [
        ...(cacheDir === undefined ? [] : [localTree(files.join(cacheDir, artifact))]),
        ...(options.sources ?? []),
        stored,
      ],
      overwrite: options.overwrite ?? false,
      signal,
      onProgress: options.onProgress,
      onDrop: options.onDrop,
    });
    return {
      artifact,
      name: record.name,
      files: manifest.files.length,
      bytes,
      seconds: (performance.now() - startMs) / 1000,
      sources,
    };
  } finally {
    if (options.transport === undefined) transport.close();
  }
}

async function fetchManifest(
  reader: RangeReader,
  record: ArtifactRecord,
  signal: AbortSignal | undefined,
): Promise<ArtifactManifest> {
  for (let tries = 1; ; tries++) {
    const text = await readManifest(reader, record.manifestBytes, signal);
    try {
      return decodeManifest(text, record.artifact);
    } catch (error) {
      // A flipped bit on the way may also break its syntax; a damaged copy stays damaged.
      if (!(error instanceof WaybillError) || tries >= MANIFEST_TRIES) throw error;
    }
  }
}
