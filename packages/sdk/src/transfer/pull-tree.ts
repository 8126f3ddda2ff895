// Pulls an artifact into a folder: looks at what is there, counts what is right, fetches the rest, and puts
// files in place one by one.
import { PULL_STATE_FOLDER, ShardMap, findCollisions } from "../artifact/index.ts";
import { type FileFacts, TimeSlice, files } from "../platform/index.ts";
import {
  type ArtifactFile,
  type ArtifactId,
  type ArtifactManifest,
  WaybillError,
} from "../protocol/index.ts";
import { assertFolder, assertOutsideState, lockDestination } from "./destination.ts";
import { type DownloadInput, runDownload } from "./download-runner.ts";
import { GrowingTree, pullPaths } from "./growing-tree.ts";
import { checkShards } from "./local-tree-source.ts";
import { OlderFilesSource } from "./older-files-source.ts";
import { OlderFiles } from "./older-files.ts";
import { ShardSet } from "./shard-set.ts";
import type { OpenArtifact, Source, SourceFactory, SourceKind } from "./source.ts";
import { TreeKeeper } from "./tree-keeper.ts";
import { layZeros } from "./zero-shards.ts";

export type PullProgress = {
  /** Verified bytes, those that were there before included. */
  readonly bytes: number;
  readonly total: number;
  /** By where they came from. */
  readonly sources: Readonly<Partial<Record<SourceKind, number>>>;
};

export type PullTreeInput = {
  readonly artifact: ArtifactId;
  readonly manifest: ArtifactManifest;
  /** Folder the files are laid out in; made when it is not there. */
  readonly dir: string;
  readonly sources: readonly SourceFactory[];
  /** Replace files that have other content; otherwise they are a `conflict`. */
  readonly overwrite?: boolean;
  /** Somebody reads the files at once: they stay in the page cache, which takes longer (decision 8). */
  readonly readSoon?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
  readonly onDrop?: ((source: string, reason: string) => void) | undefined;
  /**
   * Told before anything is fetched, and waited for: what has matched can be read from the tree, and it takes what is to
   * come first. What it throws ends the pull.
   */
  readonly onTree?: ((tree: GrowingTree) => void | Promise<void>) | undefined;
  /** What the scheduler prefers, how long it goes on without a shard, and what it is to tell. */
  readonly schedule?: Pick<DownloadInput, "prefer" | "retryForMs" | "onRetry" | "onReport">;
};

/**
 * Pulls the tree; resumes what an earlier pull left in `dir`. Gives bytes by kind of source. Throws
 * `conflict` (files with other content, before anything is changed; files that appeared meanwhile; another pull into
 * the folder), `no_source_left`, `storage_full`,
 * `local_io`, `unsafe_path`, or the signal's reason.
 */
export async function pullTree(
  input: PullTreeInput,
): Promise<{ bytes: number; sources: Partial<Record<SourceKind, number>> }> {
  const map = new ShardMap(input.manifest);
  assertOutsideState(input.manifest.files.map(({ path }) => path));
  const dir = files.absolute(input.dir);
  const unlock = await lockDestination(dir, { signal: input.signal });
  try {
    return await pullLocked(input, map, dir);
  } finally {
    unlock();
  }
}

