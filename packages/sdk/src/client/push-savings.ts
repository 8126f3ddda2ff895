// What a push saves when it begins its upload again: what the store holds then, because an earlier run of the same call
// has put it there, was not saved.
import type { SavedBytes, UploadProgress } from "../transfer/index.ts";

/** What runs of this call have put into the upload before it was begun again. */
export type BeforeRestart = {
  /** Bytes put on the wire, as long as what they stand for. */
  readonly sentBytes: number;
  readonly copiedBytes: number;
  readonly compressedBytes: number;
};

export const NOTHING_BEFORE: BeforeRestart = { sentBytes: 0, copiedBytes: 0, compressedBytes: 0 };

/** With a run's own counts so far. */
export function withRun(
  before: BeforeRestart,
  { sentBytes, saved }: Pick<UploadProgress, "sentBytes" | "saved">,
): BeforeRestart {
  return {
    sentBytes: before.sentBytes + sentBytes + saved.compressed,
    copiedBytes: before.copiedBytes + saved.copied,
    compressedBytes: before.compressedBytes + saved.compressed,
  };
}

/** The savings of the whole call: what a run holds counts by how it came into the store. */
export function savedSince(before: BeforeRestart, { held, ...saved }: SavedBytes): SavedBytes {
  const copied = Math.min(before.copiedBytes, held);
  const others = held - copied;
  return {
    held: Math.max(0, others - before.sentBytes),
    copied: saved.copied + copied,
    identical: saved.identical,
    compressed: saved.compressed + Math.min(before.compressedBytes, others),
  };
}
