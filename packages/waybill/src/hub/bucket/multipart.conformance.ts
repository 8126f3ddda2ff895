// What every implementation of MultipartUploads must do, with the bucket it belongs to.
import { describe, expect, it } from "vitest";
import { crc32 } from "node:zlib";
import type { Bucket } from "./bucket.ts";
import type { MultipartUploads } from "./multipart.ts";

export type MultipartSetup = {
  readonly bucket: Bucket;
  readonly multipart: MultipartUploads;
  /** Puts a part as a client does by a signed URL. */
  readonly putPart: (
    key: string,
    uploadId: string,
    part: number,
    body: Uint8Array,
  ) => Promise<void>;
};

const MIB = 1024 * 1024;

function bytes(length: number, seed: number): Uint8Array {
  const body = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 1024) body.writeUInt32BE(at * 7 + seed, at);
  return body;
}

function crcOf(body: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return sum.toString("base64");
}

/** Registers the suite; `setup` gives an empty bucket. */
export function runMultipartTests(name: string, setup: () => Promise<MultipartSetup>): void {
  describe(`${name} as multipart uploads`, () => {
    it("joins the parts that are named, whatever their sizes and numbers, and leaves others out", async () => {
      const { bucket, multipart, putPart } = await setup();
      const id = await multipart.create("key");
      const [first, stray, last] = [bytes(6 * MIB, 1), bytes(5 * MIB, 2), bytes(100, 3)];
      await putPart("key", id, 1, first);
      await putPart("key", id, 4, stray);
      await putPart("key", id, 7, last);
      const listed = (await multipart.listParts("key", id)) ?? [];
      expect(listed).toMatchObject([
        { part: 1, size: first.length, crc32: crcOf(first) },
        { part: 4, size: stray.length, crc32: crcOf(stray) },
        { part: 7, size: last.length, crc32: crcOf(last) },
      ]);
      const named = listed.filter(({ part }) => part !== 4);
      expect(await multipart.complete("key", id, named)).toBe("completed");
      const whole = Buffer.concat([first, last]);
      const head = await bucket.head("key");
      expect(head).toMatchObject({ size: whole.length, crc32: crcOf(whole) });
      expect(Buffer.compare((await bucket.get("key"))?.body ?? Buffer.alloc(0), whole)).toBe(0);
    });

    it("copies a whole object as a part, however small", async () => {
      const { bucket, multipart } = await setup();
      const source = bytes(4096, 6);
      await bucket.put("small", source);
      const id = await multipart.create("copy of all");
      const from = { bucket: bucket.name, key: "small", start: 0, size: 4096, isWhole: true };
      const copied = await multipart.copyPart("copy of all", id, 1, from);
      expect(copied).toEqual({ crc32: crcOf(source) });
    });

    it("copies a range of another object as a part, with its CRC-32", async () => {
      const { bucket, multipart } = await setup();
      const source = bytes(12 * MIB, 5);
      await bucket.put("a/ä source", source);
      const id = await multipart.create("copy");
      const from = { bucket: bucket.name, key: "a/ä source", start: 3 * MIB + 1, size: 6 * MIB };
      const wanted = source.subarray(from.start, from.start + from.size);
      expect(await multipart.copyPart("copy", id, 1, from)).toEqual({ crc32: crcOf(wanted) });
      const listed = (await multipart.listParts("copy", id)) ?? [];
      expect(listed).toMatchObject([{ part: 1, size: wanted.length, crc32: crcOf(wanted) }]);
      await multipart.complete("copy", id, listed);
      expect(Buffer.compare((await bucket.get("copy"))?.body ?? Buffer.alloc(0), wanted)).toBe(0);
    });

    it("says whether the source of a copy or its target is missing", async () => {
      const { bucket, multipart } = await setup();
      const id = await multipart.create("copy");
      const from = { bucket: bucket.name, key: "none", start: 0, size: 5 * MIB };
      expect(await multipart.copyPart("copy", id, 1, from)).toBe("missing");
      await bucket.put("some", bytes(6 * MIB, 1));
      await multipart.abort("copy", id);
      expect(await multipart.copyPart("copy", id, 1, { ...from, key: "some" })).toBe("gone");
      expect(await multipart.listParts("copy", id)).toBeUndefined();
      expect(await multipart.complete("copy", id, [])).toBe("gone");
    });
  });
}
