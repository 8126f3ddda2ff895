// The same content finds the same session whoever pushes it, however they would cut it and whatever they call it.
import { artifactId } from "@waybill/sdk/artifact";
import { MANIFEST_KEY } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import {
  AT_ONCE_BYTES,
  type PushOptions,
  type Tree,
  crcOf,
  manifestBytes,
  manifestOf,
  patterned,
  planOf,
  push,
  putAtOnce,
  tinyTree,
} from "./push.fixture.ts";

const HOUR_MS = 3_600_000;

async function setup() {
  const time = { nowMs: Date.UTC(2026, 0, 1) };
  const hub = new TestHub({ clock: () => time.nowMs });
  const { storage } = hub;
  const { client, room } = await hub.createRoom("lab");
  const pushTree = (tree: Tree, options?: PushOptions) =>
    push(client, storage, room, tree, options);
  const resolve = (ref: string) => client.call("resolveArtifact", { params: { room, ref } });
  return { time, hub, storage, client, room, pushTree, resolve };
}

const tree = tinyTree({ "a.txt": "alpha", "b.txt": "beta" });
const other = tinyTree({ "a.txt": "gamma" });
const conflict = { code: "conflict" };

describe("a session", () => {
  it("tells its own plan to whoever goes on with it", async () => {
    const { client, room } = await setup();
    const plan = { ...planOf(tree), shardBytes: 2_097_152 };
    await client.call("beginUpload", { params: { room }, body: plan });
    const elsewhere = { ...planOf(tree), layout: "packed" as const, unitBytes: 2_097_152 };
    const packed = { ...elsewhere, objects: [{ key: "pack.bin", size: 9 }] };
    const { resumed, status } = await client.call("beginUpload", {
      params: { room },
      body: packed,
    });
    expect(resumed).toBe(true);
    expect(status).toMatchObject({
      layout: "plain",
      shardBytes: 2_097_152,
      unitBytes: plan.unitBytes,
      partRule: "any",
    });
    expect(status.objects.map(({ key, size }) => ({ key, size }))).toEqual(plan.objects);
  });

  it("is refused to a push of other bytes or for another purpose", async () => {
    const { client, room } = await setup();
    const plan = planOf(tree);
    const begin = (changes: Partial<typeof plan>) =>
      client.call("beginUpload", { params: { room }, body: { ...plan, ...changes } });
    await begin({});
    await expect(begin({ purpose: { kind: "dataset", keep: true } })).rejects.toMatchObject(
      conflict,
    );
    await expect(begin({ bytes: 5, objects: [{ key: "a.txt", size: 5 }] })).rejects.toMatchObject(
      conflict,
    );
  });

  it("takes the newest name", async () => {
    const { client, room, pushTree, resolve } = await setup();
    await client.call("beginUpload", { params: { room }, body: planOf(tree, { name: "first" }) });
    const { record } = await pushTree(tree, { name: "second" });
    expect(record.name).toBe("second");
    await expect(resolve("first")).rejects.toMatchObject({ code: "not_found" });
    expect((await resolve("second")).artifact).toBe(record.artifact);
  });

  it("that is completed gives its artifact another name, and leaves it the old one", async () => {
    const { pushTree, resolve, client, room, time } = await setup();
    const { record } = await pushTree(tree, { name: "first" });
    time.nowMs += 1000;
    const again = await pushTree(tree, { name: "second" });
    expect(again.sent).toEqual([]);
    expect(again.record).toEqual({ ...record, name: "second" });
    expect((await resolve("first")).artifact).toBe(record.artifact);
    expect((await resolve("second")).name).toBe("second");
    const { artifacts } = await client.call("listArtifacts", { params: { room } });
    expect(artifacts.map(({ name }) => name)).toEqual(["second"]);
  });

  it("gives a name to what was pushed last under it, not to what was made last", async () => {
    const { pushTree, resolve, time } = await setup();
    const { record } = await pushTree(tree, { name: "data" });
    time.nowMs += 1000;
    await pushTree(other, { name: "data" });
    time.nowMs += 1000;
    await pushTree(tree, { name: "data" });
    expect((await resolve("data")).artifact).toBe(record.artifact);
  });

  it("that ends takes its old names with it", async () => {
    const { pushTree, resolve, hub, time } = await setup();
    await pushTree(tree, { name: "first" });
    await pushTree(tree, { name: "second" });
    time.nowMs += 25 * HOUR_MS;
    await hub.areas.sweep();
    await expect(resolve("first")).rejects.toMatchObject({ code: "not_found" });
    await expect(resolve("second")).rejects.toMatchObject({ code: "not_found" });
    const { record } = await pushTree(other, { name: "first" });
    expect((await resolve("first")).artifact).toBe(record.artifact);
  });

  it("compares a joined object's own CRC-32 when an expired one is opened again", async () => {
    const { client, room, pushTree, time } = await setup();
    const big: Tree = new Map([["big.bin", patterned(AT_ONCE_BYTES + 9)]]);
    await pushTree(big);
    time.nowMs += 25 * HOUR_MS;
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(big) });
    const crc32 = crcOf(big.get("big.bin") ?? new Uint8Array());
    expect(status.objects[0]).toMatchObject({ key: "big.bin", done: true, crc32, parts: [] });
  });
});

