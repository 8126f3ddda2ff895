// Announces an open upload so that others can read it, and keeps it announced while nothing is sent to the store
// (docs/protocol/arriving.md §1, §8).
//
//   manifest put ─▶ announced ──────────────────────────────▶ sent in segments
//                └▶ announced as held ──the hold ends──▶ announced ─┘
//                        └──the job is over──▶ SentDirectly: nothing is sent
import { type TreeScan, manifestBytes } from "../../artifact/index.ts";
import { type ByteTransport, crc32 } from "../../platform/index.ts";
import {
  ANNOUNCED_MANIFEST_BYTES,
  type DirectAddress,
  MANIFEST_KEY,
  type ResolvedArtifact,
  type RoomId,
  type UploadStatus,
  WaybillError,
} from "../../protocol/index.ts";
import { createPresignedPut } from "../../s3/index.ts";
import { delay, retry } from "../../timing/index.ts";
import { type HashedTree, type SinkOptions, crc32Base64 } from "../../transfer/index.ts";
import type { HubCalls } from "../push.ts";
import type { UploadHold } from "./job-hold.ts";

export type AnnouncerInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly tree: HashedTree & { readonly scan: TreeScan };
  readonly transport: ByteTransport;
  readonly retryForMs: number;
  /** Told once, when the artifact can be resolved and read, whole or arriving. */
  readonly onAnnounced: (record: ResolvedArtifact) => void;
  /** Told when the push goes on without being announced, and why. */
  readonly onUnannounced: (reason: unknown) => void;
  /** Begins to serve the tree from this machine; gives its addresses. */
  readonly serve: () => Promise<DirectAddress[]>;
  /** Whose machine this is, for people. */
  readonly by: string | undefined;
  readonly hold: UploadHold | undefined;
};

/** How an announced upload is sent. */
export type Announced = {
  /** In segments, which others can read at once. */
  readonly segments: boolean;
  /** It was held back for a while: what the store has of it may have changed. */
  readonly wasHeld: boolean;
};

const UNANNOUNCED: Announced = { segments: false, wasHeld: false };
/** A held announcement is looked after so often: readers give one that is gone 15 s. */
const LOOK_MS = 10_000;
/** Sessions last a day at least, and longer when they are announced again. */
const RENEW_MS = 6 * 3_600_000;

/** The readers have what they need, and nothing is to be sent to the store. */
export class SentDirectly extends Error {
  override readonly name = "SentDirectly";
}

export class Announcer {
  readonly #init: AnnouncerInit;
  #addresses: Promise<DirectAddress[]> | undefined;
  #announced = false;
  #refused = false;
  /** The hold was decided on; undefined until then. */
  #holds: Promise<boolean> | undefined;
  #isOver = false;

  constructor(init: AnnouncerInit) {
    this.#init = init;
  }

  /** Segments are no use with this store. */
  refuse(reason: string): void {
    this.#refused = true;
    this.#init.onUnannounced(new WaybillError("storage_failed", reason));
  }

  /** Announces an open upload, and waits while it is held; throws `SentDirectly` when it is not needed. */
  async announce(status: UploadStatus, options: SinkOptions): Promise<Announced> {
    const { manifest } = this.#init.tree;
    if (status.layout !== manifest.layout || status.shardBytes !== manifest.shardBytes) {
      return this.#skip(new WaybillError("conflict", "the upload was begun with other shards"));
    }
    const bytes = manifestBytes(manifest);
    if (bytes.length > ANNOUNCED_MANIFEST_BYTES) {
      return this.#skip(new WaybillError("too_large", `the manifest has ${bytes.length} bytes`));
    }
    const first = await this.#begin(status, bytes, options);
    if (first === undefined) return UNANNOUNCED;
    const wasHeld = first.isHeld && first.record.arriving === true;
    if (wasHeld) await this.#whileHeld(status, bytes.length, options);
    const last = wasHeld ? await this.#begin(status, bytes, options) : first;
    const segments = last?.record.arriving === true && !this.#refused;
    return { segments, wasHeld };
  }

