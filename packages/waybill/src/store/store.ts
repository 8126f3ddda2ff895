/**
 * The embedded object store: S3's REST API over a data directory.
 *
 * ```
 * dataDir/metadata.db   what exists (SQLite, one commit a write)
 * dataDir/blobs/xx/…    the bytes, write-once
 * dataDir/tmp/          bytes on their way; emptied at start
 * dataDir/reserve       space given up to delete things on a full disk
 * ```
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { WaybillError } from "@waybill/sdk/protocol";
import { Authenticator, type Credential } from "./auth/authenticate.ts";
import { BufferPool } from "./blobs/buffer-pool.ts";
import { FileBlobStore } from "./blobs/file-blob-store.ts";
import { BlobPins } from "./blobs/pins.ts";
import type { StoreCore, StoreLogEntry } from "./core.ts";
import { StoreServer } from "./http/server.ts";
import { expireOlderThan, sweepLifecycle, type SweepReport } from "./lifecycle/sweeper.ts";
import { Buckets } from "./metadata/buckets.ts";
import { Contents } from "./metadata/contents.ts";
import { DiskReserve } from "./metadata/disk-reserve.ts";
import { MetadataDatabase } from "./metadata/database.ts";
import { Objects } from "./metadata/objects.ts";
import { Uploads } from "./metadata/uploads.ts";

export interface StoreInit {
  /** Created when absent; one process at a time may use it. */
  readonly dataDir: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Keys that may sign requests; each may do everything. */
  readonly credentials: readonly Credential[];
  /** Region that signatures must name, for example `us-east-1`. */
  readonly region: string;
  /** Default: the system's clock. */
  readonly clock?: { now(): number };
  readonly log?: (entry: StoreLogEntry) => void;
  /** Least size of every part but the last. Default: S3's 5 MiB. */
  readonly minPartBytes?: number;
  /** How often lifecycle rules are applied, in milliseconds. Default: an hour; 0: only by `sweep`. */
  readonly sweepIntervalMs?: number;
}

export interface ExpireOptions {
  readonly bucket: string;
  /** Default: the whole bucket. */
  readonly prefix?: string;
  readonly olderThanMs: number;
}

export interface Store extends AsyncDisposable {
  /**
   * Opens the data directory, removes what a crash left behind, and listens.
   *
   * @throws WaybillError `conflict` when another process uses the directory or the port,
   *   `local_io` when the directory cannot be used
   */
  start(): Promise<{ readonly endpoint: string }>;
  /** Lets requests under way end (up to 10 s), then closes everything. Idempotent. */
  stop(): Promise<void>;
  /** Applies lifecycle rules as of `now` (milliseconds since 1970; default: the clock's). */
  sweep(now?: number): Promise<SweepReport>;
  /** Removes objects and unfinished uploads of an age lifecycle rules cannot name (hours). */
  expireOlderThan(options: ExpireOptions): Promise<SweepReport>;
}

const DEFAULT_MIN_PART_BYTES = 5 * 1024 * 1024;
const DEFAULT_SWEEP_INTERVAL_MS = 60 * 60 * 1000;
/** 512 KiB reads: as fast as 1 MiB, a third faster than 64 KiB. */
const READ_BYTES = 512 * 1024;
/** Buffers kept when idle: enough for eight parallel downloads. */
const KEPT_BUFFERS = 16;

/**
 * Makes a store; nothing is opened before `start`.
 *
 * @example
 * ```ts
 * await using store = createStore({
 *   dataDir: "./data/store", host: "127.0.0.1", port: 0, region: "us-east-1",
 *   credentials: [{ accessKeyId: "waybill", secretAccessKey: "a long random text" }],
 * });
 * const { endpoint } = await store.start();
 * ```
 */
export function createStore(init: StoreInit): Store {
  return new EmbeddedStore(init);
}

class EmbeddedStore implements Store {
  readonly #init: StoreInit;
  readonly #core: StoreCore;
  readonly #reserve: DiskReserve;
  readonly #server: StoreServer;
  readonly #unlinking = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<unknown> = Promise.resolve();
  #started: Promise<{ endpoint: string }> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(init: StoreInit) {
    this.#init = init;
    const clock = init.clock ?? Date;
    const now = (): number => clock.now();
    this.#reserve = new DiskReserve(join(init.dataDir, "reserve"));
    const db = new MetadataDatabase(join(init.dataDir, "metadata.db"), this.#reserve);
    const blobs = new FileBlobStore(init.dataDir);
    const pins = new BlobPins((ids) => this.#unlink(ids));
    const contents = new Contents(db, (ids) => pins.release(ids));
    this.#core = {
      db,
      blobs,
      pins,
      contents,
      buckets: new Buckets(db),
      objects: new Objects(db, contents),
      uploads: new Uploads(db, contents),
      pool: new BufferPool(READ_BYTES, KEPT_BUFFERS),
      region: init.region,
      ownerId: init.credentials[0]?.accessKeyId ?? "waybill",
      minPartBytes: init.minPartBytes ?? DEFAULT_MIN_PART_BYTES,
      now,
      log: init.log ?? (() => {}),
    };
    const authenticator = new Authenticator(init.credentials, init.region, now);
    this.#server = new StoreServer({ core: this.#core, authenticator });
  }

