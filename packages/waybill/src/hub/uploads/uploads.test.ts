import { artifactId, decodeManifest } from "@waybill/sdk/artifact";
import { MANIFEST_KEY } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import {
  PART_BYTES,
  UNIT_BYTES,
  manifestBytes,
  manifestOf,
  patterned,
  piecesOf,
  planOf,
  push,
  putAtOnce,
  tinyTree,
  type PushOptions,
  type Tree,
} from "./push.fixture.ts";

const HOUR_MS = 3_600_000;

async function setup() {
  const time = { nowMs: Date.UTC(2026, 0, 1) };
  const hub = new TestHub({ clock: () => time.nowMs });
  const { storage } = hub;
  const { client, room, token, identity } = await hub.createRoom("lab");
  const pushTree = (tree: Tree, options?: PushOptions) =>
    push(client, storage, room, tree, options);
  return { time, hub, storage, client, room, token, identity, pushTree };
}

const small = tinyTree({ "a.txt": "alpha", "dir/b.txt": "beta", "empty.txt": "" });
const large: Tree = new Map([
  ["big.bin", patterned(2 * PART_BYTES + 1000)],
  ["small.txt", new TextEncoder().encode("small")],
]);

/** Not by `toEqual`: a difference of megabytes cannot be printed. */
function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
}

