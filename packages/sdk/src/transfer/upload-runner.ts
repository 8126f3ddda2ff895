// Begins an upload with what the sink holds of it, and runs it to its end.
import { artifactId } from "../artifact/index.ts";
import { type UploadStatus, isPutAtOnce } from "../protocol/index.ts";
import { type CompressionPace, startCompression } from "./compression-pace.ts";
import { type HeldObject, heldObjects } from "./held-parts.ts";
import { sealManifest } from "./manifest-parts.ts";
import { MatchingReader } from "./matching-reader.ts";
import { PartReader } from "./part-reader.ts";
import { JoinedUnseen, type UploadInput, type UploadOutcome } from "./upload-input.ts";
import { type TreeLayout, adoptLayout, withoutEncodings } from "./upload-plan.ts";
import { UploadRun } from "./upload-run.ts";

/**
 * Uploads a tree. Reads it once, in order. Throws what the sink or the file system throws; `not_found` or
 * `expired` when the upload was dropped meanwhile (begin again).
 */
export async function runUpload(input: UploadInput): Promise<UploadOutcome> {
  const { scan, plan, sink } = input;
  const signal = input.signal ?? new AbortController().signal;
  signal.throwIfAborted();
  const askedMs = performance.now();
  let pathMs = 0;
  const [status, bases] = await Promise.all([
    sink.begin(plan, { signal }).finally(() => {
      // Without better knowledge, a connection and an answer.
      pathMs = sink.tripMs ?? (performance.now() - askedMs) / 2;
    }),
    input.findBases?.(signal),
  ]);
  const layout = adoptLayout(status);
  if (status.state === "completed") return hashOnly(input, layout, status);
  const held = heldObjects(status);
  const joined = layout.objects.find(({ key, encoding, size }) => {
    return encoding !== undefined && !isPutAtOnce(size) && isWhole(held.get(key));
  });
  if (joined !== undefined) throw new JoinedUnseen(joined.key);
  const compression: CompressionPace = startCompression(input.alwaysCompress !== true);
  const init = { scan, layout, held, compression };
  const feed = bases === undefined ? new PartReader(init) : new MatchingReader({ ...init, bases });
  const { name } = status;
  return new UploadRun(input, { name, layout, held, feed, bases, pathMs }).run();
}

/** The sink completed this upload before: whether with the bytes of this tree, only the bytes can tell. */
async function hashOnly(
  { scan, signal = new AbortController().signal }: UploadInput,
  layout: TreeLayout,
  status: UploadStatus,
): Promise<UploadOutcome> {
  const feed = new PartReader({ scan, layout: withoutEncodings(layout), held: new Map() });
  try {
    for (;;) {
      const part = await feed.next({ bytes: layout.rule.minBytes }, signal);
      if (part === undefined) break;
      part.body?.release();
    }
    const manifest = sealManifest(status.name, layout, feed.files());
    return {
      artifact: artifactId(manifest),
      manifest,
      record: undefined,
      previous: status.artifact,
      sentBytes: 0,
      saved: { held: scan.bytes, copied: 0, identical: 0, compressed: 0 },
      retries: 0,
    };
  } finally {
    await feed.close();
  }
}

function isWhole(held: HeldObject | undefined): boolean {
  return held !== undefined && (held.joined || held.whole !== undefined);
}
