// Artifact manifest (docs/protocol/artifact.md): an immutable tree of files cut into verified shards.
import * as v from "valibot";
import { ArtifactId, ArtifactName, ByteCount, Digest, Timestamp } from "./ids.ts";
import { ARTIFACT_FORMAT_VERSION, LIMITS } from "./version.ts";

/** `plain`: each file is an object under the artifact's prefix. `packed`: files lie end to end in `pack.bin`. */
export const Layout = v.picklist(["plain", "packed"]);
export type Layout = v.InferOutput<typeof Layout>;

/** Key of the packed object below the artifact's prefix. */
export const PACK_KEY = "pack.bin";
/** Key of the manifest below the artifact's prefix; no file of a plain artifact may have this path. */
export const MANIFEST_KEY = "artifact.json";

export const ArtifactFile = v.object({
  /** Relative path with `/`; checked by `assertSafePath` (no `..`, no absolute path, no duplicates). */
  path: v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.pathBytes)),
  size: ByteCount,
  /** Whether the file is executable by its owner; of the mode, only this is part of the id. */
  executable: v.optional(v.literal(true)),
  /** Permission bits where they are not 0o644, or 0o755 with `executable`. Not part of the id. */
  mode: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0o777))),
  /** One digest per shard, in order; a file of 0 bytes has none. */
  shards: v.array(Digest),
  /** The shards' CRC-32s, four big-endian bytes each, in base64 (`decodeCrcs`). Not part of the id. */
  crcs: v.optional(v.string()),
});
export type ArtifactFile = v.InferOutput<typeof ArtifactFile>;

/** How an object is stored that is not stored as it is; its key is the plain key and `.zst`. */
export const StoredEncoding = v.object({
  encoding: v.literal("zstd"),
  /** The plain object's key: a file's path, or `pack.bin`. */
  of: v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.pathBytes)),
  /** Lengths of the shards' frames as LEB128 numbers, in base64. */
  frames: v.string(),
  /** The frames' CRC-32s, four big-endian bytes each, in base64 (`decodeCrcs`). */
  crcs: v.optional(v.string()),
});
export type StoredEncoding = v.InferOutput<typeof StoredEncoding>;

export const ArtifactManifest = v.object({
  format: v.literal(ARTIFACT_FORMAT_VERSION),
  /** Not part of the id. */
  name: ArtifactName,
  layout: Layout,
  shardBytes: v.pipe(v.number(), v.safeInteger(), v.minValue(1024)),
  /** Sorted by path in UTF-8 byte order; packed artifacts lay their bytes in this order. */
  files: v.array(ArtifactFile),
  /** Encoded objects by their own keys. Not part of the id. */
  stored: v.optional(v.record(v.string(), StoredEncoding)),
});
export type ArtifactManifest = v.InferOutput<typeof ArtifactManifest>;

/** What a room knows of an artifact it holds. */
export const ArtifactRecord = v.object({
  artifact: ArtifactId,
  name: ArtifactName,
  kind: v.picklist(["dataset", "model", "checkpoint"]),
  layout: Layout,
  files: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  bytes: ByteCount,
  manifestBytes: ByteCount,
  /** `bucket/prefix/` where `artifact.json` and the objects lie. */
  s3Path: v.string(),
  createdAt: Timestamp,
  /** Absent when kept on purpose. */
  expiresAt: v.optional(Timestamp),
});
export type ArtifactRecord = v.InferOutput<typeof ArtifactRecord>;
