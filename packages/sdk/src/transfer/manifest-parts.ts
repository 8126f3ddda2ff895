// The last object of an upload: the manifest of what was read, as bodies.
import { manifestBytes } from "../artifact/index.ts";
import { crc32 } from "../platform/index.ts";
import {
  ARTIFACT_FORMAT_VERSION,
  type ArtifactFile,
  type ArtifactManifest,
  type ArtifactName,
  LIMITS,
  MANIFEST_KEY,
  WaybillError,
  isPutAtOnce,
} from "../protocol/index.ts";
import { type HeldObject, NOTHING_HELD } from "./held-parts.ts";
import { cutPart } from "./part-cutter.ts";
import type { ReadPart } from "./part-reader.ts";
import { crc32Base64 } from "./shard-hasher.ts";
import { type PartRule, type TreeLayout, partNumberAt } from "./upload-plan.ts";

/** The manifest of a tree whose files were read. */
export function sealManifest(
  name: ArtifactName,
  { layout, shardBytes }: TreeLayout,
  files: ArtifactFile[],
  stored?: ArtifactManifest["stored"],
): ArtifactManifest {
  return {
    format: ARTIFACT_FORMAT_VERSION,
    name,
    layout,
    shardBytes,
    files,
    ...(stored === undefined ? {} : { stored }),
  };
}

/** The bodies of `artifact.json`; throws `too_large` past `LIMITS.manifestBytes`. */
export function manifestParts(
  manifest: ArtifactManifest,
  rule: PartRule,
  held: ReadonlyMap<string, HeldObject>,
): ReadPart[] {
  const bytes = manifestBytes(manifest);
  const size = bytes.length;
  if (size > LIMITS.manifestBytes) {
    throw new WaybillError("too_large", `the manifest would have ${size} bytes`, {
      hint: "push the tree in several artifacts",
    });
  }
  const object = held.get(MANIFEST_KEY) ?? NOTHING_HELD;
  if (isPutAtOnce(size)) {
    const { whole } = object;
    const part = bodyOf(bytes, { part: 0, offset: 0, size });
    return [{ ...part, held: whole?.size === size && whole.crc32 === part.crc32 }];
  }
  const parts: ReadPart[] = [];
  for (let offset = 0; offset < size;) {
    const wantedBytes = rule.minBytes;
    const cut = cutPart({ offset, objectBytes: size, rule, held: object, wantedBytes });
    const part = bodyOf(bytes, { part: partNumberAt(offset, rule), offset, size: cut.size });
    parts.push({ ...part, held: cut.type === "held" && cut.held.crc32 === part.crc32 });
    offset += cut.size;
  }
  return parts;
}

function bodyOf(
  manifest: Uint8Array,
  { part, offset, size }: { part: number; offset: number; size: number },
): ReadPart {
  const bytes = manifest.subarray(offset, offset + size);
  const release = () => undefined;
  const sum = crc32Base64(crc32(bytes));
  return { key: MANIFEST_KEY, part, size, offset, crc32: sum, body: { bytes, release } };
}
