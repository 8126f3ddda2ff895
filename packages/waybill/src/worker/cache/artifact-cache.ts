// Artifacts of a cache that any number of processes may use, on this machine or on a volume that machines share: filled in
// private, complete in one rename, held by leases while they are used, evicted least recently used first.
// docs/protocol/cache.md has the rules; lease-machine.ts the order of the steps.
import { join } from "node:path";
import { decodeManifest } from "@waybill/sdk/artifact";
import { type ArtifactId, messageOf } from "@waybill/sdk/protocol";
import { type TreeComparison, compareTree } from "@waybill/sdk/receipt";
import type { Log } from "../ports.ts";
import { CacheOwners, type OwnerTiming, type ProcessPlace } from "./cache-owners.ts";
import { type CacheParts, CacheRoom, ROOM_PATIENCE_MS } from "./cache-room.ts";
import { type Swept, sweep } from "./cache-sweep.ts";
import { CacheVolume, type LeaseName, isArtifactId, newNonce } from "./cache-volume.ts";
import type { CachedTree, CachedTrees, HeldTree } from "./cached-trees.ts";
import type { PullInto } from "./filling.ts";
import { HOLD, type Place } from "./lease-machine.ts";
import { LeaseRun } from "./lease-run.ts";
import { obtainTree } from "./obtain-tree.ts";
import { LIMITS_FILE, type RoomFacts } from "./room-plan.ts";
import { Turns } from "./turns.ts";

export type CacheLease = {
  /** The artifact's files; read only. */
  readonly dir: string;
  readonly bytes: number;
  readonly seconds: number;
  /** Bytes by where they came from; `cache` alone when the artifact was here. */
  readonly sources: Readonly<Record<string, number>>;
  release(): void;
};

export type ArtifactCacheInit = {
  readonly cacheDir: string;
  /** Above this, artifacts nobody uses are removed. */
  readonly maxBytes: number;
  /** What must stay free on its file system; default 0. */
  readonly minFreeBytes?: number;
  readonly log: Log;
  /** How long a filler waits for room while everything is in use. Default 20 s. */
  readonly roomPatienceMs?: number;
  /** Between two looks at limits, remains and what others did. Default 60 s. */
  readonly upkeepMs?: number;
  readonly ownerTiming?: Partial<OwnerTiming>;
  /** Default: this process. */
  readonly processPlace?: ProcessPlace;
};

const UPKEEP_MS = 60_000;

export class ArtifactCache implements CachedTrees {
  readonly #init: ArtifactCacheInit;
  readonly #parts: CacheParts;
  readonly #room: CacheRoom;
  readonly #turns = new Turns();
  readonly #listeners = new Set<() => void>();
  /** Found wrong by a reader and not yet looked through. */
  readonly #suspect = new Set<ArtifactId>();
  readonly #pending = new Set<Promise<unknown>>();
  #begun: Promise<void> | undefined;
  #upkeep: NodeJS.Timeout | undefined;
  #known = "";

  constructor(init: ArtifactCacheInit) {
    this.#init = init;
    const volume = new CacheVolume(init.cacheDir);
    const { ownerTiming: timing, processPlace: place, log } = init;
    const owners = new CacheOwners({
      volume,
      ...(timing === undefined ? {} : { timing }),
      ...(place === undefined ? {} : { place }),
      onLost: () => this.#track(this.#reappear()),
    });
    const limits = { maxBytes: init.maxBytes, minFreeBytes: init.minFreeBytes ?? 0 };
    const active = new Map<string, LeaseName>();
    this.#parts = { volume, owners, active, filling: new Set(), limits, log };
    this.#room = new CacheRoom(this.#parts, init.roomPatienceMs ?? ROOM_PATIENCE_MS);
  }

