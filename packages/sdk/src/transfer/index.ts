// Transfers: verified shards from many sources, parts into a sink. Knows no transport.
export type { Sink, SinkOptions, PutOptions, Permits, JoinedObject } from "./sink.ts";
export {
  adoptLayout,
  layOutTree,
  partRule,
  type CutPart,
  type PartRule,
  type TreeLayout,
} from "./upload-plan.ts";
export {
  JoinedUnseen,
  type SavedBytes,
  type UploadInput,
  type UploadOutcome,
  type UploadProgress,
} from "./upload-input.ts";
export { runUpload } from "./upload-runner.ts";
export type { MatchBases } from "./matching-reader.ts";
export { hashTree, type HashOptions, type HashedTree } from "./hash-tree.ts";
export { crc32Base64 } from "./shard-hasher.ts";
export type {
  FetchOptions,
  OpenArtifact,
  Source,
  SourceAdvice,
  SourceFactory,
  SourceKind,
} from "./source.ts";
export type { SourceReport } from "./download-report.ts";
export { checkPreference, type Preference } from "./policy.ts";
export { LinkBook } from "./link-book.ts";
export {
  FRESH_LINK,
  adviceFor,
  learnLink,
  resetAgeMs,
  type LinkAdvice,
  type LinkFact,
  type LinkHealth,
} from "./link-health.ts";
export { ShardSet } from "./shard-set.ts";
export { runDownload, type DownloadInput, type ShardKeeper } from "./download-runner.ts";
export { LocalTreeSource, localTree, type LocalTreeInit } from "./local-tree-source.ts";
export { olderVersions } from "./older-files-source.ts";
export { GrowingTree } from "./growing-tree.ts";
export { pullTree, type PullProgress, type PullTreeInput } from "./pull-tree.ts";
