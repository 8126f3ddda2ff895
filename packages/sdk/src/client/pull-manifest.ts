// The manifest of what is pulled: it comes with the record where it is small, else it is read from the store.
import { decodeManifest } from "../artifact/index.ts";
import {
  type ArtifactManifest,
  type ArtifactRecord,
  type ReadableArtifact,
  WaybillError,
} from "../protocol/index.ts";
import { type RangeReader, type ReadManifest, readManifest } from "../s3/index.ts";

/** Readings of a manifest that does not match its id before it is called damaged. */
const MANIFEST_TRIES = 3;

/** The manifest that came with the record; undefined when none did, or not this artifact's. */
export function givenManifest({
  artifact,
  reading,
}: ReadableArtifact): ArtifactManifest | undefined {
  if (reading?.manifest === undefined) return undefined;
  try {
    return decodeManifest(reading.manifest, artifact);
  } catch {
    // The store's own copy decides.
    return undefined;
  }
}

/** Reads the store's copy; throws what reading throws, `digest_mismatch` when it is another artifact's. */
export async function fetchManifest(
  reader: RangeReader,
  record: ArtifactRecord,
  options: Omit<ReadManifest, "bytes">,
): Promise<ArtifactManifest> {
  for (let tries = 1; ; tries++) {
    const text = await readManifest(reader, { ...options, bytes: record.manifestBytes });
    try {
      return decodeManifest(text, record.artifact);
    } catch (error) {
      // A flipped bit on the way may also break its syntax; a damaged copy stays damaged.
      if (!(error instanceof WaybillError) || tries >= MANIFEST_TRIES) throw error;
    }
  }
}
