// docs/protocol/arriving.md §1–§3: what is announced can be resolved and read before it is whole.
import { artifactId } from "@waybill/sdk/artifact";
import {
  type DirectAddress,
  MANIFEST_KEY,
  type PartToSign,
  PeerId,
  decodeValue,
} from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub, type TestHubInit } from "../hub.fixture.ts";
import {
  PART_BYTES,
  type Tree,
  UNIT_BYTES,
  crcOf,
  manifestBytes,
  manifestOf,
  patterned,
  piecesOf,
  planOf,
  push,
  putAtOnce,
} from "../uploads/push.fixture.ts";

const big = patterned(12 * UNIT_BYTES, 3);
const tree: Tree = new Map([
  ["big.bin", big],
  ["note.txt", new TextEncoder().encode("note")],
]);
const artifact = artifactId(manifestOf(tree));
const pieces = piecesOf("big.bin", big, { unitBytes: UNIT_BYTES }, PART_BYTES);
const direct: DirectAddress[] = [{ url: "http://192.0.2.7:4711", token: "ab".repeat(32) }];

async function setup(init: TestHubInit = {}) {
  const hub = new TestHub(init);
  const { storage } = hub;
  const { client, room } = await hub.createRoom("lab");
  const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
  const params = { room, upload: status.upload };
  const inArtifact = { room, artifact };
  const putSegment = async (piece: PartToSign & { readonly body: Uint8Array }) => {
    const { key, part, size, crc32 } = piece;
    const body = { parts: [{ key, part, size, crc32 }] };
    const signed = await client.call("signSegments", { params, body });
    for (const { url, headers } of signed.parts) storage.put(url, headers, piece.body);
  };
  const announce = async (bytes = manifestBytes(tree)) => {
    const crc32 = crcOf(bytes);
    await putSegment({ key: MANIFEST_KEY, part: 0, size: bytes.length, crc32, body: bytes });
    const body = { artifact, manifestBytes: bytes.length, direct };
    return client.call("announceUpload", { params, body });
  };
  const show = (revision?: string) =>
    client.call("showArriving", {
      params: inArtifact,
      query: revision === undefined ? {} : { revision },
    });
  const take = (...taken: PartToSign[]) => {
    const segments = taken.map(({ key, part, size, crc32 }) => ({ key, part, size, crc32 }));
    return client.call("takeSegments", { params, body: { segments } });
  };
  const complete = async () => {
    const objects = [
      { key: "big.bin", parts: pieces.map(({ part, crc32 }) => ({ part, crc32 })) },
      { key: "note.txt", parts: [] },
      { key: MANIFEST_KEY, parts: [] },
    ];
    await putAtOnce(client, storage, params, "note.txt", tree.get("note.txt") ?? new Uint8Array());
    await putAtOnce(client, storage, params, MANIFEST_KEY, manifestBytes(tree));
    return client.call("completeUpload", { params, body: { artifact, objects } });
  };
  return {
    hub,
    storage,
    client,
    room,
    params,
    inArtifact,
    putSegment,
    announce,
    show,
    take,
    complete,
  };
}

/** A clock that accounts do not outlive. */
function ticking(): () => number {
  let nowMs = Date.parse("2026-03-01T00:00:00Z");
  return () => (nowMs += 1000);
}