  /** Gives up a session that was never needed: when nothing has landed, and nobody else has announced it since. */
  async abandon(status: UploadStatus): Promise<void> {
    const { hub, room, tree } = this.#init;
    const { artifact } = tree;
    const ours = JSON.stringify(await this.#addresses);
    try {
      const shown = await hub.call("showArriving", { params: { room, artifact }, query: {} });
      const isOurs = JSON.stringify(shown.direct) === ours;
      if (!isOurs || (shown.objects ?? []).length > 0) return;
      await hub.call("abortUpload", { params: { room, upload: status.upload } });
    } catch (error) {
      // It expires by itself.
      if (!(error instanceof WaybillError)) throw error;
    }
  }

  /** Enters the announcement; undefined, after saying why, when the push has to do without it. */
  async #begin(
    status: UploadStatus,
    bytes: Uint8Array,
    options: SinkOptions,
  ): Promise<{ readonly record: ResolvedArtifact; readonly isHeld: boolean } | undefined> {
    try {
      await this.#putManifest(status, bytes, options);
      this.#addresses ??= this.#init.serve();
      const isHeld = await this.#isHeld();
      const record = await this.#enter(status, { bytes: bytes.length, isHeld }, options);
      return { record, isHeld };
    } catch (error) {
      // A hub that does not know announcements, or does not want this one: the push does not need it.
      if (options.signal.aborted || !(error instanceof WaybillError)) throw error;
      if (error.code === "unreachable" || error.code === "storage_full") throw error;
      this.#init.onUnannounced(error);
      return undefined;
    }
  }

  async #isHeld(): Promise<boolean> {
    const { hold, tree } = this.#init;
    if (hold === undefined || this.#isOver) return false;
    const serves = ((await this.#addresses) ?? []).length > 0;
    this.#holds ??= hold.decide({ bytes: tree.scan.bytes, serves });
    return this.#holds;
  }

  async #enter(
    status: UploadStatus,
    { bytes, isHeld }: { readonly bytes: number; readonly isHeld: boolean },
    options: SinkOptions,
  ): Promise<ResolvedArtifact> {
    const { hub, room, tree, retryForMs, by } = this.#init;
    const record = await hub.call(
      "announceUpload",
      {
        params: { room, upload: status.upload },
        body: {
          artifact: tree.artifact,
          manifestBytes: bytes,
          direct: (await this.#addresses) ?? [],
          ...(isHeld ? { held: true } : {}),
          ...(by === undefined ? {} : { by }),
        },
      },
      { ...options, retryForMs },
    );
    if (!this.#announced) this.#init.onAnnounced(record);
    this.#announced = true;
    return record;
  }

  /** Until the upload is to be sent. Throws `SentDirectly`, or what says that the session is gone. */
  async #whileHeld(status: UploadStatus, bytes: number, { signal }: SinkOptions): Promise<void> {
    const over = new AbortController();
    const stop = AbortSignal.any([signal, over.signal]);
    const end = this.#init.hold?.end ?? Promise.resolve({ upload: true });
    try {
      const { upload } = await Promise.race([end, this.#lookAfter(status, bytes, stop)]);
      this.#isOver = true;
      if (!upload) throw new SentDirectly();
    } finally {
      over.abort();
    }
  }

  /** Sees to it that the announcement stands; ends when the room has the artifact by other means. */
  async #lookAfter(
    status: UploadStatus,
    bytes: number,
    signal: AbortSignal,
  ): Promise<{ readonly upload: true }> {
    const { hub, room, tree } = this.#init;
    const input = { params: { room, artifact: tree.artifact }, query: {} };
    for (let sinceMs = performance.now(); ;) {
      await delay(LOOK_MS, signal);
      try {
        const shown = await hub.call("showArriving", input, { signal, retryForMs: 0 });
        if (shown.done) return { upload: true };
        if (performance.now() - sinceMs < RENEW_MS) continue;
        await this.#enter(status, { bytes, isHeld: true }, { signal });
        sinceMs = performance.now();
      } catch (error) {
        // A hub that is away for a while loses nothing.
        if (!(error instanceof WaybillError) || !error.retryable) throw error;
      }
    }
  }

  #skip(reason: WaybillError): Announced {
    this.#init.onUnannounced(reason);
    return UNANNOUNCED;
  }

  async #putManifest(
    status: UploadStatus,
    bytes: Uint8Array,
    { signal }: SinkOptions,
  ): Promise<void> {
    const { hub, room, transport, retryForMs } = this.#init;
    const part = {
      key: MANIFEST_KEY,
      part: 0,
      size: bytes.length,
      crc32: crc32Base64(crc32(bytes)),
    };
    const input = { params: { room, upload: status.upload }, body: { parts: [part] } };
    const put = createPresignedPut(transport);
    const once = async () => {
      const { parts } = await hub.call("signSegments", input, { signal, retryForMs });
      for (const permit of parts) await put(permit, bytes, { signal, onSent: () => undefined });
    };
    await retry(once, { forMs: retryForMs, signal, capMs: 5000 });
  }
}