async function pullLocked(
  input: PullTreeInput,
  map: ShardMap,
  dir: string,
): Promise<{ bytes: number; sources: Partial<Record<SourceKind, number>> }> {
  const tally = new Tally(map.bytes, input.onProgress);
  const there = await lookAround(map, dir, input);
  tally.add("cache", there.bytes);
  const { readSoon = false, overwrite = false } = input;
  const keeper = await TreeKeeper.open(map, dir, input.artifact, { readSoon, overwrite });
  try {
    for (const index of there.right) keeper.skip(index);
    const known = await resumeParts(map, keeper, there.done, input.signal);
    const resumed = known.union(await layZeros(map, keeper, there.done.union(known), input.signal));
    if (!resumed.isEmpty) tally.add("cache", bytesOf(map, resumed));
    await keeper.keepEmptyFiles();
    const open = { artifact: input.artifact, manifest: input.manifest, map };
    const made = await Promise.all(input.sources.map(async (make) => make(open)));
    const sources: Source[] = made.filter((source) => source !== undefined);
    const done = there.done.union(resumed);
    const missing = ShardSet.all(map.count).minus(done);
    const replaced = await fromReplaced(there.replaced, missing, open, input.signal);
    if (replaced !== undefined) sources.unshift(replaced);
    const paths = pullPaths(map, dir, (file) => keeper.partPath(file));
    const tree = new GrowingTree({ artifact: input.artifact, map, paths });
    tree.add(done);
    await input.onTree?.(tree);
    await runDownload({
      ...input.schedule,
      map,
      done,
      sources,
      urgency: tree,
      keeper: {
        keep: async (run, bytes) => {
          await keeper.keep(run, bytes);
          tree.add(ShardSet.of([run]));
        },
      },
      signal: input.signal,
      onBytes: (kind, bytes) => tally.add(kind, bytes),
      ...(input.onDrop === undefined ? {} : { onDrop: input.onDrop }),
    });
    await keeper.finish();
  } finally {
    await keeper.close();
  }
  return { bytes: map.bytes, sources: tally.sources };
}

/** Counts bytes by kind of source. */
class Tally {
  readonly sources: Partial<Record<SourceKind, number>> = {};
  #bytes = 0;
  readonly #total: number;
  readonly #onProgress: ((progress: PullProgress) => void) | undefined;

  constructor(total: number, onProgress: ((progress: PullProgress) => void) | undefined) {
    this.#total = total;
    this.#onProgress = onProgress;
  }

  add(kind: SourceKind, bytes: number): void {
    if (bytes === 0) return;
    this.sources[kind] = (this.sources[kind] ?? 0) + bytes;
    this.#bytes += bytes;
    this.#onProgress?.({ bytes: this.#bytes, total: this.#total, sources: { ...this.sources } });
  }
}

type Surroundings = {
  /** Files that are right where they are. */
  readonly right: readonly number[];
  /** Their shards. */
  readonly done: ShardSet;
  readonly bytes: number;
  /** Files with other content, which are about to be replaced. */
  readonly replaced: readonly Replaced[];
};

/** A file with other content, and the shards of the new one that are right in it, at their own offsets. */
type Replaced = { readonly path: string; readonly file: number; readonly right: ShardSet };

/** Hashes what lies where files will be put; throws `conflict` when it is something else. */
async function lookAround(
  map: ShardMap,
  dir: string,
  { overwrite = false, signal }: PullTreeInput,
): Promise<Surroundings> {
  const right: number[] = [];
  let done = ShardSet.empty;
  const replaced: Replaced[] = [];
  const inTheWay: string[] = [];
  const fresh = files.names(dir).every((name) => name === PULL_STATE_FOLDER);
  const slice = new TimeSlice();
  const folders = new Set<string>();
  for (const [index, file] of fresh ? [] : map.manifest.files.entries()) {
    await slice.pause(signal);
    assertFolders(dir, file.path, folders);
    const path = files.join(dir, file.path);
    const own = files.lookAt(path);
    if (own === undefined) continue;
    const shards = map.shardsOf(index);
    const matching =
      own.kind === "file"
        ? await checkShards(map, path, shards.count > 0 ? [shards] : [], signal)
        : ShardSet.empty;
    if (own.kind === "file" && own.size === file.size && matching.size === shards.count) {
      setMode(path, own, file);
      right.push(index);
      done = done.with(shards);
    } else {
      if (own.kind === "file") replaced.push({ path, file: index, right: matching });
      if (!overwrite || own.kind === "directory") inTheWay.push(file.path);
    }
  }
  if (inTheWay.length > 0) throw otherContent(dir, inTheWay);
  assertHoldable(map, dir);
  return { right, done, replaced, bytes: bytesOf(map, done) };
}

