// Object stores as sink and source, through presigned URLs only: no client ever holds a storage credential.
export { createPresignedPut, type PutPart } from "./presigned-put.ts";
export { storeError } from "./store-error.ts";
export {
  RangeReader,
  S3Source,
  readKeys,
  readManifest,
  type RangeReaderInit,
  type ReadManifest,
  type SignReads,
} from "./range-source.ts";
