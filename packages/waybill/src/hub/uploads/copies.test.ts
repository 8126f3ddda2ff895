// What a room holds does not travel again: the store copies it, and the hub compares checksums.
import { artifactId } from "@waybill/sdk/artifact";
import { MANIFEST_KEY, type PartToCopy, WaybillError } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import {
  type PushOptions,
  type Tree,
  UNIT_BYTES,
  crcOf,
  manifestBytes,
  manifestOf,
  patterned,
  planOf,
  push,
  putAtOnce,
} from "./push.fixture.ts";

const MIB = UNIT_BYTES;
const text = (value: string) => new TextEncoder().encode(value);
const old = patterned(20 * MIB, 7);
/** The same with a MiB in front, a change in the middle and another end. */
const next = Buffer.concat([patterned(MIB, 8), old.subarray(0, 12 * MIB), patterned(8 * MIB, 9)]);
const base: Tree = new Map([
  ["big.bin", old],
  ["same.txt", text("same")],
]);
const tree: Tree = new Map([
  ["big.bin", next],
  ["renamed.txt", text("same")],
]);

async function setup(options: PushOptions = {}) {
  const hub = new TestHub();
  const { storage } = hub;
  const { client, room } = await hub.createRoom("lab");
  const { record } = await push(client, storage, room, base, options);
  const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
  const params = { room, upload: status.upload };
  const copyOf = (part: number, size: number, start: number): PartToCopy => ({
    key: "big.bin",
    part,
    size,
    crc32: crcOf(next.subarray((part - 1) * MIB, (part - 1) * MIB + size)),
    from: { artifact: record.artifact, key: "big.bin", start },
  });
  const copy = async (...copies: PartToCopy[]) =>
    (await client.call("copyParts", { params, body: { copies } })).copied;
  return { hub, storage, client, room, record, params, copyOf, copy };
}

const small = (
  record: { artifact: PartToCopy["from"]["artifact"] },
  key = "same.txt",
): PartToCopy => ({
  key: "renamed.txt",
  part: 0,
  size: 4,
  crc32: crcOf(text("same")),
  from: { artifact: record.artifact, key, start: 0 },
});

