/** What every blob store must do. An implementation's test calls this with a way to make one. */
import { describe, expect, test } from "vitest";
import { sampleBytes } from "../testing/test-store.ts";
import type { BlobStore } from "./blob-store.ts";

export interface BlobStoreSetup {
  /** A fresh, empty place. */
  make(): Promise<{
    /** The store as a new process would find the place; the first call sees it empty. */
    reopen(): Promise<BlobStore>;
    remove(): Promise<void>;
  }>;
}

export function runBlobStoreTests(name: string, setup: BlobStoreSetup): void {
  const withPlace = async (
    work: (reopen: () => Promise<BlobStore>) => Promise<void>,
  ): Promise<void> => {
    const place = await setup.make();
    try {
      await work(() => place.reopen());
    } finally {
      await place.remove();
    }
  };

  describe(`${name} as a blob store`, () => {
    test("reads back what was written in several batches, at any position", () =>
      withPlace(async (reopen) => {
        const blobs = await reopen();
        const data = sampleBytes(100_000);
        const id = await write(blobs, [
          [data.subarray(0, 10), data.subarray(10, 70_000)],
          [],
          [data.subarray(70_000)],
        ]);
        expect(await read(blobs, id, 0, 100_000)).toEqual(data);
        expect(await read(blobs, id, 69_990, 20)).toEqual(data.subarray(69_990, 70_010));
      }));

    test("reads less than asked only at the end", () =>
      withPlace(async (reopen) => {
        const blobs = await reopen();
        const id = await write(blobs, [[Buffer.from("short")]]);
        expect((await read(blobs, id, 3, 100)).toString()).toBe("rt");
        expect(await read(blobs, id, 5, 100)).toHaveLength(0);
      }));

    test("writes more chunks in one batch than the system takes at once", () =>
      withPlace(async (reopen) => {
        const blobs = await reopen();
        const chunks = Array.from({ length: 3000 }, (_, index) => Buffer.from([index % 251]));
        const id = await write(blobs, [chunks]);
        expect(await read(blobs, id, 0, 3000)).toEqual(Buffer.concat(chunks));
      }));

    test("lists committed blobs only, also after reopening", () =>
      withPlace(async (reopen) => {
        const blobs = await reopen();
        const kept = await write(blobs, [[Buffer.from("kept")]]);
        const aborted = await blobs.create();
        await aborted.write([Buffer.from("aborted")]);
        await aborted.abort();
        const unfinished = await blobs.create();
        await unfinished.write([Buffer.from("unfinished")]);
        expect(await list(blobs)).toEqual([kept]);
        const again = await reopen();
        expect(await list(again)).toEqual([kept]);
        expect((await read(again, kept, 0, 10)).toString()).toBe("kept");
        await unfinished.abort();
      }));

    test("forgets deleted blobs and does not mind deleting twice", () =>
      withPlace(async (reopen) => {
        const blobs = await reopen();
        const id = await write(blobs, [[Buffer.from("x")]]);
        await blobs.delete([id]);
        await blobs.delete([id]);
        expect(await list(blobs)).toEqual([]);
        await expect(blobs.openReader(id)).rejects.toThrow(/ENOENT|no such/i);
      }));

    test("lets a reader finish a blob that is deleted meanwhile", () =>
      withPlace(async (reopen) => {
        const blobs = await reopen();
        const id = await write(blobs, [[Buffer.from("still here")]]);
        const reader = await blobs.openReader(id);
        await blobs.delete([id]);
        const into = Buffer.alloc(10);
        expect(await reader.read(into, 0)).toBe(10);
        expect(into.toString()).toBe("still here");
        await reader.close();
      }));

    test("aborts as often as one likes, also after a commit", () =>
      withPlace(async (reopen) => {
        const blobs = await reopen();
        const writer = await blobs.create();
        await writer.write([Buffer.from("a")]);
        await writer.commit();
        await writer.abort();
        await writer.abort();
        expect(await list(blobs)).toEqual([writer.id]);
      }));
  });
}

async function write(blobs: BlobStore, batches: readonly (readonly Buffer[])[]): Promise<string> {
  const writer = await blobs.create();
  for (const batch of batches) await writer.write(batch);
  await writer.commit();
  return writer.id;
}

async function read(
  blobs: BlobStore,
  id: string,
  position: number,
  bytes: number,
): Promise<Buffer> {
  const reader = await blobs.openReader(id);
  const into = Buffer.alloc(bytes);
  const done = await reader.read(into, position);
  await reader.close();
  return into.subarray(0, done);
}

async function list(blobs: BlobStore): Promise<string[]> {
  return Array.fromAsync(blobs.list());
}
