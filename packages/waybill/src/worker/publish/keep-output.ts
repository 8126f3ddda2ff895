// The machine that trained a model has it already: its output becomes the model's artifact in the cache, linked and
// verified, so that the next job here, and others from here, need not fetch it.
import { link, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type ArtifactId,
  type ArtifactManifest,
  WaybillError,
  messageOf,
} from "@waybill/sdk/protocol";
import { compareTree } from "@waybill/sdk/receipt";
import type { ArtifactCache } from "../cache/artifact-cache.ts";
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
  for (const { path } of manifest.files) {
    const to = join(into, path);
    await mkdir(dirname(to), { recursive: true });
    await link(join(dir, path), to);
  }
  // I1: what a process that the trainer left behind has written since is nobody's model.
  const { differences } = await compareTree(into, manifest);
  if (differences.length > 0) {
    throw new WaybillError("source_changed", "its files were changed after they had been pushed");
  }
  const seconds = (performance.now() - startMs) / 1000;
  return { bytes, seconds, sources: { cache: bytes }, manifest };
}
