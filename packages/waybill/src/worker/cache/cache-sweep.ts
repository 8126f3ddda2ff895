// Clears away what processes left that are gone: leases, things in the trash, private directories, probes. What an evictor
// had moved away when it died goes back when somebody reads it.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type ArtifactId } from "@waybill/sdk/protocol";
import { type CacheParts, type CacheRoom } from "./cache-room.ts";
import {
  GONE,
  isArtifactId,
  newNonce,
  ownedText,
  parseLease,
  parseOwned,
  parseProbe,
} from "./cache-volume.ts";
import { RECOVER } from "./lease-machine.ts";
import { LeaseRun } from "./lease-run.ts";
import { measureTree } from "./tree-state.ts";

/** What a broken filling has is kept for the next one so long. */
const LEFTOVER_MS = 86_400_000;

export type Swept = {
  readonly leases: number;
  readonly trash: number;
  readonly leftovers: number;
};

/** Removes remains of the dead, and of this process itself. Says what it removed, or with `dryRun` would remove. */
export async function sweep(
  parts: CacheParts,
  room: CacheRoom,
  options: { readonly leftoverMs?: number; readonly dryRun?: boolean } = {},
): Promise<Swept> {
  const { leftoverMs = LEFTOVER_MS, dryRun = false } = options;
  const { volume, owners } = parts;
  const dead = new Set<string>();
  const isDead = async (owner: string) => {
    if (owner === owners.id || (await owners.isLive(owner))) return false;
    dead.add(owner);
    return true;
  };
  for (const owner of await volume.names("owners")) await isDead(owner);
  const trash = await sweepTrash(parts, isDead, dryRun);
  let leases = 0;
  for (const name of await volume.fresh("leases", owners.id)) {
    const lease = parseLease(name);
    if (lease === undefined) continue;
    const isOver =
      lease.owner === owners.id ? !parts.active.has(lease.nonce) : await isDead(lease.owner);
    if (!isOver) continue;
    leases += 1;
    if (!dryRun) await volume.unlink(volume.path("leases", name));
  }
  const leftovers = await sweepLeftovers(parts, room, leftoverMs, dryRun);
  if (!dryRun) {
    for (const folder of ["", "artifacts", "filling", "leases", "pins", "trash"]) {
      const dir = join(volume.root, folder);
      for (const name of await readdir(dir)) {
        const owner = parseProbe(name);
        if (owner !== undefined && (await isDead(owner))) await volume.unlink(join(dir, name));
      }
    }
    // Last: as long as it is known, whoever sees one of its things knows whose it is.
    for (const owner of dead) await owners.forget(owner);
  }
  return { leases, trash, leftovers };
}

async function sweepTrash(
  parts: CacheParts,
  isDead: (owner: string) => Promise<boolean>,
  dryRun: boolean,
): Promise<number> {
  const { volume, owners } = parts;
  let count = 0;
  for (const name of await volume.fresh("trash", owners.id)) {
    const owned = parseOwned(name);
    if (owned === undefined || !(await isDead(owned.owner))) continue;
    count += 1;
    if (dryRun) continue;
    if (isArtifactId(owned.what)) await recover(parts, owned.what, owned.owner);
    else {
      const to = volume.path(
        "trash",
        ownedText({ what: GONE, owner: owners.id, nonce: newNonce() }),
      );
      if (await volume.rename(volume.path("trash", name), to)) await volume.remove(to);
    }
  }
  return count;
}

async function recover(parts: CacheParts, artifact: ArtifactId, dead: string): Promise<void> {
  const { volume, owners, active, log } = parts;
  const look = async () => "sound" as const;
  const run = new LeaseRun({ volume, owners, active, artifact, look, recovers: dead });
  const outcome = await run.run(RECOVER);
  const what = outcome === "kept" ? "put back, since it is in use" : "removed for good";
  log("info", `cache: ${artifact.slice(0, 12)}, left in the trash by a process that died: ${what}`);
}

async function sweepLeftovers(
  { volume, owners }: CacheParts,
  room: CacheRoom,
  leftoverMs: number,
  dryRun: boolean,
): Promise<number> {
  let count = 0;
  let nowMs: number | undefined;
  for (const name of await volume.names("filling")) {
    if (!(await room.isAbandoned(name))) continue;
    nowMs ??= await owners.renew();
    const { newestMs } = await measureTree(volume.path("filling", name));
    if (nowMs === undefined || nowMs - newestMs < leftoverMs) continue;
    count += 1;
    if (!dryRun) await room.drop(name);
  }
  return count;
}