describe("an upload", () => {
  it("becomes an artifact that is found by id, prefix and name, and read by presigned URLs", async () => {
    const { pushTree, client, room, storage } = await setup();
    const { record } = await pushTree(small, { name: "letters" });
    expect(record).toMatchObject({ kind: "dataset", files: 3, bytes: 9, name: "letters" });
    expect(record.artifact).toBe(artifactId(manifestOf(small)));
    for (const ref of [record.artifact, record.artifact.slice(0, 8), "letters"]) {
      const found = await client.call("resolveArtifact", { params: { room, ref } });
      expect(found.artifact).toBe(record.artifact);
    }
    const { reads } = await client.call("signReads", {
      params: { room, artifact: record.artifact },
      body: { keys: ["dir/b.txt", MANIFEST_KEY] },
    });
    expect(new TextDecoder().decode(storage.read(reads[0]?.url ?? ""))).toBe("beta");
    expect(storage.read(reads[1]?.url ?? "")).toBeDefined();
    const { artifacts } = await client.call("listArtifacts", { params: { room } });
    expect(artifacts).toEqual([record]);
  });

  it("is resolved with its manifest and signed reads, when they are asked for", async () => {
    const { pushTree, client, room, storage } = await setup();
    const { record } = await pushTree(small, { name: "letters" });
    const resolve = (query: { reading?: "1" }) =>
      client.call("resolveArtifact", { params: { room, ref: "letters" }, query });
    expect((await resolve({})).reading).toBeUndefined();
    for (const _ of [1, 2]) {
      const { reading } = await resolve({ reading: "1" });
      expect(artifactId(decodeManifest(reading?.manifest ?? "", record.artifact))).toBe(
        record.artifact,
      );
      expect(reading?.reads.map(({ key }) => key).sort()).toEqual(
        [MANIFEST_KEY, ...small.keys()].sort(),
      );
      const beta = reading?.reads.find(({ key }) => key === "dir/b.txt");
      expect(new TextDecoder().decode(storage.read(beta?.url ?? ""))).toBe("beta");
    }
  });

  it("with many objects, or a manifest the store has lost, is resolved with what there is", async () => {
    const { pushTree, client, room, storage } = await setup();
    const resolve = (ref: string) =>
      client.call("resolveArtifact", { params: { room, ref }, query: { reading: "1" } });
    const many = tinyTree(
      Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`${at}.txt`, `${at}`])),
    );
    await pushTree(many, { name: "many" });
    const { reading } = await resolve("many");
    expect(reading?.reads.map(({ key }) => key)).toEqual([MANIFEST_KEY]);
    expect(reading?.manifest).toBeDefined();
    const { record } = await pushTree(small, { name: "lost" });
    const prefix = record.s3Path.slice(record.s3Path.indexOf("/") + 1);
    await storage.uploads.bucket.delete([prefix + MANIFEST_KEY]);
    const lost = (await resolve("lost")).reading;
    expect(lost?.manifest).toBeUndefined();
    expect(lost?.reads.map(({ key }) => key)).toEqual([MANIFEST_KEY]);
  });

  it("joins large objects from parts and keeps the rest as they are", async () => {
    const { pushTree, storage } = await setup();
    const { record, sent } = await pushTree(large);
    expect(sent).toEqual([
      "big.bin#1",
      "big.bin#6",
      "big.bin#11",
      "small.txt#0",
      `${MANIFEST_KEY}#0`,
    ]);
    const key = `${record.s3Path.slice(record.s3Path.indexOf("/") + 1)}big.bin`;
    expect(sameBytes(storage.uploads.bucket.peek(key), large.get("big.bin"))).toBe(true);
  });

  it("sends nothing again that the store has confirmed (I2)", async () => {
    const { pushTree } = await setup();
    const cut = (key: string, part: number) => {
      if (key === "big.bin" && part === 11) throw new Error("client killed");
    };
    await expect(pushTree(large, { beforePut: cut })).rejects.toThrow("client killed");
    const { sent } = await pushTree(large);
    expect(sent).toEqual(["big.bin#11", "small.txt#0", `${MANIFEST_KEY}#0`]);
    expect((await pushTree(large)).sent).toEqual([]);
  });

  it("goes on at another hub and for another member", async () => {
    const { pushTree, hub, client, room, storage } = await setup();
    const cut = (key: string, part: number) => {
      if (part === 6) throw new Error("laptop closed");
    };
    await expect(pushTree(large, { beforePut: cut })).rejects.toThrow("laptop closed");
    const second = new TestHub({ storage, clock: () => Date.UTC(2026, 0, 1) });
    const member = await hub.join(client, room, "member");
    const there = await second.member(member.token, member.identity);
    const { sent } = await push(there.client, storage, room, large);
    expect(sent).not.toContain("big.bin#1");
  });

  it("of 1,000 plain objects is one session", async () => {
    const { pushTree, client, room } = await setup();
    const files = Array.from({ length: 1000 }, (_, i) => [`f/${String(i).padStart(4, "0")}`, "x"]);
    const tree = tinyTree(Object.fromEntries(files));
    const { record } = await pushTree(tree);
    expect(record.files).toBe(1000);
    const { uploads } = await client.call("listUploads", { params: { room } });
    expect(uploads).toEqual([]);
  });

  it("is completed again with the same answer, and not with another artifact", async () => {
    const { pushTree, client, room } = await setup();
    const { record } = await pushTree(small);
    const begun = await client.call("beginUpload", { params: { room }, body: planOf(small) });
    expect(begun).toMatchObject({
      resumed: true,
      status: { state: "completed", artifact: record.artifact },
    });
    const params = { room, upload: begun.status.upload };
    const again = { artifact: record.artifact, objects: [] };
    expect(await client.call("completeUpload", { params, body: again })).toEqual(record);
    const other = { artifact: artifactId(manifestOf(large)), objects: [] };
    await expect(client.call("completeUpload", { params, body: other })).rejects.toMatchObject({
      code: "upload_completed",
    });
  });

  it("is refused while objects are missing, and says which", async () => {
    const { client, room } = await setup();
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(large) });
    const params = { room, upload: status.upload };
    const artifact = artifactId(manifestOf(large));
    const complete = () =>
      client.call("completeUpload", { params, body: { artifact, objects: [] } });
    await expect(complete()).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("small.txt"),
    });
  });

  it("is refused when a part is another than the client has now", async () => {
    const { pushTree, client, room, storage } = await setup();
    const stop = (key: string) => {
      if (key === MANIFEST_KEY) throw new Error("stop");
    };
    await expect(pushTree(large, { beforePut: stop })).rejects.toThrow("stop");
    const changed: Tree = new Map([...large, ["big.bin", patterned(2 * PART_BYTES + 1000, 2)]]);
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(large) });
    const big = changed.get("big.bin") ?? new Uint8Array();
    const parts = piecesOf("big.bin", big, status, PART_BYTES).map(({ part, crc32 }) => ({
      part,
      crc32,
    }));
    const params = { room, upload: status.upload };
    await putAtOnce(client, storage, params, MANIFEST_KEY, manifestBytes(changed));
    const attempt = client.call("completeUpload", {
      params,
      body: { artifact: artifactId(manifestOf(changed)), objects: [{ key: "big.bin", parts }] },
    });
    await expect(attempt).rejects.toMatchObject({ code: "digest_mismatch" });
    expect((await push(client, storage, room, changed)).record.artifact).toBe(
      artifactId(manifestOf(changed)),
    );
  });

  it("is refused when the manifest is not the artifact's, and takes the right one afterwards", async () => {
    const { client, room, storage, pushTree } = await setup();
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(small) });
    const params = { room, upload: status.upload };
    const body = new TextEncoder().encode('{"format":1}');
    await putAtOnce(client, storage, params, MANIFEST_KEY, body);
    for (const [key, bytes] of small) await putAtOnce(client, storage, params, key, bytes);
    const artifact = artifactId(manifestOf(small));
    await expect(
      client.call("completeUpload", { params, body: { artifact, objects: [] } }),
    ).rejects.toMatchObject({ code: "invalid_request" });
    expect((await pushTree(small)).sent).toEqual([`${MANIFEST_KEY}#0`]);
  });

  it("refuses parts that are not of the plan", async () => {
    const { client, room } = await setup();
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(large) });
    const params = { room, upload: status.upload };
    const part = { key: "big.bin", part: 1, size: PART_BYTES, crc32: "AAAAAA==" };
    for (const wrong of [
      { ...part, key: "other.bin" },
      { ...part, part: 0 },
      { ...part, part: 12 },
      { ...part, size: PART_BYTES - 1 },
      { ...part, size: PART_BYTES - UNIT_BYTES },
      { ...part, part: 7 },
      { ...part, key: "small.txt" },
    ]) {
      await expect(
        client.call("signParts", { params, body: { parts: [wrong] } }),
      ).rejects.toMatchObject({ code: "invalid_request" });
    }
  });

  it("refuses plans with paths that lead out, twice the same object, or wrong sums", async () => {
    const { client, room } = await setup();
    const plan = planOf(small);
    const begin = (changes: Partial<typeof plan>) =>
      client.call("beginUpload", { params: { room }, body: { ...plan, ...changes } });
    await expect(begin({ objects: [{ key: "../b", size: 9 }] })).rejects.toMatchObject({
      code: "unsafe_path",
    });
    await expect(begin({ bytes: 1 })).rejects.toMatchObject({ code: "invalid_request" });
    await expect(begin({ layout: "packed" })).rejects.toMatchObject({ code: "invalid_request" });
    const twice = { key: "a", size: 1 };
    await expect(begin({ objects: [twice, twice], bytes: 2 })).rejects.toMatchObject({
      code: "invalid_request",
    });
  });

  it("leaves nothing when it is given up, and may be begun anew", async () => {
    const { pushTree, client, room, storage } = await setup();
    const stop = (key: string) => {
      if (key === MANIFEST_KEY) throw new Error("stop");
    };
    await expect(pushTree(large, { beforePut: stop })).rejects.toThrow("stop");
    const { uploads } = await client.call("listUploads", { params: { room } });
    const upload = uploads[0]?.upload ?? "";
    await client.call("abortUpload", { params: { room, upload } });
    await client.call("abortUpload", { params: { room, upload } });
    expect(storage.uploads.bucket.keys).toEqual([]);
    expect(storage.uploads.multipart.open).toEqual([]);
    await expect(client.call("showUpload", { params: { room, upload } })).rejects.toMatchObject({
      code: "not_found",
    });
    expect((await pushTree(large)).sent).toHaveLength(5);
    await expect(client.call("abortUpload", { params: { room, upload } })).rejects.toMatchObject({
      code: "conflict",
    });
  });
});

