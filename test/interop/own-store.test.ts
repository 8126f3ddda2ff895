// A worker's own uploads against a real store: parts with checksums, gone on with by what the store lists (hub-api.md §3).
import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CreateBucketCommand, HeadObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import * as v from "valibot";
import { decodeManifest } from "@waybill/sdk/artifact";
import { ArtifactName, JobId, ModelId, ModelType, RoomId } from "@waybill/sdk/protocol";
import { OwnStore } from "../../packages/waybill/src/worker/publish/own-store.ts";
import { openOwnStore } from "../../packages/waybill/src/worker/publish/own-upload.ts";
import { type InteropStore, credential, region, startInteropStore } from "./s3-tools.ts";

const PREFIX = "lab/models/net_00c0ffee.1/";
const BYTES = 40 * 1024 * 1024;
const signal = new AbortController().signal;
let s3: InteropStore;
let dir: string;

beforeEach(async () => {
  s3 = await startInteropStore();
  vi.stubEnv("AWS_ACCESS_KEY_ID", credential.accessKeyId);
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", credential.secretAccessKey);
  dir = join(s3.directory, "model");
  await mkdir(join(dir, "more"), { recursive: true });
  await writeFile(join(dir, "weights.bin"), randomBytes(BYTES));
  await writeFile(join(dir, "more", "config.json"), "{}");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await s3[Symbol.asyncDispose]();
});

function request(onProgress: (progress: { readonly bytes: number }) => void, until = signal) {
  return {
    room: v.parse(RoomId, "lab"),
    dir,
    prefix: PREFIX,
    name: v.parse(ArtifactName, "net_00c0ffee"),
    purpose: {
      kind: "model" as const,
      model: v.parse(ModelId, "00c0ffee"),
      modelType: v.parse(ModelType, "net"),
      job: v.parse(JobId, "j_0000000000000001"),
      attempt: 1,
    },
    signal: until,
    onProgress,
  };
}

it("an upload that was cut off goes on with the parts the store has, and its manifest comes last", async () => {
  const endpoint = s3.endpoint;
  const client = new S3Client({ endpoint, region, credentials: credential, forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: "rooms" }));
  const look = new OwnStore({ endpoint, region, bucket: "rooms" });
  const first = openOwnStore({ endpoint, region, bucket: "rooms" });
  const cut = new AbortController();
  const cutOff = first.upload(
    request(({ bytes }) => {
      if (bytes > BYTES / 2) cut.abort();
    }, cut.signal),
  );
  await expect(cutOff).rejects.toMatchObject({ name: "AbortError" });
  first.close();
  expect([...(await look.sizes(PREFIX, { signal })).keys()]).not.toContain("artifact.json");

  const second = openOwnStore({ endpoint, region, bucket: "rooms" });
  const done = await second.upload(request(() => undefined));
  expect(done).toMatchObject({ bytes: BYTES + 2, files: 2, warnings: [] });
  expect(done.sentBytes).toBeLessThan(BYTES * 0.75);
  const again = await second.upload(request(() => undefined));
  expect(again.artifact).toBe(done.artifact);
  expect(again.sentBytes).toBeLessThan(100_000);

  const manifest = decodeManifest(
    await look.text(`${PREFIX}artifact.json`, { signal }),
    done.artifact,
  );
  expect(manifest.files.map(({ path }) => path)).toEqual(["more/config.json", "weights.bin"]);
  const key = `${PREFIX}weights.bin`;
  const head = await client.send(
    new HeadObjectCommand({ Bucket: "rooms", Key: key, ChecksumMode: "ENABLED" }),
  );
  expect(head.ContentLength).toBe(BYTES);
  expect(head.ChecksumCRC32).toMatch(/^[A-Za-z0-9+/]{6}==$/);
  await second.remove(PREFIX, signal);
  expect((await look.sizes(PREFIX, { signal })).size).toBe(0);
  second.close();
  look.close();
  client.destroy();
});
