// What comes with an artifact's record when the caller is about to read it (docs/protocol/hub-api.md 37): on a far
// path each question less is a round trip less before the first byte.
import * as v from "valibot";
import { ResolvedArtifact } from "./arriving.ts";
import { Timestamp } from "./ids.ts";
import { SignedRead } from "./uploads.ts";

/** A manifest of at most so many bytes comes with the record. */
export const INLINE_MANIFEST_BYTES = 128 * 1024;
/** Objects whose reads are signed with the record. */
export const INLINE_READS = 32;

/** What a client needs to begin reading an artifact at once; what is absent is asked for with `signReads`. */
export const Reading = v.object({
  /** Text of `artifact.json`, where it is small; verified like any other copy of it. */
  manifest: v.optional(v.string()),
  /** Of `artifact.json` and, where they are few and known, of the objects. */
  reads: v.array(SignedRead),
  expiresAt: Timestamp,
  validForMs: v.pipe(v.number(), v.minValue(0)),
});
export type Reading = v.InferOutput<typeof Reading>;

/** An artifact and, when it was asked for and the room holds it whole, what reading it needs. */
export const ReadableArtifact = v.object({
  ...ResolvedArtifact.entries,
  reading: v.optional(Reading),
});
export type ReadableArtifact = v.InferOutput<typeof ReadableArtifact>;
