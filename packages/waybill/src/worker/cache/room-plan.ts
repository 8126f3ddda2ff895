// What has to go so that something new fits into a cache: pure. The size cap counts whole artifacts, what fillers have
// announced and what broken fillings have left; the floor counts what the file system has free.
import type { ArtifactId } from "@waybill/sdk/protocol";

export type RoomEntry = {
  readonly artifact: ArtifactId;
  readonly bytes: number;
  readonly usedMs: number;
  /** Somebody reads, fills or evicts it. */
  readonly inUse: boolean;
  readonly pinned: boolean;
};

export type Leftover = { readonly name: string; readonly bytes: number; readonly usedMs: number };

export type RoomFacts = {
  readonly entries: readonly RoomEntry[];
  /** Private directories nobody works in. */
  readonly leftovers: readonly Leftover[];
  /** Announced by other fillers. */
  readonly announcedBytes: number;
  /** Of that, not yet on the disk. */
  readonly unwrittenBytes: number;
  /** `undefined` when nobody knows. */
  readonly freeBytes: number | undefined;
  readonly limits: RoomLimits;
};

/** What a cache is held to, beside it, for those who look at it from outside. */
export const LIMITS_FILE = "cache.json";

export type RoomLimits = {
  readonly maxBytes: number;
  readonly minFreeBytes: number;
};

export type RoomPlan = {
  /** Least recently used first. */
  readonly evict: readonly RoomEntry[];
  readonly drop: readonly Leftover[];
  /**
   * `fits`: both limits hold afterwards. `over`: the cap does not, by this artifact alone, since the rest is in use or
   * pinned. `full`: it must wait. `no space`: the floor does not hold.
   */
  readonly verdict: "fits" | "over" | "full" | "no space";
};

/** What to remove for `wantedBytes` more; 0 brings a cache back under its limits. */
export function planRoom(facts: RoomFacts, wantedBytes: number): RoomPlan {
  const { limits, announcedBytes, unwrittenBytes, freeBytes } = facts;
  let held = announcedBytes;
  for (const { bytes } of [...facts.entries, ...facts.leftovers]) held += bytes;
  let free = (freeBytes ?? Number.POSITIVE_INFINITY) - unwrittenBytes;
  const drop: Leftover[] = [];
  const evict: RoomEntry[] = [];
  const isFine = () =>
    held + wantedBytes <= limits.maxBytes && free - wantedBytes >= limits.minFreeBytes;
  for (const leftover of byAge(facts.leftovers)) {
    if (isFine()) break;
    drop.push(leftover);
    held -= leftover.bytes;
    free += leftover.bytes;
  }
  for (const entry of byAge(facts.entries)) {
    if (isFine()) break;
    if (entry.inUse || entry.pinned) continue;
    evict.push(entry);
    held -= entry.bytes;
    free += entry.bytes;
  }
  return { evict, drop, verdict: verdictOf(held, free, wantedBytes, limits) };
}

function verdictOf(
  held: number,
  free: number,
  wantedBytes: number,
  { maxBytes, minFreeBytes }: RoomLimits,
): RoomPlan["verdict"] {
  if (free - wantedBytes < minFreeBytes) return "no space";
  if (held + wantedBytes <= maxBytes) return "fits";
  return held <= maxBytes ? "over" : "full";
}

function byAge<T extends { readonly usedMs: number }>(all: readonly T[]): T[] {
  return all.toSorted((a, b) => a.usedMs - b.usedMs);
}