/** Throws `conflict` when a folder on the way to a file is a link: what lies behind it is not the destination's. */
function assertFolders(dir: string, path: string, known: Set<string>): void {
  for (let cut = path.indexOf("/"); cut !== -1; cut = path.indexOf("/", cut + 1)) {
    const folder = path.slice(0, cut);
    if (known.has(folder)) continue;
    if (!assertFolder(files.join(dir, folder))) return;
    known.add(folder);
  }
}

/** Gives a file that is right the mode it should have. */
function setMode(path: string, own: FileFacts, { mode, executable }: ArtifactFile): void {
  if (mode === undefined) {
    const wanted = executable === true;
    if (own.executable !== wanted) files.setExecutable(path, wanted);
  } else if (own.mode !== mode) files.setMode(path, mode);
}

/** Checks the shards an earlier pull's journal names and hands the right ones to the keeper. */
async function resumeParts(
  map: ShardMap,
  keeper: TreeKeeper,
  done: ShardSet,
  signal: AbortSignal | undefined,
): Promise<ShardSet> {
  let resumed = ShardSet.empty;
  const noted = keeper.noted.intersect(ShardSet.all(map.count)).minus(done);
  for (let run = noted.firstRun(); run !== undefined;) {
    const own = map.shardsOf(map.fileOf(run.first));
    const ofFile = noted.intersect(ShardSet.of([own])).runs();
    const path = keeper.partPath(map.fileOf(run.first));
    const right = await checkShards(map, path, ofFile, signal);
    for (const each of right.runs()) await keeper.resume(each);
    resumed = resumed.union(right);
    run = noted.firstRun(own.first + own.count);
  }
  return resumed;
}

/** What files that are about to be replaced hold of the new ones, at any offset. */
async function fromReplaced(
  replaced: readonly Replaced[],
  missing: ShardSet,
  { artifact, manifest, map }: OpenArtifact,
  signal: AbortSignal | undefined,
): Promise<Source | undefined> {
  if (replaced.length === 0) return undefined;
  const older = new OlderFiles({ artifact, manifest, map }, missing);
  for (const { path, right } of replaced) {
    for (const run of right.runs()) {
      for (let shard = run.first; shard < run.first + run.count; shard++) {
        const { digest, offset } = map.locate(shard);
        older.note(digest, { path, offset });
      }
    }
  }
  for (const { path, file } of replaced) {
    const { path: name, crcs } = map.file(file);
    if (crcs !== undefined) await older.search(path, name, signal);
  }
  return OlderFilesSource.open(map, older.places);
}

function bytesOf(map: ShardMap, shards: ShardSet): number {
  return shards.runs().reduce((sum, run) => sum + map.bytesOf(run), 0);
}

function otherContent(dir: string, paths: readonly string[]): WaybillError {
  const named = paths.slice(0, 3).join(", ");
  const more = paths.length > 3 ? ` and ${paths.length - 3} more` : "";
  return new WaybillError("conflict", `${dir} holds other content under ${named}${more}`, {
    hint: "pull into another folder, or replace those files with --overwrite",
  });
}

/** Two paths that are one file here cannot both be laid out. */
function assertHoldable(map: ShardMap, dir: string): void {
  const [group] = findCollisions(map.manifest.files.map((file) => file.path));
  if (group === undefined) return;
  const probe = files.join(dir, PULL_STATE_FOLDER, "Case-Probe");
  files.makeDirectory(probe);
  const ignoresCase = files.lookAt(files.join(dir, PULL_STATE_FOLDER, "case-probe")) !== undefined;
  files.remove(probe);
  if (!ignoresCase) return;
  throw new WaybillError("unsafe_path", `${group.join(" and ")} would be one file in ${dir}`, {
    hint: "pull on a file system that tells upper from lower case",
  });
}
