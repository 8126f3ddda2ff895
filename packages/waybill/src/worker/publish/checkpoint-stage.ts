// A copy of a checkpoint that the trainer cannot change any more: it may write over its file a second after it has told of
// it. File systems that can share the blocks of a copy do.
//
//   {dir}/{n}/files/…           what is pushed
//   {dir}/{n}/checkpoint.json   written last: the trainer's words about it
import type { BigIntStats } from "node:fs";
import { constants, copyFile, lstat, mkdir, readdir, realpath, stat } from "node:fs/promises";
import { basename, join, resolve, sep } from "node:path";
import * as v from "valibot";
import { WaybillError } from "@waybill/sdk/protocol";
import { removeTree } from "../data-dir/data-dir.ts";
import { readIfThere, replaceFile } from "../data-dir/files.ts";

export type StageInit = {
  readonly dir: string;
  /** Directories a checkpoint may lie in; relative paths are looked for in each in turn. */
  readonly roots: readonly string[];
  /** Left free, so that staging never is what fills a disk. */
  readonly minFreeBytes: number;
  readonly freeBytes: (dir: string) => Promise<number>;
};

export type StagedCheckpoint = {
  /** Later ones have greater numbers. */
  readonly n: number;
  readonly place: string;
  readonly files: string;
  readonly data: Readonly<Record<string, unknown>>;
};

const Words = v.object({ data: v.record(v.string(), v.unknown()) });

type Tree = {
  readonly bytes: bigint;
  readonly files: readonly {
    readonly path: string;
    readonly name: string;
    /** Differs once the file was written to or replaced. */
    readonly state: string;
  }[];
};

/** Copies what a `checkpoint` line names; throws when it is not there, does not fit, or was changed meanwhile. */
export async function stageCheckpoint(
  init: StageInit,
  n: number,
  path: string,
  data: Readonly<Record<string, unknown>>,
): Promise<StagedCheckpoint> {
  const source = await findCheckpoint(init.roots, path);
  const tree = await listTree(source);
  if (tree.files.length === 0) throw new WaybillError("not_found", "it has no files");
  const place = join(init.dir, String(n));
  const files = join(place, "files");
  await removeTree(place);
  await mkdir(files, { recursive: true, mode: 0o700 });
  try {
    const free = await init.freeBytes(init.dir);
    if (free - Number(tree.bytes) < init.minFreeBytes) {
      throw new WaybillError("storage_full", "the worker's disk has no room for a copy of it");
    }
    for (const one of tree.files) await copy(one.path, join(files, one.name));
    // All at the end: a file that was written over after its copy was made belongs to the next checkpoint.
    if (!isSame(tree, await listTree(source))) {
      throw new WaybillError("source_changed", "it was written over while it was copied");
    }
    await replaceFile(join(place, "checkpoint.json"), JSON.stringify({ data }));
  } catch (error) {
    await removeTree(place);
    throw error;
  }
  return { n, place, files, data };
}

/** Whole copies that a former daemon left, oldest first; what is not whole is removed. */
export async function listStaged(dir: string): Promise<StagedCheckpoint[]> {
  const found: StagedCheckpoint[] = [];
  for (const name of await readdir(dir).catch(() => [])) {
    const place = join(dir, name);
    const words = parseWords(await readIfThere(join(place, "checkpoint.json")));
    if (words === undefined || !/^\d+$/.test(name)) await removeTree(place);
    else found.push({ n: Number(name), place, files: join(place, "files"), data: words.data });
  }
  return found.sort((a, b) => a.n - b.n);
}

/** Where a checkpoint lies that a trainer has named; throws `not_found` for a path that is not there or leads out of the roots. */
export async function findCheckpoint(roots: readonly string[], path: string): Promise<string> {
  for (const root of roots) {
    const inside = await realpath(root);
    const found = await realpath(resolve(inside, path)).catch(() => undefined);
    if (found !== undefined && found.startsWith(inside + sep)) return found;
  }
  throw new WaybillError(
    "not_found",
    "there is no such file in WAYBILL_OUTPUT or the working directory",
  );
}

async function listTree(source: string): Promise<Tree> {
  const stats = await stat(source, { bigint: true });
  if (stats.isFile()) {
    const file = { path: source, name: basename(source), state: stateOf(stats) };
    return { bytes: stats.size, files: [file] };
  }
  let bytes = 0n;
  const files: { path: string; name: string; state: string }[] = [];
  const visit = async (dir: string, prefix: string): Promise<void> => {
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      const name = `${prefix}${entry.name}`;
      if (entry.isDirectory()) await visit(path, `${name}/`);
      else if (entry.isFile()) {
        const found = await lstat(path, { bigint: true });
        bytes += found.size;
        files.push({ path, name, state: stateOf(found) });
      }
    }
  };
  if (stats.isDirectory()) await visit(source, "");
  return { bytes, files };
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(resolve(to, ".."), { recursive: true });
  await copyFile(from, to, constants.COPYFILE_FICLONE);
}

function stateOf({ ino, size, mtimeNs }: BigIntStats): string {
  return `${ino} ${size} ${mtimeNs}`;
}

/** In any order: a directory lists its files as it likes. */
function isSame(before: Tree, after: Tree): boolean {
  const states = new Map(before.files.map(({ name, state }) => [name, state]));
  return (
    after.files.length === states.size &&
    after.files.every(({ name, state }) => states.get(name) === state)
  );
}

function parseWords(text: string | undefined): v.InferOutput<typeof Words> | undefined {
  if (text === undefined) return undefined;
  try {
    return v.parse(Words, JSON.parse(text));
  } catch {
    return undefined;
  }
}
