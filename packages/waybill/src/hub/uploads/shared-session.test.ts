// Two pushers of one session whose bytes differ: neither can spoil what the other completes with.
import { artifactId } from "@waybill/sdk/artifact";
import { MANIFEST_KEY, type RouteBody } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import {
  PART_BYTES,
  type PushOptions,
  type Tree,
  crcOf,
  manifestBytes,
  manifestOf,
  patterned,
  piecesOf,
  planOf,
  push,
  putAtOnce,
  tinyTree,
} from "./push.fixture.ts";

const ours = tinyTree({ "a.txt": "alpha", "b.txt": "beta" });
const theirs = tinyTree({ "a.txt": "ALPHA", "b.txt": "beta" });

const text = (body: Uint8Array | undefined) => body && new TextDecoder().decode(body);

async function setup(tree: Tree = ours) {
  const hub = new TestHub();
  const { storage } = hub;
  const { client, room } = await hub.createRoom("lab");
  const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
  const params = { room, upload: status.upload };
  const bodyOf = (of: Tree, key: string) =>
    key === MANIFEST_KEY ? manifestBytes(of) : (of.get(key) ?? new Uint8Array());
  const put = (of: Tree, key: string) => putAtOnce(client, storage, params, key, bodyOf(of, key));
  const putAll = async (of: Tree) => {
    for (const key of [...of.keys(), MANIFEST_KEY]) await put(of, key);
  };
  /** Every object with the parts and checksums the pusher of a tree would name. */
  const complete = (of: Tree, name = "tree") => {
    const bodies = new Map([...of, [MANIFEST_KEY, manifestBytes(of)]]);
    const objects: RouteBody<"completeUpload">["objects"] = [...bodies].map(([key, body]) => ({
      key,
      parts: piecesOf(key, body, status, PART_BYTES).map(({ part, crc32 }) => ({ part, crc32 })),
    }));
    const body = { artifact: artifactId(manifestOf(of)), objects, name };
    return client.call("completeUpload", { params, body });
  };
  const signReplacing = async (of: Tree, key: string) => {
    const { objects } = await client.call("showUpload", { params });
    const replaces = objects.find((object) => object.key === key)?.etag ?? "";
    const body = bodyOf(of, key);
    const part = { key, part: 0, size: body.length, crc32: crcOf(body), replaces };
    const { parts } = await client.call("signParts", { params, body: { parts: [part] } });
    return () => {
      for (const { url, headers } of parts) storage.put(url, headers, body);
    };
  };
  const read = async (of: Tree, key: string) => {
    const { reads } = await client.call("signReads", {
      params: { room, artifact: artifactId(manifestOf(of)) },
      body: { keys: [key] },
    });
    return storage.read(reads[0]?.url ?? "");
  };
  const pushTree = (of: Tree, options?: PushOptions) => push(client, storage, room, of, options);
  const resolve = (ref: string) => client.call("resolveArtifact", { params: { room, ref } });
  return {
    hub,
    storage,
    client,
    room,
    params,
    put,
    putAll,
    complete,
    signReplacing,
    read,
    pushTree,
    resolve,
  };
}

