import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListPartsCommand,
  paginateListObjectsV2,
  PutBucketLifecycleConfigurationCommand,
  GetBucketLifecycleConfigurationCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  type ChecksumAlgorithm,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { crc32 } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sampleBytes } from "../../packages/waybill/src/store/testing/test-store.ts";
import { credential, region, startInteropStore, type InteropStore } from "./s3-tools.ts";

let s3: InteropStore;
let client: S3Client;
const Bucket = "bucket";

beforeAll(async () => {
  s3 = await startInteropStore();
  // Nothing but what one must say: the SDK's own defaults, trailing checksums included.
  client = new S3Client({
    endpoint: s3.endpoint,
    region,
    credentials: credential,
    forcePathStyle: true,
  });
  await client.send(new CreateBucketCommand({ Bucket }));
});

afterAll(async () => {
  client.destroy();
  await s3[Symbol.asyncDispose]();
});

async function read(Key: string): Promise<Buffer> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }));
  return Buffer.from((await Body?.transformToByteArray()) ?? []);
}

test("puts text, bytes and streams with its default checksums", async () => {
  const bytes = sampleBytes(300_000);
  await client.send(new PutObjectCommand({ Bucket, Key: "text", Body: "h\u00e9llo" }));
  await client.send(new PutObjectCommand({ Bucket, Key: "bytes", Body: bytes }));
  const pieces = Array.from({ length: 30 }, (_, index) =>
    bytes.subarray(index * 10_000, (index + 1) * 10_000),
  );
  const stream = Readable.from(pieces, { objectMode: false });
  await client.send(
    new PutObjectCommand({ Bucket, Key: "stream", Body: stream, ContentLength: bytes.length }),
  );
  expect((await read("text")).toString()).toBe("h\u00e9llo");
  expect((await read("bytes")).equals(bytes)).toBe(true);
  expect((await read("stream")).equals(bytes)).toBe(true);
  const head = await client.send(
    new HeadObjectCommand({ Bucket, Key: "stream", ChecksumMode: "ENABLED" }),
  );
  expect(head).toMatchObject({ ChecksumType: "FULL_OBJECT" });
  expect(head.ChecksumCRC32).toHaveLength(8);
});

test.each<ChecksumAlgorithm>(["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])(
  "sends and validates %s",
  async (ChecksumAlgorithm) => {
    const Key = `sum-${ChecksumAlgorithm}`;
    await client.send(new PutObjectCommand({ Bucket, Key, Body: "123456789", ChecksumAlgorithm }));
    expect((await read(Key)).toString()).toBe("123456789");
  },
);

test("uploads in parts with lib-storage", async () => {
  const body = sampleBytes(23 * 1024 * 1024);
  const upload = new Upload({
    client,
    params: { Bucket, Key: "upload", Body: Readable.from([body], { objectMode: false }) },
    queueSize: 4,
  });
  await upload.done();
  expect((await read("upload")).equals(body)).toBe(true);
  const attributes = await client.send(
    new GetObjectAttributesCommand({
      Bucket,
      Key: "upload",
      ObjectAttributes: ["ObjectSize", "ObjectParts", "Checksum"],
    }),
  );
  expect(attributes).toMatchObject({ ObjectSize: body.length });
  expect(attributes.ObjectParts?.TotalPartsCount).toBe(5);
});

test("takes parts by presigned URL with signed checksum and length, as Waybill's clients send them", async () => {
  const Key = "presigned";
  const part = sampleBytes(100_000);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(part));
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({
      Bucket,
      Key,
      ChecksumAlgorithm: "CRC32",
      ChecksumType: "COMPOSITE",
    }),
  );
  const url = await getSignedUrl(
    client,
    new UploadPartCommand({
      Bucket,
      Key,
      UploadId,
      PartNumber: 1,
      ChecksumCRC32: checksum.toString("base64"),
      ContentLength: part.length,
    }),
    {
      unhoistableHeaders: new Set(["x-amz-checksum-crc32"]),
      signableHeaders: new Set(["host", "content-length"]),
    },
  );
  const headers = { "x-amz-checksum-crc32": checksum.toString("base64") };
  const refused = await fetch(url, { method: "PUT", body: part.subarray(1), headers });
  expect(refused.status).toBe(403);
  const accepted = await fetch(url, { method: "PUT", body: part, headers });
  expect(accepted.status).toBe(200);
  const { Parts } = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }));
  expect(Parts).toHaveLength(1);
  expect(Parts?.[0]?.ChecksumCRC32).toBe(checksum.toString("base64"));
  await client.send(
    new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }),
  );
  expect((await read(Key)).equals(part)).toBe(true);
});

test("reads by presigned URL", async () => {
  const url = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: "text" }));
  expect(await (await fetch(url)).text()).toBe("h\u00e9llo");
});

test("pages through a listing with delimiter, and deletes in one request", async () => {
  const keys = ["list/a/1", "list/a/2", "list/b", "list/c/\u0001odd", "list/d"];
  for (const Key of keys) await client.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  const found: string[] = [];
  const pages = paginateListObjectsV2(
    { client, pageSize: 1 },
    { Bucket, Prefix: "list/", Delimiter: "/", EncodingType: "url" },
  );
  for await (const page of pages) {
    found.push(...(page.Contents ?? []).map((entry) => entry.Key ?? ""));
    found.push(...(page.CommonPrefixes ?? []).map((entry) => entry.Prefix ?? ""));
  }
  expect(found).toEqual(["list/a/", "list/b", "list/c/", "list/d"]);
  const { Deleted, Errors } = await client.send(
    new DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }),
  );
  expect([Deleted?.length, Errors]).toEqual([keys.length, undefined]);
});

test("names conditional failures and missing things as S3 does", async () => {
  const put = (extra: { IfNoneMatch?: string; IfMatch?: string }): Promise<unknown> =>
    client.send(new PutObjectCommand({ Bucket, Key: "text", Body: "x", ...extra }));
  await expect(put({ IfNoneMatch: "*" })).rejects.toMatchObject({ name: "PreconditionFailed" });
  await expect(put({ IfMatch: '"other"' })).rejects.toMatchObject({ name: "PreconditionFailed" });
  const get = (bucket: string, Key: string): Promise<unknown> =>
    client.send(new GetObjectCommand({ Bucket: bucket, Key }));
  await expect(get(Bucket, "missing")).rejects.toMatchObject({ name: "NoSuchKey" });
  await expect(get("missing-bucket", "x")).rejects.toMatchObject({ name: "NoSuchBucket" });
  await expect(
    client.send(new HeadObjectCommand({ Bucket, Key: "missing" })),
  ).rejects.toMatchObject({ name: "NotFound" });
  await expect(
    client.send(new AbortMultipartUploadCommand({ Bucket, Key: "x", UploadId: "none" })),
  ).rejects.toMatchObject({ name: "NoSuchUpload" });
});

test("copies on the server and keeps lifecycle rules", async () => {
  await client.send(
    new CopyObjectCommand({ Bucket, Key: "copied", CopySource: `${Bucket}/bytes` }),
  );
  expect((await read("copied")).equals(sampleBytes(300_000))).toBe(true);
  const Rules = [
    { ID: "r", Status: "Enabled", Filter: { Prefix: "tmp/" }, Expiration: { Days: 1 } } as const,
  ];
  await client.send(
    new PutBucketLifecycleConfigurationCommand({
      Bucket,
      LifecycleConfiguration: { Rules: [...Rules] },
    }),
  );
  const stored = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
  expect(stored.Rules).toEqual(Rules);
});
