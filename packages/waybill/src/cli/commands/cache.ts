// waybill cache ls, pin, unpin, prune, verify, stats: a worker's cache of artifacts, looked at and tended beside whoever
// uses it.
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import path from "node:path";
import { Command } from "commander";
import { ArtifactId, WaybillError } from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { ArtifactCache } from "../../worker/cache/artifact-cache.ts";
import type { RoomEntry } from "../../worker/cache/room-plan.ts";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { filePath, withCommon } from "../options.ts";
import { formatAge, formatBytes, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { pruneCommand } from "./cache-prune.ts";
import { statsCommand } from "./cache-stats.ts";

export type CacheOptions = { readonly cacheDir?: string };

export function cacheCommand(run: Runner): Command {
  const cache = new Command("cache").description(
    "artifacts that a worker keeps on this machine, or on a volume it shares",
  );
  const ls = withCache(new Command("ls"))
    .description("what is in the cache, most recently used first")
    .action(run<[], CacheOptions>(list));
  const pin = withCache(new Command("pin"))
    .argument("<artifact>", "its id, a beginning of it (4 digits or more), or its name")
    .option("--why <text>", "for those who look later")
    .description("keep an artifact whatever the cache's limits say")
    .action(run<[string], CacheOptions & { why?: string }>(pinOne));
  const unpin = withCache(new Command("unpin"))
    .argument("<artifact>", "its id, a beginning of it (4 digits or more), or its name")
    .description("let an artifact give way again when it is the least recently used")
    .action(run<[string], CacheOptions>(unpinOne));
  const verify = withCache(new Command("verify"))
    .argument("[artifact...]", "ids, beginnings of them, or names (default: all)")
    .option("--dry-run", "report only; what is damaged goes on being served")
    .description("read every byte in the cache and compare it with the manifests")
    .action(run<[string[]], CacheOptions & { dryRun?: boolean }>(verifyAll));
  for (const command of [ls, pin, unpin, pruneCommand(run), verify, statsCommand(run)]) {
    cache.addCommand(command);
  }
  return cache;
}

/** The common options and --cache-dir. */
export function withCache(command: Command): Command {
  return withCommon(
    command.option(
      "--cache-dir <dir>",
      "the cache (default: the one of this machine's worker, below --data)",
      filePath,
    ),
  );
}

/** Opens the cache meant, beside whoever uses it; throws `not_found` when there is none. */
export async function withOpenCache<T>(
  context: Context,
  options: CacheOptions,
  use: (cache: ArtifactCache, dir: string) => Promise<T>,
): Promise<T> {
  const dir = await cacheDirOf(context, options);
  if (!existsSync(path.join(dir, "artifacts"))) {
    throw new WaybillError("not_found", `there is no cache in ${dir}`, {
      hint: "a worker makes one when it starts; name another with --cache-dir",
    });
  }
  const { ArtifactCache } = await import("../../worker/cache/artifact-cache.ts");
  const log = (_: string, message: string) => context.output.note(message);
  const cache = new ArtifactCache({ cacheDir: dir, maxBytes: Number.POSITIVE_INFINITY, log });
  try {
    return await use(cache, dir);
  } finally {
    await cache.close();
  }
}

async function cacheDirOf(context: Context, { cacheDir }: CacheOptions): Promise<string> {
  if (cacheDir !== undefined) return path.resolve(cacheDir);
  const worker = path.join(context.dataDir, "worker");
  const kept = path.join(worker, "cache");
  if (existsSync(kept)) return kept;
  // An ephemeral worker's, while it runs.
  const names = existsSync(worker) ? await readdir(worker) : [];
  const session = names.find((name) => name.startsWith("session-"));
  return session === undefined ? kept : path.join(worker, session, "cache");
}

/** The artifact of the cache that an id, a beginning of one or a name means. */
async function artifactMeant(cache: ArtifactCache, text: string): Promise<RoomEntry> {
  const { entries } = await cache.survey();
  const byId = /^[0-9a-f]{4,64}$/.test(text)
    ? entries.filter(({ artifact }) => artifact.startsWith(text))
    : [];
  const found = byId.length > 0 ? byId : await named(cache, entries, text);
  const [only] = found;
  if (only === undefined) {
    throw new WaybillError("not_found", `the cache has no artifact ${text}`, {
      hint: "see `waybill cache ls`",
    });
  }
  if (found.length === 1) return only;
  const shown = found.map(({ artifact }) => artifact.slice(0, 12)).join(", ");
  throw new WaybillError("conflict", `${text} may be ${shown}`, { hint: "give more of the id" });
}

async function named(
  cache: ArtifactCache,
  entries: readonly RoomEntry[],
  name: string,
): Promise<RoomEntry[]> {
  const found: RoomEntry[] = [];
  for (const entry of entries) {
    if ((await cache.nameOf(entry.artifact)) === name) found.push(entry);
  }
  return found;
}

function list(context: Context, _: [], options: CacheOptions): Promise<void> {
  const { output } = context;
  return withOpenCache(context, options, async (cache, dir) => {
    const { entries } = await cache.survey();
    const whole = new Set((await cache.list()).map(({ artifact }) => artifact));
    const nowMs = await cache.nowMs();
    const rows: string[][] = [];
    for (const entry of entries.toSorted((a, b) => b.usedMs - a.usedMs)) {
      const { artifact, bytes, usedMs, inUse, pinned } = entry;
      const name = await cache.nameOf(artifact);
      const isWhole = whole.has(artifact);
      output.record({
        type: "cached",
        artifact,
        ...(name === undefined ? {} : { name }),
        bytes,
        usedAt: new Date(usedMs).toISOString(),
        pinned,
        inUse,
        whole: isWhole,
      });
      const marks = [
        pinned ? "pinned" : "",
        inUse ? "in use" : "",
        isWhole ? "" : "damaged: only its right shards are used",
      ];
      rows.push([
        artifact.slice(0, 12),
        name ?? "–",
        formatBytes(bytes),
        formatAge(nowMs - usedMs),
        marks.filter((mark) => mark !== "").join(", "),
      ]);
    }
    if (rows.length === 0) output.line(`the cache in ${dir} is empty`);
    else output.line(table([["ARTIFACT", "NAME", "SIZE", "USED", ""], ...rows]));
  });
}

function pinOne(
  context: Context,
  [text]: [string],
  options: CacheOptions & { why?: string },
): Promise<void> {
  const { output } = context;
  return withOpenCache(context, options, async (cache) => {
    // One that is not here yet is kept when it comes.
    const whole = v.safeParse(ArtifactId, text);
    const artifact = whole.success ? whole.output : (await artifactMeant(cache, text)).artifact;
    await cache.pin(artifact, options.why);
    output.record({ type: "pin", artifact, pinned: true });
    output.line(`${artifact.slice(0, 12)} is pinned`);
  });
}

function unpinOne(context: Context, [text]: [string], options: CacheOptions): Promise<void> {
  const { output } = context;
  return withOpenCache(context, options, async (cache) => {
    const whole = v.safeParse(ArtifactId, text);
    const artifact = whole.success ? whole.output : (await artifactMeant(cache, text)).artifact;
    const was = await cache.unpin(artifact);
    output.record({ type: "pin", artifact, pinned: false, was });
    output.line(`${artifact.slice(0, 12)} ${was ? "is no longer pinned" : "was not pinned"}`);
  });
}

function verifyAll(
  context: Context,
  [texts]: [string[]],
  options: CacheOptions & { dryRun?: boolean },
): Promise<number> {
  const { output, signal } = context;
  const { dryRun = false } = options;
  return withOpenCache(context, options, async (cache) => {
    const artifacts =
      texts.length === 0
        ? (await cache.list()).map(({ artifact }) => artifact)
        : await Promise.all(texts.map(async (text) => (await artifactMeant(cache, text)).artifact));
    let checkedBytes = 0;
    let damaged = 0;
    let gone = 0;
    for (const artifact of artifacts) {
      const short = artifact.slice(0, 12);
      const onProgress = ({ bytes, total }: { bytes: number; total: number }) =>
        output.status([`${short}  ${formatBytes(bytes)} of ${formatBytes(total)}`]);
      const compared = await cache.verify(artifact, { dryRun, signal, onProgress });
      output.status([], true);
      if (compared === undefined) {
        gone += 1;
        output.record({ type: "verified", artifact, ok: false, gone: true });
        output.line(`${short}  is not here, or was found damaged before`);
        continue;
      }
      checkedBytes += compared.bytes;
      const { differences } = compared;
      const ok = differences.length === 0;
      if (!ok) damaged += 1;
      output.record({ type: "verified", artifact, ok, bytes: compared.bytes, differences });
      output.line(`${short}  ${ok ? "right" : "damaged"}  ${formatBytes(compared.bytes)}`);
      for (const { path: file, kind, detail } of differences) {
        output.line(`  ${file}: ${detail ?? kind}`);
      }
    }
    output.record({ type: "summary", artifacts: artifacts.length, damaged, bytes: checkedBytes });
    const missing = gone === 0 ? "" : `, ${gone} not here`;
    const what = `${damaged === 0 ? "all right" : `${damaged} damaged`}${missing}`;
    output.line(`${artifacts.length} artifacts, ${formatBytes(checkedBytes)} read: ${what}`);
    if (damaged > 0 && !dryRun) {
      output.line(
        "what is damaged is not served; the next job that needs it fetches what is wrong",
      );
    }
    // One that gave way meanwhile is missed only by whoever named it.
    const isMissed = gone > 0 && texts.length > 0;
    return damaged === 0 && !isMissed ? EXIT.ok : EXIT.failed;
  });
}
