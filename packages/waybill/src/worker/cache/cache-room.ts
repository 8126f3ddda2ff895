// Keeps a cache under its limits: counts what is there, lets fillers in, evicts what was not used for longest.
import { statfs } from "node:fs/promises";
import { WaybillError } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import type { Log } from "../ports.ts";
import type { CacheOwners } from "./cache-owners.ts";
import {
  type CacheVolume,
  FREE,
  GONE,
  type LeaseName,
  isArtifactId,
  newNonce,
  ownedText,
  parseLease,
  parseOwned,
} from "./cache-volume.ts";
import { EVICT } from "./lease-machine.ts";
import { LeaseRun } from "./lease-run.ts";
import {
  type Leftover,
  type RoomEntry,
  type RoomFacts,
  type RoomLimits,
  type RoomPlan,
  planRoom,
} from "./room-plan.ts";
import { measureTree } from "./tree-state.ts";

/** What everything that works on one cache in this process shares. */
export type CacheParts = {
  readonly volume: CacheVolume;
  readonly owners: CacheOwners;
  /** Leases this process has, by their nonces. */
  readonly active: Map<string, LeaseName>;
  /** Private directories this process works in. */
  readonly filling: Set<string>;
  readonly limits: RoomLimits;
  readonly log: Log;
};

/** Two that stand in each other's way are apart after a few of these. */
const RETRY_MS = { least: 20, most: 200 };
/** So long a filler waits for others to let something go; then it goes without a place in the cache. */
export const ROOM_PATIENCE_MS = 20_000;

export class CacheRoom {
  readonly #parts: CacheParts;
  readonly #patienceMs: number;

  constructor(parts: CacheParts, patienceMs = ROOM_PATIENCE_MS) {
    this.#parts = parts;
    this.#patienceMs = patienceMs;
  }

  /**
   * Waits until a filler may add `bytes`. False when everything else is in use and it has to do without a place.
   * Throws `storage_full` when the disk would have less free than it must.
   */
  async admit(run: LeaseRun, bytes: number, signal?: AbortSignal): Promise<boolean> {
    const endMs = performance.now() + this.#patienceMs;
    for (;;) {
      // Announced first, counted afterwards: of two that come at once, one sees the other.
      await run.announce(bytes);
      const verdict = await this.make(bytes, run);
      if (verdict === "fits" || verdict === "over") return true;
      await run.announce(0);
      if (performance.now() > endMs) {
        if (verdict === "full") return false;
        throw new WaybillError(
          "storage_full",
          `the cache's disk (${this.#parts.volume.root}) has no room for ${bytes} more bytes`,
          { hint: "free some, or lower what must stay free (--cache-free)" },
        );
      }
      const waitMs = RETRY_MS.least + Math.random() * (RETRY_MS.most - RETRY_MS.least);
      await delay(waitMs, signal);
    }
  }

  /** Evicts until `bytes` more fit, as far as that goes; says how it stands then. */
  async make(bytes: number, run?: LeaseRun): Promise<RoomPlan["verdict"]> {
    const plan = planRoom(await this.survey(run), bytes);
    if (plan.drop.length === 0 && plan.evict.length === 0) return plan.verdict;
    for (const { name } of plan.drop) await this.drop(name);
    for (const entry of plan.evict) await this.evict(entry);
    return planRoom(await this.survey(run), bytes).verdict;
  }

  /** What the cache holds, without what this filler adds. */
  async survey(run?: LeaseRun): Promise<RoomFacts> {
    const { volume, owners, limits } = this.#parts;
    const leases = await this.#liveLeases();
    const pins = new Set(await volume.names("pins"));
    const entries: RoomEntry[] = [];
    for (const name of await volume.fresh("artifacts", owners.id)) {
      if (!isArtifactId(name)) continue;
      const bytes = (await volume.ready(name))?.bytes ?? (await this.#measure("artifacts", name));
      const usedMs = await volume.usedMs(name);
      const inUse = leases.some(({ artifact }) => artifact === name);
      entries.push({ artifact: name, bytes, usedMs, inUse, pinned: pins.has(name) });
    }
    const leftovers: Leftover[] = [];
    // Of other fillers, by artifact: one that goes on with what another left has written before it has announced.
    const announced = new Map<string, number>();
    const written = new Map<string, number>();
    const add = (to: Map<string, number>, name: string, bytes: number) =>
      to.set(name, (to.get(name) ?? 0) + bytes);
    for (const lease of leases) {
      if (lease.nonce !== run?.nonce) add(announced, lease.artifact, lease.bytes ?? 0);
    }
    for (const name of await volume.fresh("filling", owners.id)) {
      const owned = parseOwned(name);
      if (owned === undefined) continue;
      if (owned.owner === owners.id && owned.what === run?.artifact) continue;
      const { bytes, newestMs: usedMs } = await measureTree(volume.path("filling", name));
      if (await this.isAbandoned(name)) leftovers.push({ name, bytes, usedMs });
      else add(written, owned.what, bytes);
    }
    let announcedBytes = 0;
    let unwrittenBytes = 0;
    for (const artifact of new Set([...announced.keys(), ...written.keys()])) {
      const [will, has] = [announced.get(artifact) ?? 0, written.get(artifact) ?? 0];
      announcedBytes += Math.max(will, has);
      unwrittenBytes += Math.max(0, will - has);
    }
    for (const name of await volume.names("trash")) {
      announcedBytes += await this.#measure("trash", name);
    }
    const freeBytes = await freeBytesOf(volume.root);
    return { entries, leftovers, announcedBytes, unwrittenBytes, freeBytes, limits };
  }

  /** Whether nobody works in a private directory. */
  async isAbandoned(name: string): Promise<boolean> {
    const { owners, filling } = this.#parts;
    const owned = parseOwned(name);
    if (owned === undefined) return false;
    if (owned.owner === FREE) return true;
    return owned.owner === owners.id ? !filling.has(name) : !(await owners.isLive(owned.owner));
  }

  /** Removes an artifact unless somebody uses it. */
  async evict({ artifact, bytes }: Pick<RoomEntry, "artifact" | "bytes">): Promise<boolean> {
    const { volume, owners, active, log } = this.#parts;
    const look = async () => "sound" as const;
    const run = new LeaseRun({ volume, owners, active, artifact, look });
    const outcome = await run.run(EVICT);
    if (outcome !== "evicted") return false;
    await volume.unlink(volume.path("used", artifact));
    log("info", `cache: removed artifact ${artifact.slice(0, 12)} (${bytes} bytes)`);
    return true;
  }

  /** Removes a private directory that nobody works in. */
  async drop(name: string): Promise<void> {
    const { volume, owners } = this.#parts;
    const to = volume.path("trash", ownedText({ what: GONE, owner: owners.id, nonce: newNonce() }));
    if (await volume.rename(volume.path("filling", name), to)) await volume.remove(to);
  }

  async #liveLeases(): Promise<LeaseName[]> {
    const { volume, owners, active } = this.#parts;
    const live: LeaseName[] = [];
    for (const name of await volume.fresh("leases", owners.id)) {
      const lease = parseLease(name);
      if (lease === undefined) continue;
      const isMine = lease.owner === owners.id;
      if (isMine ? active.has(lease.nonce) : await owners.isLive(lease.owner)) live.push(lease);
    }
    return live;
  }

  async #measure(folder: "artifacts" | "trash", name: string): Promise<number> {
    return (await measureTree(this.#parts.volume.path(folder, name))).bytes;
  }
}

async function freeBytesOf(dir: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(dir);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
