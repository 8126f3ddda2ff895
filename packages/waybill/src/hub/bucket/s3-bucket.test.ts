import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createStore, type Store } from "../../store/index.ts";
import { silentLog } from "../log.ts";
import { knownToWantEqualParts } from "../storage/part-rule-probe.ts";
import { S3Storage, type StorageInit } from "../storage/storage.ts";
import { runBucketTests } from "./bucket.conformance.ts";
import { runMultipartTests } from "./multipart.conformance.ts";
import { Documents } from "./documents.ts";
import * as v from "valibot";

const credentials = { accessKeyId: "WAYBILLTEST", secretAccessKey: "a secret for tests only" };
let dataDir = "";
let store: Store;
let endpoint = "";
const opened: S3Storage[] = [];

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "waybill-s3-bucket-"));
  store = createStore({
    dataDir,
    host: "127.0.0.1",
    port: 0,
    region: "us-east-1",
    credentials: [credentials],
  });
  ({ endpoint } = await store.start());
});
afterAll(async () => {
  for (const storage of opened) await storage[Symbol.asyncDispose]();
  await store.stop();
  await rm(dataDir, { recursive: true });
});

let buckets = 0;
async function openStorage(
  roomsBucket?: string,
  init: Partial<StorageInit> = {},
): Promise<S3Storage> {
  buckets += 1;
  const storage = new S3Storage({
    endpoint,
    region: "us-east-1",
    credentials,
    uploadsBucket: `uploads-${buckets}`,
    roomsBucket: roomsBucket ?? `rooms-${buckets}`,
    uploadTtlMs: 86_400_000,
    clock: Date.now,
    log: silentLog,
    ...init,
  });
  opened.push(storage);
  await storage.prepare();
  return storage;
}

runBucketTests("S3 API", async () => (await openStorage()).rooms.bucket);

runMultipartTests("S3 API", async () => {
  const { rooms, presigner } = await openStorage();
  const putPart = async (key: string, uploadId: string, part: number, body: Uint8Array) => {
    const headers = { "x-amz-checksum-crc32": crcOf(body) };
    const query = { partNumber: String(part), uploadId };
    const request = { method: "PUT", bucket: rooms.bucket.name, key, query, headers } as const;
    const { urls } = await presigner.sign([request], 60);
    const sent = { method: "PUT", headers, body: new Uint8Array(body) };
    const answer = await fetch(urls[0] ?? "", sent);
    expect(answer.status).toBe(200);
    await answer.text();
  };
  return { ...rooms, putPart };
});

function crcOf(body: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return sum.toString("base64");
}

