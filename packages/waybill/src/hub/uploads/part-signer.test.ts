import { type RoomId, UploadId } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { sampleKey } from "../jobs/job-keys.ts";
import { TestHub } from "../hub.fixture.ts";
import { Documents } from "../bucket/documents.ts";
import { MemoryStorage } from "../storage/memory-storage.ts";
import { AT_ONCE_BYTES, PART_BYTES, patterned, planOf, push, tinyTree } from "./push.fixture.ts";
import { MultipartOpener } from "./multipart-opener.ts";
import { PartSigner } from "./part-signer.ts";
import { UploadDoc, placeFor, sessionKey } from "./upload-doc.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const lab = "lab" as RoomId;

describe("presigned URLs", () => {
  it("are good for as long as the hub was told: parts, reads and samples", async () => {
    const hub = new TestHub({ clock: () => NOW_MS, presignSeconds: 5 });
    const { client, room } = await hub.createRoom("lab");
    const tree = tinyTree({ "a.txt": "alpha" });
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
    const part = { key: "a.txt", part: 0, size: 5, crc32: "AAAAAA==" };
    const parts = await client.call("signParts", {
      params: { room, upload: status.upload },
      body: { parts: [part] },
    });
    const { record } = await push(client, hub.storage, room, tree);
    const reads = await client.call("signReads", {
      params: { room, artifact: record.artifact },
      body: { keys: ["a.txt"] },
    });
    const job = "j_0000000000000001";
    const file = "0123456789abcdef.png";
    await hub.storage.rooms.bucket.put(sampleKey(room, job as never, file), "image");
    const sample = await client.call("readSample", { params: { room, job, file } });
    const urls = [parts.parts[0]?.url, reads.reads[0]?.url, sample.url];
    for (const url of urls) expect(url).toContain("X-Amz-Expires=5&");
    const end = new Date(NOW_MS + 5000).toISOString();
    expect([parts, reads, sample].map(({ expiresAt }) => expiresAt)).toEqual([end, end, end]);
  });

  it("of a part never lead to the whole object, even if the store names no multipart upload", async () => {
    const storage = new MemoryStorage({ clock: () => NOW_MS });
    const documents = new Documents({ bucket: storage.uploads.bucket });
    const nameless = {
      ...storage.uploads,
      multipart: { create: async () => undefined as never, abort: async () => {} } as never,
    };
    const signer = new PartSigner({
      opener: new MultipartOpener({ documents, placeOf: () => nameless }),
      presigner: storage.presigner,
      presignSeconds: 60,
      placeOf: () => nameless,
    });
    const plan = planOf(new Map([["big.bin", patterned(AT_ONCE_BYTES + 1)]]));
    const upload = v.parse(UploadId, `u_${"0".repeat(24)}`);
    const now = new Date(NOW_MS).toISOString();
    const doc = v.parse(UploadDoc, {
      upload,
      room: lab,
      state: "open",
      plan,
      ...placeFor(lab, upload, plan),
      createdAt: now,
      createdBy: "a",
      expiresAt: now,
      multipart: {},
    });
    await documents.create(UploadDoc, sessionKey(lab, upload), doc);
    const part = { key: "big.bin", part: 1, size: PART_BYTES, crc32: "AAAAAA==" };
    await expect(signer.sign(doc, [part])).rejects.toMatchObject({ code: "internal" });
  });
});
