// The manifest of a tree before any of it is sent: one pass of reading and hashing, as a push that stores its objects
// as they are would do it.
import { type TreeScan, artifactId } from "../artifact/index.ts";
import type { ArtifactId, ArtifactManifest, ArtifactName } from "../protocol/index.ts";
import { sealManifest } from "./manifest-parts.ts";
import { PartReader } from "./part-reader.ts";
import { layOutTree } from "./upload-plan.ts";

export type HashedTree = {
  readonly artifact: ArtifactId;
  /** Without `stored`: how objects are stored is no part of the id. */
  readonly manifest: ArtifactManifest;
};

export type HashOptions = {
  readonly name: ArtifactName;
  readonly signal?: AbortSignal | undefined;
  /** Bytes hashed so far. */
  readonly onProgress?: (bytes: number) => void;
};

/** Reads and hashes a tree; throws `source_changed`, `local_io`, or the signal's reason. */
export async function hashTree(
  scan: TreeScan,
  { name, signal = new AbortController().signal, onProgress }: HashOptions,
): Promise<HashedTree> {
  const layout = layOutTree(scan);
  const feed = new PartReader({ scan, layout, held: new Map() });
  let bytes = 0;
  try {
    for (;;) {
      const part = await feed.next({ bytes: layout.rule.minBytes }, signal);
      if (part === undefined) break;
      part.body?.release();
      bytes += part.size;
      onProgress?.(bytes);
    }
    const manifest = sealManifest(name, layout, feed.files());
    return { artifact: artifactId(manifest), manifest };
  } finally {
    await feed.close();
  }
}
