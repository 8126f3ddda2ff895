// Bytes over plain HTTP: ranged GETs that are checked, and servers of ranges as sources.
export { HttpMirrorSource, httpMirror, type MirrorInit } from "./mirror-source.ts";
export { helloProof, reachableAddress } from "./data-address.ts";
export { mirrorError, retryAfterMs } from "./mirror-error.ts";
export {
  rangedGet,
  readOn,
  type Pin,
  type RangedGet,
  type RangedGetDeps,
  type Refusal,
} from "./ranged-get.ts";
