// waybill cache prune: makes a cache smaller; with --dry-run says what would go, and why.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { Command } from "commander";
import { WaybillError } from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { ArtifactCache } from "../../worker/cache/artifact-cache.ts";
import { type DiskAmount, diskBytes } from "../../worker/cache/disk-amount.ts";
import {
  LIMITS_FILE,
  type Leftover,
  type RoomEntry,
  type RoomFacts,
  type RoomLimits,
  planRoom,
} from "../../worker/cache/room-plan.ts";
import type { Context } from "../context.ts";
import { diskAmount, duration } from "../options.ts";
import { formatAge, formatBytes } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { type CacheOptions, withCache, withOpenCache } from "./cache.ts";

type PruneOptions = CacheOptions & {
  readonly to?: DiskAmount;
  readonly free?: DiskAmount;
  readonly older?: number;
  readonly all?: boolean;
  readonly dryRun?: boolean;
};

const Limits = v.object({ maxBytes: v.number(), minFreeBytes: v.number() });

export function pruneCommand(run: Runner): Command {
  return withCache(new Command("prune"))
    .option("--to <size>", "until it takes no more than this (50G or 20%)", diskAmount)
    .option("--free <size>", "until its disk has this much free (100G or 10%)", diskAmount)
    .option("--older <time>", "what was not used for so long (7d)", duration)
    .option("--all", "everything that is not in use or pinned")
    .option("--dry-run", "say what would be removed and why, and remove nothing")
    .description("remove what was not used for longest, and what broken transfers left")
    .action(run<[], PruneOptions>(prune));
}

type Chosen = {
  readonly entry: RoomEntry;
  readonly why: string;
};

function prune(context: Context, _: [], options: PruneOptions): Promise<void> {
  const { output } = context;
  const { dryRun = false } = options;
  return withOpenCache(context, options, async (cache, dir) => {
    const swept = await cache.sweep({ dryRun });
    const facts = { ...(await cache.survey()), limits: await limitsOf(options, dir) };
    const nowMs = await cache.nowMs();
    const { chosen, leftovers } = choose(facts, options, nowMs);
    let bytes = 0;
    for (const { name, bytes: size } of leftovers) {
      if (!dryRun) await cache.drop(name);
      bytes += size;
      const artifact = name.slice(0, 64);
      output.record({
        type: "pruned",
        artifact,
        bytes: size,
        why: "broken transfer",
        dryRun,
        removed: !dryRun,
      });
      output.line(
        `${verb(dryRun)} ${artifact.slice(0, 12)}  ${formatBytes(size)}  broken transfer`,
      );
    }
    for (const { entry, why } of chosen) {
      const gone = await remove(cache, entry, dryRun);
      const { artifact, bytes: size } = entry;
      const name = await cache.nameOf(artifact);
      if (gone) bytes += size;
      const reason = gone
        ? why
        : "not removed: it came into use, or another process has removed it";
      output.record({
        type: "pruned",
        artifact,
        bytes: size,
        why: reason,
        dryRun,
        removed: gone && !dryRun,
      });
      const says = gone ? verb(dryRun) : "left";
      const called = name === undefined ? "" : ` (${name})`;
      output.line(`${says} ${artifact.slice(0, 12)}${called}  ${formatBytes(size)}  ${reason}`);
    }
    output.record({ type: "summary", bytes, swept, dryRun });
    const dead = swept.leases + swept.trash + swept.leftovers;
    if (dead > 0) output.line(`${verb(dryRun)} ${dead} things of processes that are gone`);
    const what = dryRun ? "would be freed" : "freed";
    output.line(bytes === 0 && dead === 0 ? "nothing to remove" : `${formatBytes(bytes)} ${what}`);
  });
}

function verb(dryRun: boolean): string {
  return dryRun ? "would remove" : "removed";
}

/** What goes and why, in the order in which it goes. */
function choose(
  facts: RoomFacts,
  { older, all = false }: PruneOptions,
  nowMs: number,
): { readonly chosen: readonly Chosen[]; readonly leftovers: readonly Leftover[] } {
  const chosen: Chosen[] = [];
  for (const entry of facts.entries.toSorted((a, b) => a.usedMs - b.usedMs)) {
    if (entry.inUse || entry.pinned) continue;
    const ageMs = nowMs - entry.usedMs;
    if (all) chosen.push({ entry, why: "all was asked for" });
    else if (older !== undefined && ageMs > older) {
      chosen.push({ entry, why: `not used for ${formatAge(ageMs)}` });
    }
  }
  const gone = new Set(chosen.map(({ entry }) => entry));
  const bytes = chosen.reduce((sum, { entry }) => sum + entry.bytes, 0);
  const { freeBytes } = facts;
  const rest = {
    ...facts,
    entries: facts.entries.filter((entry) => !gone.has(entry)),
    freeBytes: freeBytes === undefined ? undefined : freeBytes + bytes,
  };
  const plan = planRoom(rest, 0);
  const why = "least recently used, and the cache is over its limits";
  const over = plan.evict.map((entry) => ({ entry, why }));
  return { chosen: [...chosen, ...over], leftovers: all ? facts.leftovers : plan.drop };
}

async function remove(cache: ArtifactCache, entry: RoomEntry, dryRun: boolean): Promise<boolean> {
  return dryRun || cache.evict(entry.artifact, entry.bytes);
}

/** Those asked for, else those its worker keeps to. */
async function limitsOf({ to, free, older, all }: PruneOptions, dir: string): Promise<RoomLimits> {
  const none = { maxBytes: Number.POSITIVE_INFINITY, minFreeBytes: 0 };
  const isAsked = to !== undefined || free !== undefined || older !== undefined || all === true;
  const kept = isAsked ? none : ((await keptLimits(dir)) ?? none);
  return {
    maxBytes: to === undefined ? kept.maxBytes : await diskBytes(to, dir),
    minFreeBytes: free === undefined ? kept.minFreeBytes : await diskBytes(free, dir),
  };
}

/** What the worker that used the cache last holds it to. */
export async function keptLimits(dir: string): Promise<RoomLimits | undefined> {
  try {
    return v.parse(Limits, JSON.parse(await readFile(path.join(dir, LIMITS_FILE), "utf8")));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new WaybillError("local_io", `${path.join(dir, LIMITS_FILE)} cannot be read`, {
      cause: error,
    });
  }
}