describe("a completion that is refused", () => {
  it("takes nothing from an artifact that another one has made meanwhile", async () => {
    const { storage, putAll, complete, read } = await setup();
    await putAll(ours);
    const gate = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    storage.interceptBy((operation) => {
      if (operation !== "delete") return undefined;
      reached.resolve();
      return gate.promise;
    });
    const refused = complete(theirs).catch((error: unknown) => error);
    await Promise.race([refused, reached.promise]);
    const record = await complete(ours);
    gate.resolve();
    expect(await refused).toMatchObject({ code: "digest_mismatch" });
    expect(record.artifact).toBe(artifactId(manifestOf(ours)));
    expect(text(await read(ours, MANIFEST_KEY))).toBe(text(manifestBytes(ours)));
  });

  it("has a joined object that is another's sent anew, and leaves it where it is until then", async () => {
    const large: Tree = new Map([["big.bin", patterned(PART_BYTES + 4_000_000)]]);
    const changed: Tree = new Map([["big.bin", patterned(PART_BYTES + 4_000_000, 2)]]);
    const { storage, client, params, complete, signReplacing, pushTree } = await setup(large);
    // The hub dies between joining and the session's own document.
    let joined = false;
    storage.interceptBy((operation, key) => {
      if (operation === "complete") joined = true;
      if (joined && operation === "put" && key.includes("/sessions/")) throw new Error("killed");
    });
    await expect(pushTree(large)).rejects.toMatchObject({ code: "internal" });
    storage.interceptBy(() => {});
    const [key = ""] = storage.uploads.bucket.keys.filter((one) => one.endsWith("big.bin"));
    (await signReplacing(changed, MANIFEST_KEY))();
    await expect(complete(changed)).rejects.toMatchObject({ code: "digest_mismatch" });
    expect(storage.uploads.bucket.peek(key)).toBeDefined();
    const { objects } = await client.call("showUpload", { params });
    expect(objects[0]).toMatchObject({ key: "big.bin", done: false, parts: [] });
    const { record, sent } = await pushTree(changed);
    expect(sent).toContain("big.bin#1");
    expect(record.artifact).toBe(artifactId(manifestOf(changed)));
    const stored = storage.uploads.bucket.peek(key) ?? new Uint8Array();
    expect(Buffer.compare(stored, changed.get("big.bin") ?? new Uint8Array())).toBe(0);
  });
});

describe("a URL that replaces a body", () => {
  it("keeps that body from being completed with, whichever of the two comes first", async () => {
    const { putAll, complete, signReplacing, read, pushTree } = await setup();
    await putAll(ours);
    const replace = await signReplacing(theirs, "a.txt");
    await expect(complete(ours)).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("a.txt"),
    });
    replace();
    const { record } = await pushTree(theirs);
    expect(record.artifact).toBe(artifactId(manifestOf(theirs)));
    expect(await read(theirs, "a.txt")).toEqual(theirs.get("a.txt"));
  });

  it("does not hinder who has replaced it", async () => {
    const { putAll, complete, signReplacing, read } = await setup();
    await putAll(theirs);
    (await signReplacing(ours, "a.txt"))();
    (await signReplacing(ours, MANIFEST_KEY))();
    const record = await complete(ours);
    expect(record.artifact).toBe(artifactId(manifestOf(ours)));
    expect(await read(ours, "a.txt")).toEqual(ours.get("a.txt"));
  });
});

describe("names", () => {
  it("are given by the completion: the session's newest one is not everybody's", async () => {
    const { client, room, putAll, complete, resolve } = await setup();
    await putAll(ours);
    const elsewhere = planOf(ours, { name: "second" });
    await client.call("beginUpload", { params: { room }, body: elsewhere });
    expect((await complete(ours, "first")).name).toBe("first");
    // Whoever finds it completed may have other bytes: beginning alone names nothing.
    const { status } = await client.call("beginUpload", { params: { room }, body: elsewhere });
    expect(status.state).toBe("completed");
    await expect(resolve("second")).rejects.toMatchObject({ code: "not_found" });
    await expect(complete(theirs, "second")).rejects.toMatchObject({ code: "upload_completed" });
    await expect(resolve("second")).rejects.toMatchObject({ code: "not_found" });
    expect((await complete(ours, "third")).name).toBe("third");
    expect((await resolve("third")).artifact).toBe(artifactId(manifestOf(ours)));
    expect((await resolve("first")).artifact).toBe(artifactId(manifestOf(ours)));
  });

  it("of a completed upload are no reason to sign: that is said by a code of its own", async () => {
    const { putAll, put, complete } = await setup();
    await putAll(ours);
    await complete(ours);
    await expect(put(theirs, "a.txt")).rejects.toMatchObject({ code: "upload_completed" });
  });
});
