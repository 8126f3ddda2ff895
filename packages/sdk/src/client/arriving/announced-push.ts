// A push that others can read from the moment it begins: the tree is hashed first, so that its artifact is known, then
// announced, then sent in segments (docs/protocol/arriving.md §1, §2).
import { type TreeScan, manifestBytes, scanTree } from "../../artifact/index.ts";
import { type ByteTransport, createByteTransport, crc32 } from "../../platform/index.ts";
import {
  ANNOUNCED_MANIFEST_BYTES,
  ArtifactName,
  type DirectAddress,
  MANIFEST_KEY,
  type ResolvedArtifact,
  type UploadStatus,
  WaybillError,
  decodeValue,
} from "../../protocol/index.ts";
import { createPresignedPut } from "../../s3/index.ts";
import { retry } from "../../timing/index.ts";
import { type HashedTree, type SinkOptions, crc32Base64, hashTree } from "../../transfer/index.ts";
import { NOT_ADOPTED } from "../hub-sink.ts";
import { type HubCalls, type PushOptions, type PushResult, pushArtifact } from "../push.ts";
import { SegmentedSink } from "./segmented-sink.ts";

export type AnnouncedPushOptions = Omit<PushOptions, "wrapSink"> & {
  /** Told once, when the artifact can be resolved and read, whole or arriving. */
  readonly onAnnounced: (record: ResolvedArtifact) => void;
  /** Told when the push goes on without being announced, and why. */
  readonly onUnannounced?: (reason: unknown) => void;
  /** Begins to serve the tree from this machine; gives its addresses. Absent: it is not served. */
  readonly serve?: (tree: HashedTree & { readonly scan: TreeScan }) => Promise<DirectAddress[]>;
  /** Bytes hashed before the push begins. */
  readonly onHashed?: (bytes: number) => void;
};

/**
 * Pushes a data set and announces it. Throws as `pushArtifact`; what keeps it from being announced keeps it from
 * nothing else.
 */
export async function pushAnnounced(
  hub: HubCalls,
  options: AnnouncedPushOptions,
): Promise<PushResult> {
  const startMs = performance.now();
  const { room, signal, onHashed, retryForMs = 600_000 } = options;
  const name = decodeValue(ArtifactName, options.name, `the name ${JSON.stringify(options.name)}`);
  const scan = options.scan ?? (await scanTree(options.path, { signal }));
  const tree = await hashTree(scan, {
    name,
    signal,
    ...(onHashed === undefined ? {} : { onProgress: onHashed }),
  });
  const held = await adoptHeld(hub, options, tree);
  if (held !== undefined) {
    options.onAnnounced(held);
    const seconds = (performance.now() - startMs) / 1000;
    return identical(scan, tree, held, seconds);
  }
  const transport = options.transport ?? createByteTransport();
  const announcer = new Announcer(hub, options, { scan, ...tree }, transport);
  try {
    return await pushArtifact(hub, {
      ...options,
      name,
      scan,
      transport,
      wrapSink: (inner) =>
        new SegmentedSink({
          inner,
          hub,
          room,
          retryForMs,
          announce: (status, how) => announcer.announce(status, how),
          onRefused: (reason) => announcer.refuse(reason),
        }),
    });
  } finally {
    if (options.transport === undefined) transport.close();
  }
}

class Announcer {
  readonly #hub: HubCalls;
  readonly #options: AnnouncedPushOptions;
  readonly #tree: HashedTree & { readonly scan: TreeScan };
  readonly #transport: ByteTransport;
  #addresses: Promise<DirectAddress[]> | undefined;
  #announced = false;
  #refused = false;

  constructor(
    hub: HubCalls,
    options: AnnouncedPushOptions,
    tree: HashedTree & { readonly scan: TreeScan },
    transport: ByteTransport,
  ) {
    this.#hub = hub;
    this.#options = options;
    this.#tree = tree;
    this.#transport = transport;
  }

  /** Segments are no use with this store. */
  refuse(reason: string): void {
    this.#refused = true;
    this.#options.onUnannounced?.(new WaybillError("storage_failed", reason));
  }

  /** Announces an open upload; whether its parts should be segments. */
  async announce(status: UploadStatus, options: SinkOptions): Promise<boolean> {
    const { manifest, artifact } = this.#tree;
    if (status.layout !== manifest.layout || status.shardBytes !== manifest.shardBytes) {
      return this.#skip(new WaybillError("conflict", "the upload was begun with other shards"));
    }
    const bytes = manifestBytes(manifest);
    if (bytes.length > ANNOUNCED_MANIFEST_BYTES) {
      return this.#skip(new WaybillError("too_large", `the manifest has ${bytes.length} bytes`));
    }
    try {
      await this.#putManifest(status, bytes, options);
      this.#addresses ??= this.#options.serve?.(this.#tree) ?? Promise.resolve([]);
      const direct = await this.#addresses;
      const record = await this.#hub.call(
        "announceUpload",
        {
          params: { room: this.#options.room, upload: status.upload },
          body: { artifact, manifestBytes: bytes.length, direct },
        },
        { ...options, retryForMs: this.#options.retryForMs ?? 600_000 },
      );
      if (!this.#announced) this.#options.onAnnounced(record);
      this.#announced = true;
      return record.arriving === true && !this.#refused;
    } catch (error) {
      // A hub that does not know announcements, or does not want this one: the push does not need it.
      if (options.signal.aborted || !(error instanceof WaybillError)) throw error;
      if (error.code === "unreachable" || error.code === "storage_full") throw error;
      return this.#skip(error);
    }
  }

  #skip(reason: WaybillError): boolean {
    this.#options.onUnannounced?.(reason);
    return false;
  }

  async #putManifest(
    status: UploadStatus,
    bytes: Uint8Array,
    { signal }: SinkOptions,
  ): Promise<void> {
    const { room, retryForMs = 600_000 } = this.#options;
    const part = {
      key: MANIFEST_KEY,
      part: 0,
      size: bytes.length,
      crc32: crc32Base64(crc32(bytes)),
    };
    const input = { params: { room, upload: status.upload }, body: { parts: [part] } };
    const put = createPresignedPut(this.#transport);
    const once = async () => {
      const { parts } = await this.#hub.call("signSegments", input, { signal, retryForMs });
      for (const permit of parts) await put(permit, bytes, { signal, onSent: () => undefined });
    };
    await retry(once, { forMs: retryForMs, signal, capMs: 5000 });
  }
}

/** The artifact, when the room holds it: it is adopted instead of being pushed. */
async function adoptHeld(
  hub: HubCalls,
  { room, name, purpose, signal, retryForMs }: AnnouncedPushOptions,
  { artifact }: HashedTree,
): Promise<ResolvedArtifact | undefined> {
  const keep = purpose?.kind === "dataset" && purpose.keep;
  const input = { params: { room, artifact }, body: { name, keep } };
  try {
    return await hub.call("adoptArtifact", input, {
      signal,
      ...(retryForMs === undefined ? {} : { retryForMs }),
    });
  } catch (error) {
    if (error instanceof WaybillError && NOT_ADOPTED.has(error.code)) return undefined;
    throw error;
  }
}

function identical(
  scan: TreeScan,
  { artifact, manifest }: HashedTree,
  record: ResolvedArtifact,
  seconds: number,
): PushResult {
  const { bytes } = scan;
  return {
    artifact,
    files: scan.files.length,
    bytes,
    sentBytes: 0,
    savedBytes: bytes,
    saved: { held: 0, copied: 0, identical: bytes, compressed: 0 },
    retries: 0,
    seconds,
    warnings: scan.warnings,
    record,
    manifest,
  };
}
