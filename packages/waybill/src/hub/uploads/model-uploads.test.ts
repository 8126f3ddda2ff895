// A model's folder is filled once, by the newest attempt, and what is put at once waits outside of it.
import { artifactId } from "@waybill/sdk/artifact";
import { MANIFEST_KEY } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import {
  PART_BYTES,
  type PushOptions,
  type Tree,
  crcOf,
  manifestOf,
  patterned,
  planOf,
  push,
  reserve,
  tinyTree,
} from "./push.fixture.ts";

const HOUR_MS = 3_600_000;
const small = tinyTree({ "a.txt": "alpha", "dir/b.txt": "beta" });
const large: Tree = new Map([
  ["big.bin", patterned(2 * PART_BYTES + 1000)],
  ["small.txt", new TextEncoder().encode("small")],
]);

/** Not by `toEqual`: a difference of megabytes cannot be printed. */
function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
}

describe("a model's upload", () => {
  const purpose = (attempt?: number) =>
    ({
      kind: "model",
      model: "00c0ffee",
      modelType: "net",
      ...(attempt === undefined ? {} : { attempt }),
    }) as const;

  async function setupModel() {
    const time = { nowMs: Date.UTC(2026, 0, 1) };
    const hub = new TestHub({ clock: () => time.nowMs });
    const { storage } = hub;
    const { client, room } = await hub.createRoom("lab");
    await reserve(client, room);
    const pushTree = (tree: Tree, options?: PushOptions) =>
      push(client, storage, room, tree, options);
    return { time, hub, storage, client, room, pushTree };
  }

  it("lies as plain files in its folder", async () => {
    const { pushTree, storage } = await setupModel();
    const { record } = await pushTree(large, { purpose: purpose() });
    expect(record).toMatchObject({ kind: "model", s3Path: "rooms/lab/models/net_00c0ffee/" });
    expect(record.expiresAt).toBeUndefined();
    const folder = storage.rooms.bucket.keys.filter((key) => key.startsWith("lab/models/"));
    expect(folder.map((key) => key.slice("lab/models/net_00c0ffee/".length))).toEqual([
      MANIFEST_KEY,
      "big.bin",
      "small.txt",
    ]);
    const big = storage.rooms.bucket.peek("lab/models/net_00c0ffee/big.bin");
    expect(sameBytes(big, large.get("big.bin"))).toBe(true);
  });

  it("cannot be changed by an attempt that is over, not even with URLs it still holds (I11)", async () => {
    const { pushTree, client, room, storage } = await setupModel();
    const old = tinyTree({ "model.bin": "old" });
    const fresh = tinyTree({ "model.bin": "new" });
    const begun = await client.call("beginUpload", {
      params: { room },
      body: planOf(old, { purpose: purpose(1) }),
    });
    const params = { room, upload: begun.status.upload };
    const body = old.get("model.bin") ?? new Uint8Array();
    const part = { key: "model.bin", part: 0, size: body.length, crc32: crcOf(body) };
    const signed = await client.call("signParts", { params, body: { parts: [part] } });

    const { record } = await pushTree(fresh, { purpose: purpose(2) });

    for (const { url, headers } of signed.parts) storage.put(url, headers, body);
    const artifact = artifactId(manifestOf(old));
    await expect(
      client.call("completeUpload", { params, body: { artifact, objects: [] } }),
    ).rejects.toMatchObject({ code: "conflict" });
    await expect(
      client.call("beginUpload", {
        params: { room },
        body: planOf(old, { purpose: purpose(1), salt: "again" }),
      }),
    ).rejects.toMatchObject({ code: "conflict" });
    const stored = storage.rooms.bucket.peek("lab/models/net_00c0ffee/model.bin");
    expect(new TextDecoder().decode(stored)).toBe("new");
    const found = await client.call("resolveArtifact", { params: { room, ref: record.artifact } });
    expect(found).toEqual(record);
  });

  it("passes from an older attempt to a newer one, and not back", async () => {
    const { client, room } = await setupModel();
    const begin = (attempt: number, salt: string) =>
      client.call("beginUpload", {
        params: { room },
        body: planOf(small, { purpose: purpose(attempt), salt }),
      });
    await begin(1, "one");
    await begin(2, "two");
    await expect(begin(1, "three")).rejects.toMatchObject({ code: "stale_attempt" });
  });

  it("outlives its session", async () => {
    const { pushTree, client, room, hub, storage, time } = await setupModel();
    const { record } = await pushTree(small, { purpose: purpose() });
    await expect(
      client.call("resolveArtifact", { params: { room, ref: record.name } }),
    ).rejects.toMatchObject({ code: "not_found" });
    time.nowMs += 25 * HOUR_MS;
    await hub.areas.sweep();
    expect(storage.uploads.bucket.keys).toEqual([]);
    const found = await client.call("resolveArtifact", { params: { room, ref: record.artifact } });
    expect(found).toEqual(record);
    expect(storage.rooms.bucket.peek("lab/models/net_00c0ffee/a.txt")).toBeDefined();
  });
});
