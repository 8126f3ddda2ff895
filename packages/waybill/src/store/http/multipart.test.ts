import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { md5, sampleBytes, startTestStore, type TestStore } from "../testing/test-store.ts";

async function withBucket(work: (store: TestStore) => Promise<void>): Promise<void> {
  await using store = await startTestStore();
  await store.send("PUT", "/bucket");
  await work(store);
}

async function begin(
  store: TestStore,
  key = "key",
  headers: Record<string, string> = {},
): Promise<string> {
  const { text } = await store.send("POST", `/bucket/${key}`, { query: "uploads", headers });
  return /<UploadId>([^<]+)/.exec(text)?.[1] ?? "";
}

async function putPart(
  store: TestStore,
  uploadId: string,
  number: number,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<string> {
  const query = `partNumber=${number}&uploadId=${uploadId}`;
  const answer = await store.send("PUT", "/bucket/key", { query, body, headers });
  expect(answer.status).toBe(200);
  return String(answer.headers.etag);
}

function complete(
  store: TestStore,
  uploadId: string,
  parts: readonly (readonly [number, string, string?])[],
  headers: Record<string, string> = {},
): ReturnType<TestStore["send"]> {
  const listed = parts.map(
    ([number, etag, extra = ""]) =>
      `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag>${extra}</Part>`,
  );
  const body = `<CompleteMultipartUpload>${listed.join("")}</CompleteMultipartUpload>`;
  return store.send("POST", "/bucket/key", { query: `uploadId=${uploadId}`, body, headers });
}

function crc(data: Uint8Array): string {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(crc32(data));
  return out.toString("base64");
}

test("makes one object of parts sent in any order, without copying a byte", () =>
  withBucket(async (store) => {
    const parts = [sampleBytes(50_000, 1), sampleBytes(30_000, 2), sampleBytes(100, 3)];
    const uploadId = await begin(store, "key", { "content-type": "text/x", "x-amz-meta-a": "1" });
    const third = await putPart(store, uploadId, 30, parts[2]!);
    const first = await putPart(store, uploadId, 10, parts[0]!);
    const second = await putPart(store, uploadId, 20, parts[1]!);
    const before = await store.blobFiles();
    const done = await complete(store, uploadId, [
      [10, first],
      [20, second],
      [30, third],
    ]);
    const digests = parts.map((part) => createHash("md5").update(part).digest());
    const etag = `${md5(Buffer.concat(digests))}-3`;
    expect(done.text).toContain(`<ETag>&quot;${etag}&quot;</ETag>`);
    expect((await store.blobFiles()).toSorted()).toEqual(before.toSorted());
    const got = await store.send("GET", "/bucket/key");
    expect(got.body.equals(Buffer.concat(parts))).toBe(true);
    expect(got.headers).toMatchObject({
      etag: `"${etag}"`,
      "content-type": "text/x",
      "x-amz-meta-a": "1",
    });
    const range = await store.send("GET", "/bucket/key", {
      headers: { range: "bytes=49990-80009" },
    });
    expect(range.body.equals(Buffer.concat(parts).subarray(49_990, 80_010))).toBe(true);
  }));

test("keeps each part's checksum and combines them", () =>
  withBucket(async (store) => {
    const parts = [sampleBytes(20_000, 1), sampleBytes(500, 2)];
    const uploadId = await begin(store, "key", { "x-amz-checksum-algorithm": "CRC32" });
    const listed: [number, string, string][] = [];
    for (const [index, part] of parts.entries()) {
      const etag = await putPart(store, uploadId, index + 1, part, {
        "x-amz-checksum-crc32": crc(part),
      });
      listed.push([index + 1, etag, `<ChecksumCRC32>${crc(part)}</ChecksumCRC32>`]);
    }
    const held = await store.send("GET", "/bucket/key", { query: `uploadId=${uploadId}` });
    expect(held.text).toContain("<ChecksumAlgorithm>CRC32</ChecksumAlgorithm>");
    for (const part of parts) expect(held.text).toContain(`<ChecksumCRC32>${crc(part)}`);
    const done = await complete(store, uploadId, listed);
    const whole = crc(Buffer.concat(parts.map((part) => Buffer.from(crc(part), "base64"))));
    expect(done.text).toContain(`<ChecksumCRC32>${whole}-2</ChecksumCRC32>`);
    expect(done.text).toContain("<ChecksumType>COMPOSITE</ChecksumType>");
    const attributes = await store.send("GET", "/bucket/key", {
      query: "attributes",
      headers: { "x-amz-object-attributes": "ETag,Checksum,ObjectParts,ObjectSize" },
    });
    expect(attributes.text).toContain("<PartsCount>2</PartsCount>");
    expect(attributes.text).toContain("<ObjectSize>20500</ObjectSize>");
    expect(attributes.text).toContain(`<Size>500</Size><ChecksumCRC32>${crc(parts[1]!)}`);
  }));

test("checks a full-object checksum given at completion", () =>
  withBucket(async (store) => {
    const parts = [sampleBytes(20_000, 1), sampleBytes(500, 2)];
    const headers = {
      "x-amz-checksum-algorithm": "CRC32",
      "x-amz-checksum-type": "FULL_OBJECT",
    };
    const uploadId = await begin(store, "key", headers);
    const listed: [number, string][] = [];
    for (const [index, part] of parts.entries()) {
      listed.push([index + 1, await putPart(store, uploadId, index + 1, part)]);
    }
    const wrong = await complete(store, uploadId, listed, { "x-amz-checksum-crc32": "AAAAAA==" });
    expect(wrong.code).toBe("BadDigest");
    const right = await complete(store, uploadId, listed, {
      "x-amz-checksum-crc32": crc(Buffer.concat(parts)),
    });
    expect(right.text).toContain(`<ChecksumCRC32>${crc(Buffer.concat(parts))}</ChecksumCRC32>`);
  }));

test("refuses a part whose checksum does not fit, and keeps the one before", () =>
  withBucket(async (store) => {
    const uploadId = await begin(store, "key", { "x-amz-checksum-algorithm": "CRC32" });
    const good = sampleBytes(20_000);
    await putPart(store, uploadId, 1, good, { "x-amz-checksum-crc32": crc(good) });
    const query = `partNumber=1&uploadId=${uploadId}`;
    const bad = await store.send("PUT", "/bucket/key", {
      query,
      body: sampleBytes(20_000, 2),
      headers: { "x-amz-checksum-crc32": crc(good) },
    });
    expect(bad.code).toBe("BadDigest");
    const held = await store.send("GET", "/bucket/key", { query: `uploadId=${uploadId}` });
    expect(held.text).toContain(crc(good));
    expect(await store.blobFiles()).toHaveLength(1);
  }));

test.each([
  [
    "unknown part",
    [
      [1, "a"],
      [3, "c"],
    ],
    "InvalidPart",
  ],
  ["wrong ETag", [[1, "b"]], "InvalidPart"],
  [
    "falling order",
    [
      [2, "b"],
      [1, "a"],
    ],
    "InvalidPartOrder",
  ],
  [
    "one part twice",
    [
      [1, "a"],
      [1, "a"],
    ],
    "InvalidPartOrder",
  ],
  [
    "small part before the last",
    [
      [1, "a"],
      [2, "b"],
    ],
    "EntityTooSmall",
  ],
  ["empty list", [], "MalformedXML"],
] as const)("refuses to complete: %s", (_, listed, code) =>
  withBucket(async (store) => {
    const uploadId = await begin(store);
    const etags: Record<string, string> = {
      a: await putPart(store, uploadId, 1, sampleBytes(100, 1)),
      b: await putPart(store, uploadId, 2, sampleBytes(5000, 2)),
      c: '"ffffffffffffffffffffffffffffffff"',
    };
    const parts = listed.map(([number, name]) => [number, etags[name]!] as const);
    expect((await complete(store, uploadId, parts)).code).toBe(code);
    expect((await store.send("GET", "/bucket/key")).status).toBe(404);
  }),
);

test("completes once, and answers the repeated request as the first", () =>
  withBucket(async (store) => {
    const uploadId = await begin(store);
    const parts = [[1, await putPart(store, uploadId, 1, sampleBytes(100))]] as const;
    const [first, second] = await Promise.all([
      complete(store, uploadId, parts),
      complete(store, uploadId, parts),
    ]);
    expect([first.status, second.status]).toEqual([200, 200]);
    expect((await complete(store, uploadId, parts)).status).toBe(200);
    await store.send("PUT", "/bucket/key", { body: "newer" });
    expect((await complete(store, uploadId, parts)).code).toBe("NoSuchUpload");
    expect((await store.send("GET", "/bucket/key")).text).toBe("newer");
  }));

test("honours conditions when completing, and leaves the upload as it was", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/key", { body: "old" });
    const uploadId = await begin(store);
    const parts = [[1, await putPart(store, uploadId, 1, sampleBytes(100))]] as const;
    const refused = await complete(store, uploadId, parts, { "if-none-match": "*" });
    expect(refused).toMatchObject({ status: 412, code: "PreconditionFailed" });
    const matched = await complete(store, uploadId, parts, { "if-match": `"${md5("old")}"` });
    expect(matched.status).toBe(200);
  }));