describe("copied parts", () => {
  it.each([
    ["a dataset that expires", {}],
    ["a kept dataset", { purpose: { kind: "dataset", keep: true } }],
  ] as const)("of %s become part of the new artifact", async (_, options) => {
    const { client, storage, params, record, copy, copyOf } = await setup(options);
    // Shifted by a MiB: 6…17 MiB of the new object are 5…16 MiB of the old one.
    expect(await copy(copyOf(7, 6 * MIB, 5 * MIB), small(record))).toEqual([
      { key: "big.bin", part: 7, copied: true },
      { key: "renamed.txt", part: 0, copied: true },
    ]);
    const put = async (part: number, size: number) => {
      const body = next.subarray((part - 1) * MIB, (part - 1) * MIB + size);
      const toSign = { key: "big.bin", part, size: body.length, crc32: crcOf(body) };
      const { parts } = await client.call("signParts", { params, body: { parts: [toSign] } });
      for (const { url, headers } of parts) storage.put(url, headers, body);
      return { part, crc32: toSign.crc32 };
    };
    const parts = [
      await put(1, 6 * MIB),
      { part: 7, crc32: copyOf(7, 6 * MIB, 0).crc32 },
      await put(13, 9 * MIB),
    ];
    await putAtOnce(client, storage, params, MANIFEST_KEY, manifestBytes(tree));
    const objects = [
      { key: "big.bin", parts },
      { key: "renamed.txt", parts: [{ part: 0, crc32: crcOf(text("same")) }] },
    ];
    const artifact = artifactId(manifestOf(tree));
    const done = await client.call("completeUpload", { params, body: { artifact, objects } });
    const prefix = done.s3Path.slice(done.s3Path.indexOf("/") + 1);
    const stored = storage.uploads.bucket.peek(`${prefix}big.bin`) ?? new Uint8Array();
    expect(Buffer.compare(stored, next)).toBe(0);
    expect(storage.uploads.bucket.peek(`${prefix}renamed.txt`)).toEqual(text("same"));
  });

  it("are in the store's own account, so that another run goes on from them (I2)", async () => {
    const { client, params, copy, copyOf } = await setup();
    await copy(copyOf(7, 6 * MIB, 5 * MIB));
    const { objects } = await client.call("showUpload", { params });
    const { crc32 } = copyOf(7, 6 * MIB, 0);
    expect(objects[0]?.parts).toEqual([{ part: 7, size: 6 * MIB, crc32 }]);
  });

  it("with another checksum are not counted as copied, and nothing of them stays in its place", async () => {
    const { client, params, record, copy, copyOf } = await setup();
    const [part, whole] = await copy(copyOf(7, 6 * MIB, 4 * MIB), {
      ...small(record),
      crc32: "AAAAAA==",
    });
    expect(part).toMatchObject({ copied: false, reason: expect.stringContaining("checksum") });
    expect(whole).toMatchObject({ copied: false, reason: expect.stringContaining("checksum") });
    const { objects } = await client.call("showUpload", { params });
    expect(objects.find(({ key }) => key === "renamed.txt")).toMatchObject({ done: false });
  });

  it("of what the room does not hold are refused one by one", async () => {
    const { record, copy, copyOf } = await setup();
    const gone = { ...copyOf(7, 6 * MIB, 5 * MIB) };
    const nowhere = { ...gone, from: { ...gone.from, artifact: "0".repeat(64) as never } };
    const answers = await copy(nowhere, small(record, "none.txt"), {
      ...small(record),
      from: { artifact: record.artifact, key: "big.bin", start: 5 },
    });
    expect(answers.map(({ copied }) => copied)).toEqual([false, false, false]);
    expect(answers.map(({ reason }) => reason)).toEqual([
      expect.stringContaining("holds no artifact"),
      expect.stringContaining("no object none.txt"),
      expect.stringContaining("whole object"),
    ]);
  });

  it("leave a body that is there as it is: the same counts as copied, another one is replaced by a PUT", async () => {
    const { client, storage, params, record, copy } = await setup();
    await putAtOnce(client, storage, params, "renamed.txt", text("same"));
    const { crc32: sum } = small(record);
    expect(await copy(small(record, "none.txt"))).toMatchObject([{ copied: true }]);
    expect(await copy({ ...small(record), crc32: "AAAAAA==" })).toMatchObject([
      { copied: false, reason: expect.stringContaining("replaced") },
    ]);
    const { objects } = await client.call("showUpload", { params });
    expect(objects.find(({ key }) => key === "renamed.txt")?.crc32).toBe(sum);
  });

  it("neither write over nor delete what comes there while they are made", async () => {
    const { storage, params, record, copy } = await setup();
    const place = `${params.room}/${params.upload}/renamed.txt`;
    storage.interceptBy((operation, key) => {
      if (operation === "get" && key.endsWith("/same.txt")) {
        storage.uploads.bucket.store(place, text("mine"));
      }
    });
    expect(await copy(small(record))).toMatchObject([{ copied: false }]);
    expect(storage.uploads.bucket.peek(place)).toEqual(text("mine"));
  });

  it("keep to the rule of parts, and to safe keys", async () => {
    const { record, copy, copyOf } = await setup();
    await expect(copy(copyOf(7, 4 * MIB, 5 * MIB))).rejects.toMatchObject({
      code: "invalid_request",
    });
    await expect(copy(small(record, "../secret"))).rejects.toMatchObject({ code: "unsafe_path" });
  });

  it("that a store cannot make are the client's to send", async () => {
    const { storage, copy, copyOf } = await setup();
    storage.interceptBy((operation) => {
      if (operation === "copyPart") {
        throw new WaybillError("storage_failed", "copying failed (NotImplemented, HTTP 501)");
      }
    });
    expect(await copy(copyOf(7, 6 * MIB, 5 * MIB))).toMatchObject([
      { copied: false, reason: expect.stringContaining("NotImplemented") },
    ]);
  });

  it("of another room's artifact are out of reach", async () => {
    const { hub, record } = await setup();
    const stranger = await hub.createRoom("elsewhere");
    const { status } = await stranger.client.call("beginUpload", {
      params: { room: stranger.room },
      body: planOf(tree),
    });
    const { copied } = await stranger.client.call("copyParts", {
      params: { room: stranger.room, upload: status.upload },
      body: { copies: [small(record)] },
    });
    expect(copied).toMatchObject([{ copied: false }]);
  });
});

describe("a list of uploads", () => {
  it("says of each what it is, who began it and how much is stored", async () => {
    const { client, room, copy, copyOf } = await setup();
    await copy(copyOf(7, 6 * MIB, 5 * MIB));
    const { uploads } = await client.call("listUploads", { params: { room } });
    expect(uploads).toMatchObject([
      {
        name: "tree",
        kind: "dataset",
        createdBy: "owner",
        storedBytes: 6 * MIB,
        bytes: 21 * MIB + 4,
      },
    ]);
  });
});

describe("giving an upload up", () => {
  it("makes room on a full disk: parts go before the session can be marked", async () => {
    const { client, storage, params, copy, copyOf } = await setup();
    await copy(copyOf(7, 6 * MIB, 5 * MIB));
    storage.interceptBy((operation) => {
      const isFull = storage.uploads.multipart.open.length > 0;
      if (operation !== "put" || !isFull) return;
      throw new WaybillError("storage_full", "the object store's disk is full");
    });
    await client.call("abortUpload", { params });
    expect(storage.uploads.multipart.open).toEqual([]);
    await expect(client.call("showUpload", { params })).rejects.toMatchObject({
      code: "not_found",
    });
  });
});
