// Known content in new files: matching against the manifests of artifacts that are there already, at any offset.
export { chooseBases, createBase, type Base } from "./base.ts";
export { crc32Appender, crc32Combine } from "./crc32-combine.ts";
export { RollingCrc32 } from "./crc32-rolling.ts";
export { ShardIndex, type BaseFile, type Place, type ShardIndexOptions } from "./shard-index.ts";
export { MatchStream, type MatchedRange, type NewFile, type Origin } from "./match-stream.ts";
export { WeakSums } from "./weak-sums.ts";