  /** Clears up what others have left and keeps to the limits from now on; without it, only what is filled is counted. */
  async start(): Promise<void> {
    await this.#begin();
    const { maxBytes, minFreeBytes } = this.#parts.limits;
    const limits = JSON.stringify({ format: 1, maxBytes, minFreeBytes });
    const { volume, owners } = this.#parts;
    await volume.replace(join(volume.root, LIMITS_FILE), `${limits}\n`, owners.id);
    await this.upkeep();
    this.#upkeep = setInterval(() => {
      const failed = (error: unknown) =>
        this.#parts.log("warn", `cache: upkeep failed: ${messageOf(error)}`);
      this.#track(this.upkeep().then(() => undefined, failed));
    }, this.#init.upkeepMs ?? UPKEEP_MS);
    this.#upkeep.unref();
  }

  /** Gives every lease back. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#upkeep);
    if (this.#begun === undefined) return;
    await this.#begun.catch(() => undefined);
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
    const { active, volume, owners } = this.#parts;
    for (const lease of active.values()) await volume.unlink(volume.leasePath(lease));
    active.clear();
    await owners.stop();
    this.#begun = undefined;
  }

  /**
   * The artifact's directory, pulled when it is not here or was changed; held until `release()`. The signal ends
   * waiting for another's pull; this job's own `pull` has to watch it itself. Throws `storage_full` when the disk has
   * no room for it, and what `pull` throws.
   */
  async open(artifact: ArtifactId, pull: PullInto, signal?: AbortSignal): Promise<CacheLease> {
    await this.#begin();
    const obtain = () =>
      obtainTree({
        parts: this.#parts,
        room: this.#room,
        artifact,
        pull,
        signal,
        isSuspect: () => this.#suspect.has(artifact),
        onFilled: () => {
          this.#suspect.delete(artifact);
          this.#changed();
        },
        unlease: (nonce) => this.#unlease(nonce),
      });
    const { release, ...opened } = await this.#turns.take(artifact, obtain, signal);
    return { ...opened, release: once(() => this.#track(release())) };
  }

  /** Keeps an artifact from giving way that something uses without having opened it here; returns who lets it go. */
  keep(artifact: ArtifactId): () => void {
    const { volume, owners, active, log } = this.#parts;
    const nonce = newNonce();
    const write = async () => {
      try {
        await this.#begin();
        const lease = { artifact, kind: "read", owner: owners.id, nonce } as const;
        active.set(nonce, lease);
        await volume.writeLease(lease);
      } catch (error) {
        log("warn", `cache: ${short(artifact)} cannot be kept: ${messageOf(error)}`);
      }
    };
    const leased = write();
    this.#track(leased);
    return once(() => this.#track(leased.then(() => this.#unlease(nonce))));
  }

  async list(): Promise<readonly CachedTree[]> {
    const { volume } = this.#parts;
    await this.#begin();
    const pins = new Set(await volume.names("pins"));
    const found: CachedTree[] = [];
    for (const name of await volume.names("artifacts")) {
      if (!isArtifactId(name) || this.#suspect.has(name)) continue;
      const ready = await volume.ready(name);
      if (ready === undefined) continue;
      const usedMs = await volume.usedMs(name);
      found.push({ artifact: name, bytes: ready.bytes, usedMs, pinned: pins.has(name) });
    }
    return found.sort((a, b) => b.usedMs - a.usedMs);
  }

  async hold(artifact: ArtifactId): Promise<HeldTree | undefined> {
    await this.#begin();
    if (this.#suspect.has(artifact)) return undefined;
    const held = await this.#hold(artifact);
    if (held !== undefined) await this.#parts.volume.noteUse(artifact);
    return held;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  damaged(artifact: ArtifactId): void {
    if (this.#suspect.has(artifact)) return;
    this.#suspect.add(artifact);
    this.#changed();
    const check = this.#begin()
      .then(() => this.verify(artifact))
      .catch((error: unknown) => {
        this.#parts.log("warn", `cache: cannot check ${short(artifact)}: ${messageOf(error)}`);
      })
      .finally(() => {
        this.#suspect.delete(artifact);
        this.#changed();
      });
    this.#track(check);
  }

  /**
   * Reads every byte of an artifact and compares it with its manifest. What is not right is not served any more, unless
   * `dryRun`; the next job that needs it fetches only what is wrong. Undefined when it is not here.
   */
  async verify(
    artifact: ArtifactId,
    options: {
      readonly dryRun?: boolean;
      readonly signal?: AbortSignal;
      readonly onProgress?: (progress: { readonly bytes: number; readonly total: number }) => void;
    } = {},
  ): Promise<TreeComparison | undefined> {
    const { dryRun = false, ...rest } = options;
    const { volume, log } = this.#parts;
    await this.#begin();
    const held = await this.#hold(artifact);
    if (held === undefined) return undefined;
    try {
      const compared = await compareTree(held.dir, held.manifest, rest);
      if (compared.differences.length > 0 && !dryRun) {
        const [first] = compared.differences;
        const what = `${first?.path ?? ""} ${first?.detail ?? first?.kind ?? ""}`;
        log("warn", `cache: ${short(artifact)} is damaged (${what}); not served any more`);
        await volume.spoil(artifact);
        this.#changed();
      }
      return compared;
    } finally {
      await held.letGo();
    }
  }

  /** Keeps an artifact whatever the limits say; also one that is not here yet. */
  async pin(artifact: ArtifactId, why = ""): Promise<void> {
    const { volume, owners } = this.#parts;
    await this.#begin();
    const text = `${JSON.stringify({ format: 1, why })}\n`;
    await volume.replace(volume.path("pins", artifact), text, owners.id);
  }

  /** False when it was not pinned. */
  async unpin(artifact: ArtifactId): Promise<boolean> {
    const { volume } = this.#parts;
    await this.#begin();
    const wasPinned = (await volume.names("pins")).includes(artifact);
    await volume.unlink(volume.path("pins", artifact));
    return wasPinned;
  }

  /** What is there, what is in use, what is on its way. */
  async survey(): Promise<RoomFacts> {
    await this.#begin();
    return this.#room.survey();
  }

  /** Removes an artifact unless somebody uses it. */
  async evict(artifact: ArtifactId, bytes: number): Promise<boolean> {
    await this.#begin();
    const gone = await this.#room.evict({ artifact, bytes });
    if (gone) this.#changed();
    return gone;
  }

  /** Removes a broken filling that nobody goes on with. */
  async drop(leftover: string): Promise<void> {
    await this.#begin();
    await this.#room.drop(leftover);
  }

  /** What the artifact is called; undefined when it cannot be told. */
  async nameOf(artifact: ArtifactId): Promise<string | undefined> {
    const text = await this.#parts.volume.manifestText(artifact);
    if (text === undefined) return undefined;
    try {
      return decodeManifest(text, artifact).name;
    } catch {
      return undefined;
    }
  }

  /** The volume's clock, milliseconds since 1970. */
  async nowMs(): Promise<number> {
    await this.#begin();
    return (await this.#parts.owners.renew()) ?? Date.now();
  }

  /** Removes what processes left that are gone. */
  async sweep(options: { leftoverMs?: number; dryRun?: boolean } = {}): Promise<Swept> {
    await this.#begin();
    return sweep(this.#parts, this.#room, options);
  }

  /** Sweeps, and evicts what is over the limits. */
  async upkeep(): Promise<void> {
    await this.sweep();
    await this.#room.make(0);
    const now = (await this.list()).map(({ artifact }) => artifact).join(" ");
    const isNew = now !== this.#known;
    this.#known = now;
    if (isNew) this.#changed();
  }

  #begin(): Promise<void> {
    this.#begun ??= this.#parts.volume.prepare().then(() => this.#parts.owners.register());
    return this.#begun;
  }

  /** Others took this process for dead: it announces itself and what it holds anew. */
  async #reappear(): Promise<void> {
    const { owners, active, volume, log } = this.#parts;
    log("warn", "cache: others took this process for dead (it could not renew its leases)");
    await owners.register();
    for (const [nonce, lease] of active) {
      const anew = { ...lease, owner: owners.id };
      active.set(nonce, anew);
      await volume.writeLease(anew);
    }
  }

  async #hold(
    artifact: ArtifactId,
  ): Promise<(HeldTree & { readonly letGo: () => Promise<void> }) | undefined> {
    const { volume } = this.#parts;
    let bytes = 0;
    const look = async (): Promise<Place> => {
      const ready = await volume.ready(artifact);
      bytes = ready?.bytes ?? 0;
      return ready === undefined ? "absent" : "sound";
    };
    const run = new LeaseRun({ ...this.#parts, artifact, look });
    if ((await run.run(HOLD)) !== "held") return undefined;
    const letGo = () => this.#unlease(run.nonce);
    try {
      const text = await volume.manifestText(artifact);
      if (text === undefined) {
        await letGo();
        return undefined;
      }
      const manifest = decodeManifest(text, artifact);
      const release = once(() => this.#track(letGo()));
      return { dir: volume.path("artifacts", artifact, "files"), manifest, bytes, release, letGo };
    } catch (error) {
      await letGo();
      throw error;
    }
  }

  async #unlease(nonce: string): Promise<void> {
    const { active, volume, log } = this.#parts;
    const lease = active.get(nonce);
    active.delete(nonce);
    if (lease === undefined) return;
    try {
      await volume.unlink(volume.leasePath(lease));
    } catch (error) {
      log("warn", `cache: a lease cannot be given back: ${messageOf(error)}`);
    }
  }

  #track(work: Promise<unknown>): void {
    this.#pending.add(work);
    work.then(
      () => this.#pending.delete(work),
      () => this.#pending.delete(work),
    );
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function short(artifact: ArtifactId): string {
  return artifact.slice(0, 12);
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (!done) run();
    done = true;
  };
}
