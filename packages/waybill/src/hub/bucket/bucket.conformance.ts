// What every implementation of Bucket must do; run by each of them beside its own tests.
import { describe, expect, it } from "vitest";
import type { Bucket, CopyOptions } from "./bucket.ts";

const text = (body: Uint8Array | undefined) => body && new TextDecoder().decode(body);

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  return Array.fromAsync(items);
}

/** Registers the suite; `setup` gives an empty bucket (or one no other test writes to). */
export function runBucketTests(name: string, setup: () => Promise<Bucket>): void {
  describe(`${name} as a bucket`, () => {
    it("gives back what was put, with its size and etag", async () => {
      const bucket = await setup();
      const { etag } = await bucket.put("a/b.json", '{"a":1}', { contentType: "application/json" });
      const object = await bucket.get("a/b.json");
      expect(text(object?.body)).toBe('{"a":1}');
      expect(object).toMatchObject({ etag, size: 7 });
      expect(await bucket.head("a/b.json")).toMatchObject({ etag, size: 7 });
    });

    it("keeps the write id of the last write", async () => {
      const bucket = await setup();
      await bucket.put("w", "1", { writeId: "one" });
      expect((await bucket.get("w"))?.writeId).toBe("one");
      await bucket.put("w", "2");
      expect((await bucket.get("w"))?.writeId).toBeUndefined();
    });

    it("keeps small facts with an object, and with its copies", async () => {
      const bucket = await setup();
      const metadata = { digest: "abc", revision: "7" };
      await bucket.put("facts", "1", { writeId: "one", metadata });
      expect(await bucket.head("facts")).toMatchObject({ writeId: "one", metadata });
      await bucket.copyFrom(bucket, "facts", "copy");
      expect(await bucket.get("copy")).toMatchObject({ writeId: "one", metadata });
      await bucket.put("facts", "2");
      expect((await bucket.get("facts"))?.metadata).toEqual({});
    });

    it("keeps bytes as they are", async () => {
      const bucket = await setup();
      const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) & 255);
      await bucket.put("bytes", bytes);
      expect(new Uint8Array((await bucket.get("bytes"))?.body ?? [])).toEqual(bytes);
    });

    it("answers nothing for what is not there", async () => {
      const bucket = await setup();
      expect(await bucket.get("missing")).toBeUndefined();
      expect(await bucket.head("missing")).toBeUndefined();
      await expect(bucket.delete(["missing"])).resolves.toBeUndefined();
    });

    it("copies an object, and says when there is none", async () => {
      const bucket = await setup();
      await bucket.put("from/ä b", "bytes");
      expect(await bucket.copyFrom(bucket, "from/ä b", "to/c")).toBeDefined();
      expect(text((await bucket.get("to/c"))?.body)).toBe("bytes");
      const copied = await bucket.copyFrom(bucket, "from/ä b", "to/e", { checksum: true });
      expect(copied).toEqual({ crc32: "sZlDzg==" });
      expect(await bucket.copyFrom(bucket, "from/nothing", "to/d")).toBeUndefined();
      expect(await bucket.get("to/d")).toBeUndefined();
    });

    it("copies only what was seen, and only where nothing is, when that is asked for", async () => {
      const bucket = await setup();
      const { etag } = await bucket.put("from", "bytes");
      const other = await bucket.put("to", "taken");
      const refused = { code: "precondition_failed" };
      const copy = (key: string, options: CopyOptions) =>
        bucket.copyFrom(bucket, "from", key, options);
      await expect(copy("to", { ifAbsent: true })).rejects.toMatchObject(refused);
      await expect(copy("free", { ifSourceMatch: other.etag })).rejects.toMatchObject(refused);
      expect(text((await bucket.get("to"))?.body)).toBe("taken");
      expect(await bucket.head("free")).toBeUndefined();
      expect(await copy("free", { ifAbsent: true, ifSourceMatch: etag })).toBeDefined();
      expect(text((await bucket.get("free"))?.body)).toBe("bytes");
    });

    it("creates a key only once", async () => {
      const bucket = await setup();
      await bucket.put("once", "1", { condition: { ifAbsent: true } });
      await expect(
        bucket.put("once", "2", { condition: { ifAbsent: true } }),
      ).rejects.toMatchObject({ code: "precondition_failed" });
      expect(text((await bucket.get("once"))?.body)).toBe("1");
    });

    it("replaces a key only while its etag is the expected one", async () => {
      const bucket = await setup();
      const first = await bucket.put("key", "1");
      const second = await bucket.put("key", "2", { condition: { ifMatch: first.etag } });
      await expect(
        bucket.put("key", "3", { condition: { ifMatch: first.etag } }),
      ).rejects.toMatchObject({ code: "precondition_failed" });
      expect(await bucket.head("key")).toMatchObject({ etag: second.etag });
      await bucket.delete(["key"]);
      await expect(
        bucket.put("key", "4", { condition: { ifMatch: second.etag } }),
      ).rejects.toMatchObject({ code: "precondition_failed" });
      expect(await bucket.get("key")).toBeUndefined();
    });

    it("lets exactly one of many concurrent creators win", async () => {
      const bucket = await setup();
      const tries = await Promise.allSettled(
        Array.from({ length: 24 }, (_, i) =>
          bucket.put("race", String(i), { condition: { ifAbsent: true } }),
        ),
      );
      const winners = tries.flatMap((entry, i) => (entry.status === "fulfilled" ? [i] : []));
      expect(winners).toHaveLength(1);
      expect(text((await bucket.get("race"))?.body)).toBe(String(winners[0]));
    });

    it("lists keys below a prefix in UTF-8 order and starts after a key", async () => {
      const bucket = await setup();
      for (const key of ["l/b", "l/a", "l/ü", "l/𝒳", "l/", "l/a/x", "m"]) {
        await bucket.put(key, "x");
      }
      const keys = (await all(bucket.list("l/"))).map((entry) => entry.key);
      expect(keys).toEqual(["l/", "l/a", "l/a/x", "l/b", "l/ü", "l/𝒳"]);
      const later = (await all(bucket.list("l/", { startAfter: "l/a" }))).map((e) => e.key);
      expect(later).toEqual(["l/a/x", "l/b", "l/ü", "l/𝒳"]);
      expect(await all(bucket.list("nothing/"))).toEqual([]);
    });

    it("lists more keys than one page of S3 holds", async () => {
      const bucket = await setup();
      const keys = Array.from({ length: 1105 }, (_, i) => `many/${String(i).padStart(5, "0")}`);
      for (let i = 0; i < keys.length; i += 65) {
        await Promise.all(keys.slice(i, i + 65).map((key) => bucket.put(key, "")));
      }
      const found = await all(bucket.list("many/"));
      expect(found.map((entry) => entry.key)).toEqual(keys);
      expect(found[0]).toMatchObject({ size: 0 });
      await bucket.delete(keys);
      expect(await all(bucket.list("many/"))).toEqual([]);
    });

    it("names the folders directly below a prefix", async () => {
      const bucket = await setup();
      for (const key of ["f/a/1", "f/a/2", "f/b/c/1", "f/top"]) await bucket.put(key, "x");
      expect(await all(bucket.listFolders("f/"))).toEqual(["a", "b"]);
    });
  });
}
