/**
 * Reads a run of segments as chunks. The next chunk is read from the disk while the consumer is
 * still busy with the one before; two pooled buffers a reader, no garbage.
 */
import type { Segment } from "../metadata/contents.ts";
import type { BlobReader, BlobStore } from "./blob-store.ts";
import type { BufferPool } from "./buffer-pool.ts";

/** A chunk and the buffer it lies in; the consumer gives it back by asking for the next but one. */
interface Filled {
  readonly chunk: Uint8Array;
  readonly buffer: Buffer | undefined;
}

/**
 * The bytes of `segments`, in order. A chunk is valid until the next one is asked for. Returning
 * early closes everything.
 *
 * @throws when a blob is shorter than the metadata says
 */
export async function* readSegments(
  segments: readonly Segment[],
  blobs: BlobStore,
  pool: BufferPool,
): AsyncGenerator<Uint8Array> {
  const source = fill(segments, blobs, pool);
  let ahead = source.next();
  try {
    for (;;) {
      const { value, done } = await ahead;
      if (done) return;
      ahead = source.next();
      ahead.catch(() => {});
      yield value.chunk;
      if (value.buffer) pool.give(value.buffer);
    }
  } finally {
    await ahead.then(
      ({ value }) => value?.buffer && pool.give(value.buffer),
      () => {},
    );
    await source.return(undefined);
  }
}

async function* fill(
  segments: readonly Segment[],
  blobs: BlobStore,
  pool: BufferPool,
): AsyncGenerator<Filled, undefined> {
  let open: { id: string; reader: BlobReader } | undefined;
  try {
    for (const segment of segments) {
      if (segment.data) {
        const end = segment.offset + segment.bytes;
        yield { chunk: segment.data.subarray(segment.offset, end), buffer: undefined };
        continue;
      }
      if (open?.id !== segment.blob) {
        await open?.reader.close();
        open = undefined;
        open = { id: segment.blob, reader: await blobs.openReader(segment.blob) };
      }
      for (let at = 0; at < segment.bytes; at += pool.bufferBytes) {
        const wanted = Math.min(pool.bufferBytes, segment.bytes - at);
        const buffer = pool.take();
        const chunk = buffer.subarray(0, wanted);
        const read = await open.reader.read(chunk, segment.offset + at);
        if (read < wanted) {
          throw new Error(`Blob ${segment.blob} ends ${wanted - read} bytes early: it is damaged.`);
        }
        yield { chunk, buffer };
      }
    }
    return undefined;
  } finally {
    await open?.reader.close();
  }
}
