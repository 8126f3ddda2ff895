import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createStore, type Store } from "../../store/index.ts";
import { silentLog } from "../log.ts";
import { S3Storage } from "../storage/storage.ts";
import { runBucketTests } from "./bucket.conformance.ts";
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
async function openStorage(): Promise<S3Storage> {
  buckets += 1;
  const storage = new S3Storage({
    endpoint,
    region: "us-east-1",
    credentials,
    uploadsBucket: `uploads-${buckets}`,
    roomsBucket: `rooms-${buckets}`,
    uploadTtlMs: 86_400_000,
    clock: Date.now,
    log: silentLog,
  });
  opened.push(storage);
  await storage.prepare();
  return storage;
}

runBucketTests("S3 API", async () => (await openStorage()).rooms.bucket);

describe("S3Bucket", () => {
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
