// What differs between Node and browsers, behind one name each: hashing, checksums, bulk HTTP, files.
export { blake3Hex, createHasher } from "#platform/hash";
export { crc32 } from "#platform/crc32";
export { createByteTransport } from "#platform/http";
export { files } from "#platform/files";
export { useProxiesOfEnvironment } from "#platform/proxy";
export { allocatePages } from "#platform/page-memory";
export { nextTurn } from "#platform/turn";
export { zstd } from "#platform/zstd";
export type { Zstd } from "./zstd.ts";
export { ioError } from "./file-errors.ts";
export { TimeSlice } from "./time-slice.ts";
export type { Hasher } from "./hasher.ts";
export type {
  ByteTransport,
  ByteTransportInit,
  ByteRequest,
  ConnectionFacts,
  GetRequest,
  PutRequest,
  PutAnswer,
  GetAnswer,
} from "./byte-transport.ts";
export type { FileSystem, FileFacts, OpenFile } from "./file-system.ts";