describe("an object that is put at once", () => {
  async function begun() {
    const made = await setup();
    const { client, room, storage } = made;
    const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
    const params = { room, upload: status.upload };
    const body = (text: string) => new TextEncoder().encode(text);
    const sign = async (text: string, replaces?: string) => {
      const bytes = body(text);
      const part = { key: "a.txt", part: 0, size: bytes.length, crc32: crcOf(bytes) };
      const { parts } = await client.call("signParts", {
        params,
        body: { parts: [replaces === undefined ? part : { ...part, replaces }] },
      });
      const { url = "", headers = {} } = parts[0] ?? {};
      return { headers, send: () => storage.put(url, headers, bytes) };
    };
    const show = async () => {
      const { objects } = await client.call("showUpload", { params });
      return objects.find(({ key }) => key === "a.txt");
    };
    return { ...made, params, sign, show };
  }

  it("is created only, so that a late URL changes nothing", async () => {
    const { sign, show } = await begun();
    const late = await sign("OTHER");
    expect(late.headers).toMatchObject({ "if-none-match": "*" });
    (await sign("alpha")).send();
    expect(() => late.send()).toThrow("not in the state");
    expect(await show()).toMatchObject({
      done: true,
      crc32: crcOf(new TextEncoder().encode("alpha")),
    });
  });

  it("replaces the body that was seen there, and no other", async () => {
    const { sign, show } = await begun();
    (await sign("wrong")).send();
    const seen = (await show())?.etag ?? "";
    const late = await sign("later", seen);
    (await sign("alpha", seen)).send();
    expect(() => late.send()).toThrow("not in the state");
    expect(await show()).toMatchObject({ crc32: crcOf(new TextEncoder().encode("alpha")) });
  });

  it("of a completed dataset is not changed by any URL that was signed before", async () => {
    const { sign, pushTree, storage, client, room } = await begun();
    const late = await sign("OTHER");
    const { record } = await pushTree(tree);
    expect(() => late.send()).toThrow("not in the state");
    const { reads } = await client.call("signReads", {
      params: { room, artifact: record.artifact },
      body: { keys: ["a.txt"] },
    });
    expect(new TextDecoder().decode(storage.read(reads[0]?.url ?? ""))).toBe("alpha");
  });

  it("is compared at completion with the CRC-32 the client names", async () => {
    const { sign, client, storage, params, pushTree } = await begun();
    (await sign("ALPHA")).send();
    await putAtOnce(client, storage, params, "b.txt", new TextEncoder().encode("beta"));
    await putAtOnce(client, storage, params, MANIFEST_KEY, manifestBytes(tree));
    const crc32 = crcOf(new TextEncoder().encode("alpha"));
    const completion = {
      artifact: artifactId(manifestOf(tree)),
      objects: [{ key: "a.txt", parts: [{ part: 0, crc32 }] }],
    };
    await expect(client.call("completeUpload", { params, body: completion })).rejects.toMatchObject(
      { code: "digest_mismatch" },
    );
    expect((await pushTree(tree)).sent).toEqual(["a.txt#0"]);
  });
});

describe("adopting an artifact", () => {
  async function pushed(options: PushOptions = {}) {
    const made = await setup();
    const { record } = await made.pushTree(tree, { name: "first", ...options });
    const adopt = (name: string, keep = false) =>
      made.client.call("adoptArtifact", {
        params: { room: made.room, artifact: record.artifact },
        body: { name, keep },
      });
    return { ...made, record, adopt };
  }

  it("names it and begins its time again, without a byte", async () => {
    const { adopt, resolve, time, hub, record } = await pushed();
    time.nowMs += 20 * HOUR_MS;
    const adopted = await adopt("second");
    expect(adopted).toMatchObject({ artifact: record.artifact, name: "second" });
    expect(Date.parse(adopted.expiresAt ?? "")).toBe(time.nowMs + 24 * HOUR_MS);
    expect(await adopt("second")).toEqual(adopted);
    time.nowMs += 20 * HOUR_MS;
    await hub.areas.sweep();
    expect(await resolve("second")).toEqual(adopted);
  });

  it("that is kept leaves it kept", async () => {
    const { adopt, resolve, record } = await pushed({ purpose: { kind: "dataset", keep: true } });
    expect(await adopt("second", true)).toEqual({ ...record, name: "second" });
    expect(await adopt("third", false)).toEqual({ ...record, name: "third" });
    expect((await resolve("second")).artifact).toBe(record.artifact);
  });

  it("is refused where bytes would have to move, or may not stay", async () => {
    const { adopt, time, hub } = await pushed();
    await expect(adopt("kept", true)).rejects.toMatchObject(conflict);
    for (let day = 0; day < 8; day++) {
      time.nowMs += 20 * HOUR_MS;
      await adopt("daily").catch(() => {});
      await hub.areas.sweep();
    }
    await expect(adopt("daily")).rejects.toMatchObject(conflict);
  });

  it("is refused for what the room does not hold (any more)", async () => {
    const { adopt, time, hub } = await pushed();
    time.nowMs += 24 * HOUR_MS;
    await expect(adopt("x")).rejects.toMatchObject({ code: "expired" });
    await hub.areas.sweep();
    time.nowMs += 10_000;
    await expect(adopt("x")).rejects.toMatchObject({ code: "not_found" });
  });
});