  start(): Promise<{ endpoint: string }> {
    this.#started ??= this.#start();
    return this.#started;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  sweep(now = this.#core.now()): Promise<SweepReport> {
    const swept = sweepLifecycle(this.#core, now).finally(() => this.#reserve.ensure());
    this.#sweeping = swept.catch(() => {});
    return swept;
  }

  expireOlderThan({ bucket, prefix = "", olderThanMs }: ExpireOptions): Promise<SweepReport> {
    return expireOlderThan(this.#core, { bucket, prefix, olderThanMs, now: this.#core.now() });
  }

  async #start(): Promise<{ endpoint: string }> {
    const { dataDir, host, port } = this.#init;
    try {
      await mkdir(dataDir, { recursive: true, mode: 0o700 });
      this.#core.db.open();
    } catch (error) {
      throw openError(dataDir, error);
    }
    try {
      await this.#core.blobs.open();
      await this.#removeOrphans();
      const bound = await this.#server.listen(host, port);
      this.#scheduleSweeps();
      const name = host.includes(":") ? `[${host}]` : host;
      return { endpoint: `http://${name}:${bound}` };
    } catch (error) {
      this.#core.db.close();
      throw listenError(this.#init, error);
    }
  }

  /** Files no row knows: a crash fell between rename and commit, or between commit and unlink. */
  async #removeOrphans(): Promise<void> {
    const orphans: string[] = [];
    for await (const id of this.#core.blobs.list()) {
      if (!this.#core.contents.usesBlob(id)) orphans.push(id);
    }
    if (orphans.length === 0) return;
    await this.#core.blobs.delete(orphans);
    this.#core.log({ level: "info", message: `removed ${orphans.length} orphaned blobs` });
  }

  #scheduleSweeps(): void {
    const interval = this.#init.sweepIntervalMs ?? DEFAULT_SWEEP_INTERVAL_MS;
    if (interval <= 0) return;
    this.#timer = setInterval(() => {
      this.sweep().catch((cause: unknown) => {
        this.#core.log({ level: "error", message: "applying lifecycle rules failed", cause });
      });
    }, interval);
    this.#timer.unref();
  }

  #unlink(ids: readonly string[]): void {
    const unlinking = this.#core.blobs
      .delete(ids)
      .catch((cause: unknown) => {
        // They stay as orphans and go at the next start.
        this.#core.log({ level: "warn", message: `could not remove ${ids.length} blobs`, cause });
      })
      .finally(() => this.#unlinking.delete(unlinking));
    this.#unlinking.add(unlinking);
  }

  async #stop(): Promise<void> {
    if (!this.#started) return;
    const started = await this.#started.then(
      () => true,
      () => false,
    );
    if (!started) return;
    clearInterval(this.#timer);
    await this.#server.close();
    await this.#sweeping;
    await Promise.all(this.#unlinking);
    this.#core.db.close();
  }
}

function openError(dataDir: string, cause: unknown): WaybillError {
  if (cause instanceof Error && /database is locked/.test(cause.message)) {
    return new WaybillError("conflict", `The object store's data directory ${dataDir} is in use.`, {
      hint: "Stop the other hub, or give this one a different --data directory.",
      cause,
    });
  }
  return new WaybillError(
    "local_io",
    `The object store's data directory ${dataDir} cannot be opened.`,
    {
      hint: "Check that it is a directory you may write to.",
      cause,
    },
  );
}

function listenError({ host, port, dataDir }: StoreInit, cause: unknown): WaybillError {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "EADDRINUSE") {
    return new WaybillError("conflict", `Port ${port} on ${host} is in use.`, {
      hint: "Choose another port, or 0 for any free one.",
      cause,
    });
  }
  return new WaybillError(
    "local_io",
    `The object store could not start on ${host}:${port} in ${dataDir}.`,
    {
      cause,
    },
  );
}
