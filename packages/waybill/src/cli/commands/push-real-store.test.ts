// Pushes against the hub itself and the object store it embeds: what doubles cannot prove.
import { pullArtifact, pushArtifact, type PushOptions } from "@waybill/sdk/client";
import { HubClient, generateIdentityKey, loadIdentity } from "@waybill/sdk/hub-client";
import { ArtifactName, RoomId, decodeValue } from "@waybill/sdk/protocol";
import { digestsOf, noise, writeTree } from "@waybill/sdk/testing";
import { mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Hub, createHub } from "../../hub/hub.ts";

const MIB = 1024 * 1024;
const room: RoomId = decodeValue(RoomId, "lab", "room");
let base: string;
let hub: Hub;
let client: HubClient;

beforeEach(async () => {
  base = mkdtempSync(path.join(tmpdir(), "waybill-push-"));
  const storage = { kind: "embedded", port: 0 } as const;
  hub = createHub({ dataDir: path.join(base, "hub"), port: 0, storage });
  const { url } = await hub.start();
  const { token } = await new HubClient({ url }).call("createRoom", { body: { name: room } });
  client = new HubClient({
    url,
    credential: { token, identity: await loadIdentity(await generateIdentityKey()) },
  });
});

afterEach(async () => {
  await hub.stop();
  rmSync(base, { recursive: true, force: true });
});

const tree = (name: string, files: Record<string, Uint8Array | string>) =>
  writeTree(path.join(base, name), files);
const push = (root: string, name: string, more: Partial<PushOptions> = {}) =>
  pushArtifact(client, { room, path: root, name, ...more });

async function pulled(ref: string): Promise<Record<string, string>> {
  const dir = path.join(base, `out-${ref}`);
  await pullArtifact(client, { room, ref, dir });
  return digestsOf(dir);
}

describe("a push into a real store", () => {
  it("I2: goes on in another folder with other times, under another name", async () => {
    const files = { "x.bin": noise(41 * MIB), "a/small": "s" };
    const abort = new AbortController();
    const onProgress = ({ bytes }: { readonly bytes: number }) => {
      if (bytes >= 15 * MIB) abort.abort();
    };
    const first = push(tree("one", files), "one", { signal: abort.signal, onProgress });
    await expect(first).rejects.toMatchObject({ name: "AbortError" });
    const two = tree("two", files);
    utimesSync(path.join(two, "x.bin"), 1000, 1000);
    const { saved, sentBytes } = await push(two, "two");
    expect(saved.held).toBeGreaterThanOrEqual(15 * MIB);
    expect(sentBytes).toBeLessThan(41 * MIB - saved.held + 64 * 1024);
    expect(await pulled("two")).toEqual(digestsOf(two));
  });

  it("copies what the room holds: changed in place, shifted, renamed", async () => {
    const old = noise(40 * MIB, 3);
    await push(tree("old", { "x.bin": old, "note.txt": "v1" }), "data");
    const changed = new Uint8Array(41 * MIB + 5);
    changed.set(noise(MIB + 5, 4));
    changed.set(old, MIB + 5);
    const root = tree("new", { "renamed.bin": changed, "note.txt": "v2" });
    const { saved, sentBytes } = await push(root, "data");
    expect(saved.copied).toBeGreaterThan(34 * MIB);
    expect(sentBytes).toBeLessThan(7 * MIB);
    expect(await pulled("data")).toEqual(digestsOf(root));
  });

  it("adopts a tree the room holds under another purpose's session, and sends nothing", async () => {
    const files = { "x.bin": noise(20 * MIB, 5), y: "y" };
    const first = await push(tree("one", files), "one", {
      purpose: { kind: "dataset", keep: true },
    });
    const again = await push(tree("two", files), "two");
    expect(again).toMatchObject({ artifact: first.artifact, sentBytes: 0 });
    expect(again.saved.identical).toBe(20 * MIB + 1);
    const { artifact } = await client.call("resolveArtifact", {
      params: { room, ref: decodeValue(ArtifactName, "two", "name") },
    });
    expect(artifact).toBe(first.artifact);
    // The session that was not needed is gone, and does not stand in the way of a further push.
    const { uploads } = await client.call("listUploads", { params: { room } });
    expect(uploads).toEqual([]);
    expect((await push(tree("two", files), "three")).artifact).toBe(first.artifact);
  });
});