test("copies ranges into parts without reading or storing them again", () =>
  withBucket(async (store) => {
    const source = sampleBytes(100_000);
    await store.send("PUT", "/bucket/source", { body: source });
    const uploadId = await begin(store);
    const listed: [number, string][] = [];
    for (const [number, range] of [
      [1, "bytes=50000-99999"],
      [2, "bytes=0-49999"],
    ] as const) {
      const { text } = await store.send("PUT", "/bucket/key", {
        query: `partNumber=${number}&uploadId=${uploadId}`,
        headers: { "x-amz-copy-source": "bucket/source", "x-amz-copy-source-range": range },
      });
      listed.push([number, /&quot;([^&]+)&quot;/.exec(text)?.[1] ?? ""]);
    }
    await complete(store, uploadId, listed);
    expect(await store.blobFiles()).toHaveLength(1);
    await store.send("DELETE", "/bucket/source");
    const got = await store.send("GET", "/bucket/key");
    const expected = Buffer.concat([source.subarray(50_000), source.subarray(0, 50_000)]);
    expect(got.body.equals(expected)).toBe(true);
    await store.send("DELETE", "/bucket/key");
    await expect.poll(() => store.blobFiles()).toEqual([]);
  }));

test("reads an object part by part", () =>
  withBucket(async (store) => {
    const uploadId = await begin(store);
    const parts = [
      [1, await putPart(store, uploadId, 1, sampleBytes(3000, 1))],
      [5, await putPart(store, uploadId, 5, sampleBytes(200, 2))],
    ] as const;
    await complete(store, uploadId, parts);
    const second = await store.send("GET", "/bucket/key", { query: "partNumber=2" });
    expect(second).toMatchObject({
      status: 206,
      headers: { "content-range": "bytes 3000-3199/3200", "x-amz-mp-parts-count": "2" },
    });
    expect(second.body.equals(sampleBytes(200, 2))).toBe(true);
    const third = await store.send("HEAD", "/bucket/key", { query: "partNumber=3" });
    expect(third.status).toBe(416);
  }));

