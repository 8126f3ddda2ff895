// The machine that trained a model has it already: its output becomes the model's artifact in the cache, linked and
// verified, so that the next job here, and others from here, need not fetch it.
import { constants, link, mkdir, open, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type ArtifactId,
  type ArtifactManifest,
  WaybillError,
  messageOf,
} from "@waybill/sdk/protocol";
import { compareTree } from "@waybill/sdk/receipt";
import type { ArtifactCache } from "../cache/artifact-cache.ts";
import { treeState } from "../cache/tree-state.ts";
import { removeTree } from "../data-dir/data-dir.ts";
import type { Log } from "../ports.ts";

/** What was pushed, and where it lies on this machine. */
export type PushedTree = {
  readonly artifact: ArtifactId;
  readonly manifest: ArtifactManifest;
  /** May be removed when it is kept. */
  readonly dir: string;
};

export type KeepOutputInit = PushedTree & {
  readonly cache: Pick<ArtifactCache, "open">;
  readonly log: Log;
};

/**
 * Links the output into the cache. Bytes are not copied: where they cannot be linked, or are not those that were pushed any
 * more, the model is not kept, which is no failure.
 */
export async function keepOutput(init: KeepOutputInit): Promise<void> {
  const { cache, artifact, log } = init;
  try {
    const lease = await cache.open(artifact, (into, { room }) => fill(init, into, room));
    lease.release();
  } catch (error) {
    log("info", `cache: model ${artifact.slice(0, 12)} is not kept: ${messageOf(error)}`);
  }
}

async function fill(
  { manifest, dir }: KeepOutputInit,
  into: string,
  room: (bytes: number) => Promise<void>,
) {
  const startMs = performance.now();
  const bytes = manifest.files.reduce((sum, { size }) => sum + size, 0);
  await room(bytes);
  // What an earlier filling left is of no use: all of it is here.
  await clear(into);
  try {
    for (const { path } of manifest.files) {
      const to = join(into, path);
      await mkdir(dirname(to), { recursive: true });
      await link(join(dir, path), to);
      await flush(to);
    }
    // I1: what a process that the trainer left behind writes is nobody's model. Taken before the files are read, so that
    // it differs from then on whenever one of them is written.
    const state = await treeState(into);
    const { differences } = await compareTree(into, manifest);
    if (differences.length > 0) {
      throw new WaybillError("source_changed", "its files were changed after they had been pushed");
    }
    const seconds = (performance.now() - startMs) / 1000;
    return { bytes, seconds, sources: { cache: bytes }, manifest, state };
  } catch (error) {
    // Nobody is to go on with files that the job has, too.
    await clear(into);
    throw error;
  }
}

/** What was written through a mapping of the file before shows in its time of modification only once it is on the disk. */
async function flush(path: string): Promise<void> {
  // What is no file is not followed, nor waited for: the comparison tells.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function clear(dir: string): Promise<void> {
  for (const name of await readdir(dir)) await removeTree(join(dir, name));
}
