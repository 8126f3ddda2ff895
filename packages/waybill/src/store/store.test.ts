import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createStore } from "./store.ts";
import { sampleBytes, startTestStore, testCredential } from "./testing/test-store.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

async function withDirectory(work: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "waybill-store-"));
  try {
    await work(dataDir);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

test("keeps everything over a restart", () =>
  withDirectory(async (dataDir) => {
    const body = sampleBytes(100_000);
    {
      await using store = await startTestStore({ dataDir });
      await store.send("PUT", "/bucket");
      await store.send("PUT", "/bucket/large", { body });
      await store.send("PUT", "/bucket/small", { body: "small" });
    }
    await using store = await startTestStore({ dataDir });
    expect((await store.send("GET", "/bucket/large")).body.equals(body)).toBe(true);
    expect((await store.send("GET", "/bucket/small")).text).toBe("small");
  }));

test("removes files no object knows when it starts", () =>
  withDirectory(async (dataDir) => {
    {
      await using store = await startTestStore({ dataDir });
      await store.send("PUT", "/bucket");
      await store.send("PUT", "/bucket/key", { body: sampleBytes(100_000) });
    }
    await mkdir(join(dataDir, "blobs", "ab"), { recursive: true });
    await writeFile(join(dataDir, "blobs", "ab", "ab0123456789"), "orphan");
    await writeFile(join(dataDir, "tmp", "half"), "half");
    await using store = await startTestStore({ dataDir });
    expect(await store.blobFiles()).toHaveLength(1);
    expect((await store.send("GET", "/bucket/key")).body).toHaveLength(100_000);
  }));

test("tells a second store that the directory is in use", () =>
  withDirectory(async (dataDir) => {
    await using first = await startTestStore({ dataDir });
    const second = createStore({
      dataDir,
      host: "127.0.0.1",
      port: 0,
      region: "us-east-1",
      credentials: [testCredential],
    });
    await expect(second.start()).rejects.toMatchObject({ code: "conflict" });
    await second.stop();
    expect((await first.send("GET", "/")).status).toBe(200);
  }));

test("tells that a port is taken, and can be tried again elsewhere", () =>
  withDirectory(async (dataDir) => {
    await using first = await startTestStore();
    const init = { dataDir, host: "127.0.0.1", region: "us-east-1", credentials: [testCredential] };
    const second = createStore({ ...init, port: first.port });
    await expect(second.start()).rejects.toMatchObject({ code: "conflict" });
    await using third = createStore({ ...init, port: 0 });
    await third.start();
  }));

test("lets an upload under way end before it stops, and takes no new connection", async () => {
  await using store = await startTestStore();
  await store.send("PUT", "/bucket");
  const path = store.presign("PUT", "/bucket/key");
  const outgoing = httpRequest({
    host: "127.0.0.1",
    port: store.port,
    method: "PUT",
    path,
    headers: { "content-length": "10", expect: "100-continue" },
  });
  outgoing.flushHeaders();
  await once(outgoing, "continue");
  const stopped = Promise.all([store.store.stop(), store.store.stop()]);
  await expect(fetch(store.endpoint)).rejects.toThrow(/fetch failed/);
  outgoing.end("0123456789");
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  expect(response.statusCode).toBe(200);
  response.resume();
  await stopped;
});

test("does nothing when stopped before it was started", async () => {
  const store = createStore({
    dataDir: "/nonexistent/never made",
    host: "127.0.0.1",
    port: 0,
    region: "us-east-1",
    credentials: [],
  });
  await expect(store.stop()).resolves.toBeUndefined();
});

test("expires objects and unfinished uploads by lifecycle rules, by the injected clock", async () => {
  let now = Date.parse("2026-06-01T12:00:00Z");
  await using store = await startTestStore({ clock: { now: () => now } });
  await store.send("PUT", "/bucket");
  const rules = `<LifecycleConfiguration><Rule><ID>tmp</ID><Status>Enabled</Status>
    <Filter><Prefix>tmp/</Prefix></Filter><Expiration><Days>1</Days></Expiration>
    <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>
    </Rule></LifecycleConfiguration>`;
  expect((await store.send("PUT", "/bucket", { query: "lifecycle", body: rules })).status).toBe(
    200,
  );
  const stored = await store.send("GET", "/bucket", { query: "lifecycle" });
  expect(stored.text).toContain("<ID>tmp</ID>");
  await store.send("PUT", "/bucket/tmp/a", { body: sampleBytes(50_000) });
  await store.send("PUT", "/bucket/kept", { body: "x" });
  await store.send("POST", "/bucket/tmp/upload", { query: "uploads" });
  now += DAY;
  expect(await store.store.sweep()).toEqual({ objects: 0, uploads: 0, bytes: 0 });
  now += DAY;
  expect(await store.store.sweep()).toEqual({ objects: 1, uploads: 1, bytes: 50_000 });
  expect((await store.send("GET", "/bucket/kept")).status).toBe(200);
  await expect.poll(() => store.blobFiles()).toEqual([]);
});

test("expires by hours below a prefix, more keys than a page holds", async () => {
  let now = Date.parse("2026-06-01T12:00:00Z");
  await using store = await startTestStore({ clock: { now: () => now } });
  await store.send("PUT", "/bucket");
  const keys = Array.from({ length: 1100 }, (_, index) => `tmp/${index}`);
  await Promise.all(keys.map((key) => store.send("PUT", `/bucket/${key}`, { body: "x" })));
  now += 2 * HOUR;
  await store.send("PUT", "/bucket/tmp/young", { body: "x" });
  const swept = await store.store.expireOlderThan({
    bucket: "bucket",
    prefix: "tmp/",
    olderThanMs: HOUR,
  });
  expect(swept).toEqual({ objects: 1100, uploads: 0, bytes: 1100 });
  const left = await store.send("GET", "/bucket", { query: "list-type=2" });
  expect(left.text).toContain("<KeyCount>1</KeyCount>");
});

test("refuses to delete a bucket with objects, and gives back what its uploads held", async () => {
  await using store = await startTestStore();
  await store.send("PUT", "/bucket");
  await store.send("PUT", "/bucket/key", { body: "x" });
  expect((await store.send("DELETE", "/bucket")).code).toBe("BucketNotEmpty");
  await store.send("DELETE", "/bucket/key");
  const { text } = await store.send("POST", "/bucket/key", { query: "uploads" });
  const uploadId = /<UploadId>([^<]+)/.exec(text)?.[1] ?? "";
  const query = `partNumber=1&uploadId=${uploadId}`;
  await store.send("PUT", "/bucket/key", { query, body: sampleBytes(50_000) });
  expect((await store.send("DELETE", "/bucket")).status).toBe(204);
  expect((await store.send("GET", "/bucket")).code).toBe("NoSuchBucket");
  await expect.poll(() => store.blobFiles()).toEqual([]);
});

test.each([
  ["versioning", 200, "VersioningConfiguration"],
  ["acl", 200, "FULL_CONTROL"],
  ["location", 200, "LocationConstraint"],
  ["policy", 404, "NoSuchBucketPolicy"],
  ["cors", 404, "NoSuchCORSConfiguration"],
  ["lifecycle", 404, "NoSuchLifecycleConfiguration"],
  ["tagging", 404, "NoSuchTagSet"],
  ["inventory", 501, "NotImplemented"],
])(
  "answers GET ?%s as S3 does for a private, unversioned bucket",
  async (query, status, expected) => {
    await using store = await startTestStore();
    await store.send("PUT", "/bucket");
    const answer = await store.send("GET", "/bucket", { query });
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(expected);
  },
);