describe("time", () => {
  it("ends datasets with their names, records and bytes; what is kept stays", async () => {
    const { pushTree, client, room, hub, storage, time } = await setup();
    const passing = await pushTree(small, { name: "passing" });
    const kept = await pushTree(large, { name: "kept", purpose: { kind: "dataset", keep: true } });
    expect(kept.record.expiresAt).toBeUndefined();
    time.nowMs += 24 * HOUR_MS - 1000;
    await hub.areas.sweep();
    const resolve = (ref: string) => client.call("resolveArtifact", { params: { room, ref } });
    expect((await resolve("passing")).artifact).toBe(passing.record.artifact);
    time.nowMs += 1000;
    await expect(resolve("passing")).rejects.toMatchObject({ code: "expired" });
    await hub.areas.sweep();
    await expect(resolve("passing")).rejects.toMatchObject({ code: "not_found" });
    expect(storage.uploads.bucket.keys).toEqual([]);
    expect((await resolve("kept")).artifact).toBe(kept.record.artifact);
    // Its session is forgotten; a push finds it by its manifest and sends nothing.
    const again = await pushTree(large, { name: "kept", purpose: { kind: "dataset", keep: true } });
    expect(again).toEqual({ record: kept.record, sent: [] });
  });

  it("gives a name back to what is kept under it", async () => {
    const { pushTree, client, room, hub, time } = await setup();
    const keep = { name: "data", purpose: { kind: "dataset", keep: true } } as const;
    const kept = await pushTree(small, keep);
    time.nowMs += 1000;
    const passing = await pushTree(large, { name: "data" });
    const resolve = () => client.call("resolveArtifact", { params: { room, ref: "data" } });
    expect((await resolve()).artifact).toBe(passing.record.artifact);
    time.nowMs += 24 * HOUR_MS;
    await hub.areas.sweep();
    expect((await resolve()).artifact).toBe(kept.record.artifact);
  });

  it("of a dataset begins again when it is pushed again", async () => {
    const { pushTree, client, room, hub, time } = await setup();
    await pushTree(small, { name: "daily" });
    time.nowMs += 20 * HOUR_MS;
    expect((await pushTree(small, { name: "daily" })).sent).toEqual([]);
    time.nowMs += 20 * HOUR_MS;
    await hub.areas.sweep();
    const found = await client.call("resolveArtifact", { params: { room, ref: "daily" } });
    expect(Date.parse(found.expiresAt ?? "")).toBe(time.nowMs + 4 * HOUR_MS);
  });

  it("ends an open upload only when nobody works on it any more", async () => {
    const { client, room, hub, storage, time, pushTree } = await setup();
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(large) });
    const params = { room, upload: status.upload };
    const part = { key: "big.bin", part: 1, size: PART_BYTES, crc32: "AAAAAA==" };
    for (let i = 0; i < 3; i++) {
      time.nowMs += 20 * HOUR_MS;
      await client.call("signParts", { params, body: { parts: [part] } });
      await hub.areas.sweep();
    }
    expect(await client.call("showUpload", { params })).toMatchObject({ state: "open" });
    time.nowMs += 24 * HOUR_MS;
    await hub.areas.sweep();
    await expect(client.call("showUpload", { params })).rejects.toMatchObject({
      code: "not_found",
    });
    expect(storage.uploads.bucket.keys).toEqual([]);
    expect(storage.uploads.multipart.open).toEqual([]);
    expect((await pushTree(large)).sent).toHaveLength(5);
  });

  it("opens an expired dataset's session again without sending what is still stored", async () => {
    const { pushTree, time } = await setup();
    await pushTree(small);
    time.nowMs += 25 * HOUR_MS;
    const again = await pushTree(small);
    expect(again.sent).toEqual([]);
    expect(Date.parse(again.record.expiresAt ?? "")).toBe(time.nowMs + 24 * HOUR_MS);
  });
});