describe("S3Bucket", () => {
  it("obeys the conditions of presigned PUTs, whoever sends them and when", async () => {
    const { rooms, presigner } = await openStorage();
    const put = async (body: string, condition: Record<string, string>) => {
      const bytes = Buffer.from(body);
      const headers = { ...condition, "x-amz-checksum-crc32": crcOf(bytes) };
      const signed = { ...headers, "content-length": String(bytes.length) };
      const request = {
        method: "PUT",
        bucket: rooms.bucket.name,
        key: "k",
        headers: signed,
      } as const;
      const { urls } = await presigner.sign([request], 60);
      return async (sent: Record<string, string> = headers) => {
        const answer = await fetch(urls[0] ?? "", { method: "PUT", headers: sent, body });
        await answer.text();
        return answer.status;
      };
    };
    const create = await put("one", { "if-none-match": "*" });
    const late = await put("two", { "if-none-match": "*" });
    expect(await create()).toBe(200);
    expect(await late()).toBe(412);
    // The condition is signed: it cannot be left out.
    expect(await late({ "x-amz-checksum-crc32": crcOf(Buffer.from("two")) })).toBe(403);
    const { etag = "" } = (await rooms.bucket.head("k")) ?? {};
    const replace = await put("two", { "if-match": etag });
    expect(await replace()).toBe(200);
    expect(await replace()).toBe(412);
    expect(await rooms.bucket.head("k")).toMatchObject({ crc32: crcOf(Buffer.from("two")) });
  });

  it("finds the rule of parts by trying, and remembers it", async () => {
    const storage = await openStorage();
    expect(await storage.equalParts()).toBe(false);
    const kept = await storage.rooms.bucket.get("_store/parts.json");
    expect(JSON.parse(new TextDecoder().decode(kept?.body))).toEqual({ endpoint, equal: false });
    const left = await Array.fromAsync(storage.rooms.bucket.list(""));
    expect(left.map(({ key }) => key)).toEqual(["_store/parts.json"]);
    expect(await Array.fromAsync(storage.rooms.multipart.list(""))).toEqual([]);
    await storage.rooms.bucket.put("_store/parts.json", JSON.stringify({ endpoint, equal: true }));
    expect(await openStorage(storage.rooms.bucket.name).then((again) => again.equalParts())).toBe(
      true,
    );
  });

  it.each([
    ["https://0123.r2.cloudflarestorage.com", true],
    ["https://s3.eu-central-1.amazonaws.com", true],
    [undefined, true],
    ["http://127.0.0.1:9000", undefined],
  ])("knows of %s that it wants equal parts: %s", (url, wants) => {
    expect(knownToWantEqualParts(url)).toBe(wants);
  });

  it.each([-20, 20])("works with a store whose clock is %i minutes off", async (minutes) => {
    const skewed = { clock: () => Date.now() - minutes * 60_000 };
    const { rooms, presigner } = await openStorage(undefined, skewed);
    await rooms.bucket.put("key", "value");
    expect(await rooms.bucket.head("key")).toMatchObject({ size: 5 });
    // What clients get is signed by the store's clock, too, and ends when the hub says, by the hub's.
    const request = { method: "GET", bucket: rooms.bucket.name, key: "key" } as const;
    const { urls, expiresAtMs, validForMs } = await presigner.sign([request], 60);
    expect((await fetch(urls[0] ?? "")).status).toBe(200);
    expect(validForMs).toBe(60_000);
    expect(Math.abs(expiresAtMs - skewed.clock() - 60_000)).toBeLessThan(5000);
  });

  it("gives a CRC-32 of what was put with one", async () => {
    const { rooms, presigner } = await openStorage();
    const headers = { "content-length": "5", "x-amz-checksum-crc32": "NhCmhg==" };
    const request = { method: "PUT", bucket: rooms.bucket.name, key: "sum", headers } as const;
    const { urls } = await presigner.sign([request], 60);
    const answer = await fetch(urls[0] ?? "", { method: "PUT", headers, body: "hello" });
    expect(answer.status).toBe(200);
    expect(await rooms.bucket.head("sum")).toMatchObject({ size: 5, crc32: "NhCmhg==" });
  });

  it("calls a missing bucket a fault, not a missing key", async () => {
    const storage = await openStorage();
    const client = new S3Storage({
      endpoint,
      region: "us-east-1",
      credentials,
      uploadsBucket: "none-1",
      roomsBucket: "none-2",
      uploadTtlMs: 1,
      clock: Date.now,
      log: silentLog,
    });
    opened.push(client);
    await expect(client.rooms.bucket.get("key")).rejects.toMatchObject({ code: "storage_failed" });
    expect(await storage.rooms.bucket.get("key")).toBeUndefined();
  });

  it("loses no edit of 64 writers in four hubs (I4)", async () => {
    const { rooms } = await openStorage();
    const Counter = v.object({ count: v.number() });
    const hubs = Array.from({ length: 4 }, () => new Documents({ bucket: rooms.bucket }));
    const add = (doc: { count: number } | undefined) => ({ count: (doc?.count ?? 0) + 1 });
    await Promise.all(
      hubs.flatMap((hub) => Array.from({ length: 16 }, () => hub.update(Counter, "count", add))),
    );
    expect((await hubs[0]?.read(Counter, "count"))?.doc.count).toBe(64);
  });
});
