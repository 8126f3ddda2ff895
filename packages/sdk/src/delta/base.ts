// What new content is compared with: artifacts that are there already, by their manifests.
import { ShardMap } from "../artifact/index.ts";
import type { ArtifactId, ArtifactManifest, ArtifactRecord } from "../protocol/index.ts";

const MIB = 1024 * 1024;
/** Versions older than this many are rarely closer to the new one than the newest. */
const MAX_BASES = 16;
/** Text of the manifests together; in memory they take about four times as much. */
const MAX_MANIFEST_BYTES = 32 * MIB;

/** An artifact whose bytes can be had again. */
export type Base = {
  readonly artifact: ArtifactId;
  readonly manifest: ArtifactManifest;
  readonly map: ShardMap;
};

/** Throws `invalid_request` when the manifest's encoded objects do not fit its files. */
export function createBase(artifact: ArtifactId, manifest: ArtifactManifest): Base {
  return { artifact, manifest, map: new ShardMap(manifest) };
}

/**
 * Which of a room's artifacts a push named `name` is compared with, best first: those of the same name from the
 * newest, then the others from the newest; at most 16, with at most 32 MiB of manifests.
 */
export function chooseBases(records: readonly ArtifactRecord[], name: string): ArtifactRecord[] {
  const newestFirst = records.toSorted((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
  const ordered = [
    ...newestFirst.filter((record) => record.name === name),
    ...newestFirst.filter((record) => record.name !== name),
  ];
  const chosen: ArtifactRecord[] = [];
  let bytes = 0;
  for (const record of ordered) {
    if (chosen.length === MAX_BASES) break;
    if (record.bytes === 0 || bytes + record.manifestBytes > MAX_MANIFEST_BYTES) continue;
    bytes += record.manifestBytes;
    chosen.push(record);
  }
  return chosen;
}
