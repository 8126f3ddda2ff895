// Artifacts: immutable trees of files, known by the BLAKE3 of their manifest and verified shard by shard.
export { assertSafePath, assertSafePaths, comparePaths, findCollisions } from "./path-safety.ts";
export {
  artifactId,
  canonicalPieces,
  checkManifest,
  decodeManifest,
  manifestBytes,
  manifestPieces,
} from "./manifest.ts";
export {
  ShardMap,
  shardCount,
  type ObjectRange,
  type ShardPlace,
  type ShardRun,
} from "./shard-map.ts";
export {
  chooseShardBytes,
  manifestObjects,
  planLayout,
  storedObjects,
  type ManifestObject,
  type SizedFile,
  type StoredObject,
} from "./layout.ts";
export {
  compressionRatio,
  compressionSamples,
  isCompressedFormat,
  paysToCompress,
} from "./compressibility.ts";
export {
  contentFingerprint,
  contentSamples,
  type PushIdentity,
  type SampleBlock,
} from "./content-fingerprint.ts";
export { decodeCrcs, encodeCrcs } from "./shard-crcs.ts";
export {
  describeEncoding,
  encodedKey,
  maxFrameBytes,
  unencodablePaths,
} from "./stored-encoding.ts";
export { decodeVarints, encodeVarints } from "./varint.ts";
export {
  PULL_STATE_FOLDER,
  scanTree,
  type ScanOptions,
  type ScannedFile,
  type TreeScan,
} from "./scan-tree.ts";