describe("an announced upload", () => {
  it("is resolved by id, prefix and name as arriving, and is no artifact of the room yet", async () => {
    const { client, room, announce } = await setup();
    const resolve = (ref: string) => client.call("resolveArtifact", { params: { room, ref } });
    await expect(resolve(artifact)).rejects.toMatchObject({ code: "not_found" });
    expect(await announce()).toMatchObject({ artifact, arriving: true, bytes: big.length + 4 });
    for (const ref of [artifact, artifact.slice(0, 10), "tree"]) {
      expect(await resolve(ref)).toMatchObject({ artifact, arriving: true });
    }
    expect((await client.call("listArtifacts", { params: { room } })).artifacts).toEqual([]);
  });

  it("is refused with a manifest of other objects, of another id, or without one", async () => {
    const { client, params, announce, putSegment } = await setup();
    const body = { artifact, manifestBytes: 10, direct };
    await expect(client.call("announceUpload", { params, body })).rejects.toMatchObject({
      code: "conflict",
    });
    const other: Tree = new Map([["other.bin", big]]);
    await expect(announce(manifestBytes(other))).rejects.toMatchObject({ code: "digest_mismatch" });
    const bytes = manifestBytes(other);
    const sized = { key: MANIFEST_KEY, part: 0, size: bytes.length, crc32: crcOf(bytes) };
    await putSegment({ ...sized, body: bytes });
    const asOther = {
      artifact: artifactId(manifestOf(other)),
      manifestBytes: bytes.length,
      direct,
    };
    await expect(client.call("announceUpload", { params, body: asOther })).rejects.toMatchObject({
      code: "digest_mismatch",
    });
  });

  it("tells readers that it is held, by whom, and when it is not any more", async () => {
    const { client, params, announce, show } = await setup({ clock: ticking() });
    await announce();
    const peer = decodeValue(PeerId, `p_${"a".repeat(16)}_1`, "peer");
    const addresses: DirectAddress[] = [...direct, { peer, offer: "cd".repeat(32) }];
    const body = { artifact, manifestBytes: manifestBytes(tree).length, direct: addresses };
    const announceAs = (said: { held?: true; by?: string }) =>
      client.call("announceUpload", { params, body: { ...body, ...said } });
    await announceAs({ held: true, by: "alice@laptop" });
    const held = await show();
    expect(held).toMatchObject({ held: true, by: "alice@laptop", direct: addresses });
    await announceAs({ by: "alice@laptop" });
    const free = await show(held.revision);
    expect(free).toMatchObject({ by: "alice@laptop", direct: addresses });
    expect(free.held).toBeUndefined();
  });

  it("tells readers what has landed, once", async () => {
    const { client, storage, params, inArtifact, announce, putSegment, show } = await setup({
      clock: ticking(),
    });
    await announce();
    const before = await show();
    expect(before).toMatchObject({ done: false, unitBytes: UNIT_BYTES, objects: [], direct });
    for (const piece of pieces.slice(0, 1)) await putSegment(piece);
    await putAtOnce(client, storage, params, "note.txt", tree.get("note.txt") ?? new Uint8Array());
    const after = await show(before.revision);
    expect(after.objects).toEqual([
      { key: "note.txt", segments: [{ part: 0, size: 4 }] },
      { key: "big.bin", segments: [{ part: 1, size: PART_BYTES }] },
    ]);
    const again = await show(after.revision);
    expect(again).toMatchObject({ done: false, revision: after.revision });
    expect(again.objects).toBeUndefined();
    const names = [
      { key: "big.bin", part: 1 },
      { key: "note.txt", part: 0 },
      { key: MANIFEST_KEY, part: 0 },
    ];
    const { reads } = await client.call("signArriving", {
      params: inArtifact,
      body: { segments: names },
    });
    const bodies = reads.map(({ url }) => storage.read(url));
    expect(bodies.map((body) => body?.length)).toEqual([PART_BYTES, 4, manifestBytes(tree).length]);
    const stray = { segments: [{ key: "../other", part: 1 }] };
    await expect(
      client.call("signArriving", { params: inArtifact, body: stray }),
    ).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("has segments say what they stand for where their object is encoded, and only there", async () => {
    const { client, room, params } = await setup();
    const sign = (key: string, upload: string, plainBytes: number | undefined) =>
      client.call("signSegments", {
        params: { room, upload },
        body: { parts: [{ key, part: 1, size: PART_BYTES, crc32: "AAAAAA==", plainBytes }] },
      });
    const plan = planOf(tree, { salt: "encoded" });
    const objects = plan.objects.map((one) =>
      one.key === "big.bin" ? { ...one, key: "big.bin.zst", encoding: "zstd" as const } : one,
    );
    const body = { ...plan, objects };
    const { status } = await client.call("beginUpload", { params: { room }, body });
    const refused = { code: "invalid_request" };
    await expect(sign("big.bin.zst", status.upload, undefined)).rejects.toMatchObject(refused);
    await expect(sign("big.bin", params.upload, 9)).rejects.toMatchObject(refused);
    const { parts } = await sign("big.bin.zst", status.upload, 7 * UNIT_BYTES);
    expect(parts[0]?.url).toContain(`/1.${7 * UNIT_BYTES}/big.bin.zst`);
  });

  it("completes from its segments and is done for readers", async () => {
    const { client, room, announce, putSegment, take, complete, show, storage } = await setup();
    await announce();
    for (const piece of pieces) await putSegment(piece);
    const { copied } = await take(...pieces);
    expect(copied.every((one) => one.copied)).toBe(true);
    const record = await complete();
    expect(record.artifact).toBe(artifact);
    expect(await show()).toMatchObject({ done: true });
    const resolved = await client.call("resolveArtifact", { params: { room, ref: artifact } });
    expect(resolved.arriving).toBeUndefined();
    const [bucket, ...path] = record.s3Path.split("/");
    const stored = bucket === "uploads" ? storage.uploads : storage.rooms;
    const joined = stored.bucket.peek(`${path.join("/")}big.bin`);
    expect(Buffer.compare(joined ?? Buffer.alloc(0), big)).toBe(0);
  });

  it("says which segments cannot be taken", async () => {
    const { announce, putSegment, take } = await setup();
    await announce();
    const [first, second] = pieces;
    if (first === undefined || second === undefined) throw new Error("two pieces");
    await putSegment(first);
    const { copied } = await take({ ...first, crc32: second.crc32 }, second);
    expect(copied).toMatchObject(
      [
        { part: 1, copied: false, reason: /checksum/ },
        { part: 6, copied: false, reason: /no segment/ },
      ].map(({ reason, ...rest }) => ({
        ...rest,
        reason: expect.stringMatching(reason) as string,
      })),
    );
  });

  it("has segments taken that its client left behind when it is begun again (I2)", async () => {
    const { client, room, announce, putSegment } = await setup();
    await announce();
    for (const piece of pieces.slice(0, 2)) await putSegment(piece);
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
    const object = status.objects.find(({ key }) => key === "big.bin");
    expect(object?.parts).toEqual(
      pieces.slice(0, 2).map(({ part, size, crc32 }) => ({ part, size, crc32 })),
    );
  });

  it("goes with everything of it when it is given up", async () => {
    const { client, storage, params, announce, putSegment, show, hub } = await setup();
    await announce();
    for (const piece of pieces) await putSegment(piece);
    await client.call("abortUpload", { params });
    await expect(show()).rejects.toMatchObject({ code: "not_found" });
    await hub.areas.sweep();
    expect(storage.uploads.bucket.keys).toEqual([]);
  });

  it("keeps its segments for ten minutes after it is complete", async () => {
    let nowMs = Date.parse("2026-03-01T00:00:00Z");
    const { storage, announce, putSegment, take, complete, hub } = await setup({
      clock: () => nowMs,
    });
    await announce();
    for (const piece of pieces) await putSegment(piece);
    await take(...pieces);
    await complete();
    const left = () =>
      storage.uploads.bucket.keys.filter((key) => /\/(arriving|announced)\//.test(key)).length;
    await hub.areas.sweep();
    expect(left()).toBe(pieces.length + 2);
    nowMs += 601_000;
    await hub.areas.sweep();
    expect(left()).toBe(0);
  });

  it("may be a job's data set; one that is not announced may not", async () => {
    const { client, room, announce } = await setup();
    const submit = async (job: string) =>
      client.call("submitJob", {
        params: { room },
        body: { job, spec: { dataset: artifact, command: ["true"] } },
      });
    await expect(submit("j_0000000000000001")).rejects.toMatchObject({ code: "not_found" });
    await announce();
    expect(await submit("j_0000000000000002")).toMatchObject({ state: "queued" });
  });

  it("is nothing to announce when the room holds the artifact", async () => {
    const { client, storage, room, announce } = await setup();
    await push(client, storage, room, tree, { salt: "another session" });
    expect((await announce()).arriving).toBeUndefined();
  });

  it("is announced by members of the room only, and read by all of them", async () => {
    const { hub, client, room, announce, params, inArtifact } = await setup();
    await announce();
    const { client: viewer } = await hub.join(client, room, "viewer");
    const shown = await viewer.call("showArriving", { params: inArtifact, query: {} });
    expect(shown.direct).toEqual(direct);
    const body = { artifact, manifestBytes: 1, direct };
    await expect(viewer.call("announceUpload", { params, body })).rejects.toMatchObject({
      code: "forbidden",
    });
  });
});
