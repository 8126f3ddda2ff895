// waybill cache stats: what a cache holds, what it takes, and who uses it.
import path from "node:path";
import { Command } from "commander";
import { diskUse } from "../../worker/cache/disk-use.ts";
import type { Context } from "../context.ts";
import { formatBytes, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { keptLimits } from "./cache-prune.ts";
import { type CacheOptions, withCache, withOpenCache } from "./cache.ts";

export function statsCommand(run: Runner): Command {
  return withCache(new Command("stats"))
    .description("what the cache holds, what it takes on the disk, and its limits")
    .action(run<[], CacheOptions>(stats));
}

function stats(context: Context, _: [], options: CacheOptions): Promise<void> {
  const { output } = context;
  return withOpenCache(context, options, async (cache, dir) => {
    const facts = await cache.survey();
    const { entries, leftovers, announcedBytes, freeBytes } = facts;
    const sum = (some: readonly { readonly bytes: number }[]) =>
      some.reduce((total, { bytes }) => total + bytes, 0);
    const inUse = entries.filter((entry) => entry.inUse);
    const pinned = entries.filter((entry) => entry.pinned);
    const folders = ["artifacts", "filling", "trash"].map((name) => path.join(dir, name));
    const disk = await diskUse(folders);
    const limits = await keptLimits(dir);
    output.record({
      type: "cache",
      dir,
      artifacts: entries.length,
      bytes: sum(entries),
      diskBytes: disk.bytes,
      linkedBytes: disk.linkedBytes,
      inUse: { artifacts: inUse.length, bytes: sum(inUse) },
      pinned: { artifacts: pinned.length, bytes: sum(pinned) },
      arrivingBytes: announcedBytes,
      leftoverBytes: sum(leftovers),
      ...(freeBytes === undefined ? {} : { freeBytes }),
      ...(limits === undefined ? {} : limits),
    });
    const line = (what: string, some: readonly { readonly bytes: number }[]) => [
      what,
      `${some.length} artifacts`,
      formatBytes(sum(some)),
    ];
    output.line(
      table([
        ["cache", dir, ""],
        line("whole", entries),
        line("in use", inUse),
        line("pinned", pinned),
        ["arriving", "", formatBytes(announcedBytes)],
        ["broken transfers", String(leftovers.length), formatBytes(sum(leftovers))],
        ["on the disk", `${disk.files} files`, formatBytes(disk.bytes)],
        ["  linked by jobs", "", formatBytes(disk.linkedBytes)],
        ["at most", "", limits === undefined ? "–" : formatBytes(limits.maxBytes)],
        ["to stay free", "", limits === undefined ? "–" : formatBytes(limits.minFreeBytes)],
        ["free", "", freeBytes === undefined ? "–" : formatBytes(freeBytes)],
      ]),
    );
  });
}