test("gives everything back when an upload is aborted", () =>
  withBucket(async (store) => {
    const uploadId = await begin(store);
    await putPart(store, uploadId, 1, sampleBytes(100_000, 1));
    await putPart(store, uploadId, 1, sampleBytes(100_000, 2));
    await expect.poll(() => store.blobFiles()).toHaveLength(1);
    const query = `uploadId=${uploadId}`;
    expect((await store.send("DELETE", "/bucket/key", { query })).status).toBe(204);
    expect((await store.send("DELETE", "/bucket/key", { query })).code).toBe("NoSuchUpload");
    await expect.poll(() => store.blobFiles()).toEqual([]);
  }));

test("lists uploads by key and time, page by page", () =>
  withBucket(async (store) => {
    const ids: string[] = [];
    for (const key of ["a", "b/1", "b/2", "c", "c"]) ids.push(await begin(store, key));
    const list = async (query: string): Promise<string> =>
      (await store.send("GET", "/bucket", { query: `uploads&${query}` })).text;
    expect(await list("delimiter=%2F")).toMatch(/<CommonPrefixes><Prefix>b\/<\/Prefix>/);
    const seen: string[] = [];
    let markers = "";
    for (let page = 0; page < 10; page++) {
      const text = await list(`max-uploads=2${markers}`);
      seen.push(...[...text.matchAll(/<Upload>.*?<UploadId>([^<]+)/g)].map((match) => match[1]!));
      if (!text.includes("<IsTruncated>true")) break;
      const key = /<NextKeyMarker>([^<]*)/.exec(text)?.[1] ?? "";
      const id = /<NextUploadIdMarker>([^<]*)/.exec(text)?.[1] ?? "";
      markers = `&key-marker=${encodeURIComponent(key)}&upload-id-marker=${id}`;
    }
    expect(seen.toSorted()).toEqual(ids.toSorted());
  }));

test("survives ten thousand parts in one object", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/source", { body: sampleBytes(40_000) });
    const uploadId = await begin(store);
    const listed: [number, string][] = [];
    const copy = async (number: number): Promise<void> => {
      const { text } = await store.send("PUT", "/bucket/key", {
        query: `partNumber=${number}&uploadId=${uploadId}`,
        headers: {
          "x-amz-copy-source": "bucket/source",
          "x-amz-copy-source-range": `bytes=${number}-${number + 1023}`,
        },
      });
      listed.push([number, /&quot;([^&]+)&quot;/.exec(text)?.[1] ?? ""]);
    };
    for (let base = 1; base <= 10_000; base += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, index) => copy(base + index)));
    }
    listed.sort(([a], [b]) => a - b);
    expect((await complete(store, uploadId, listed)).status).toBe(200);
    const got = await store.send("GET", "/bucket/key", {
      headers: { range: "bytes=10238976-10239999" },
    });
    expect(got.body.equals(sampleBytes(40_000).subarray(10_000, 11_024))).toBe(true);
  }));
