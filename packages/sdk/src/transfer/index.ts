// Transfers: verified shards from many sources, parts into a sink. Knows no transport.
export type { Sink, SinkOptions, PutOptions, JoinedObject } from "./sink.ts";
export {
  layOutTree,
  partsOf,
  type PlannedPart,
  type TreeLayout,
  type UploadLimits,
} from "./upload-plan.ts";
export {
  runUpload,
  type UploadInput,
  type UploadOutcome,
  type UploadProgress,
} from "./upload-runner.ts";
export { crc32Base64 } from "./part-reader.ts";
export type { OpenArtifact, Source, SourceFactory, SourceKind } from "./source.ts";
export { ShardSet } from "./shard-set.ts";
export { runDownload, type DownloadInput, type ShardKeeper } from "./download-runner.ts";
export { LocalTreeSource, localTree, type LocalTreeInit } from "./local-tree-source.ts";
export { pullTree, type PullProgress, type PullTreeInput } from "./pull-tree.ts";
