import { spawnSync } from "node:child_process";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type HubDouble, TransferFixture, digestsOf, noise } from "../testing/index.ts";
import { RoomId, decodeValue } from "../protocol/index.ts";
import { localTree, pullArtifact } from "./index.ts";

const MIB = 1024 * 1024;
const room = decodeValue(RoomId, "lab", "room");
let fixture: TransferFixture;
let hub: HubDouble;
let base: string;

beforeEach(async () => {
  fixture = await TransferFixture.open();
  ({ hub, base } = fixture);
});

afterEach(() => fixture.close());

const tree: TransferFixture["tree"] = (...args) => fixture.tree(...args);
const push: TransferFixture["push"] = (...args) => fixture.push(...args);
const pull: TransferFixture["pull"] = (...args) => fixture.pull(...args);
const out: TransferFixture["out"] = (...args) => fixture.out(...args);
const faults: TransferFixture["faults"] = (...args) => fixture.faults(...args);

describe("a pull", () => {
  const sizes = { "big.bin": noise(21 * MIB, 3), "dir/small.txt": "small", "dir/empty": "" };

  it("goes on over resets, refusals, other ranges and flipped bits", async () => {
    const root = tree("data", sizes);
    await push(root);
    faults(
      "GET",
      undefined,
      { type: "cut", afterBytes: 100_000 },
      { type: "flip", at: 1_000_000 },
      { type: "another-range" },
      { type: "answer", status: 200, body: "<html>Log in</html>", contentType: "text/html" },
      { type: "cut", afterBytes: 3 * MIB },
      { type: "answer", status: 503 },
    );
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("asks the hub what it is and who has it before its first byte, and the store for nothing but the files", async () => {
    const root = tree("data", sizes);
    await push(root);
    hub.calls.length = 0;
    const served: string[] = [];
    hub.store.fault = ({ method, key }) => {
      if (method === "GET") served.push(key.slice(key.indexOf("/") + 1));
      return undefined;
    };
    await pull("out");
    expect(hub.calls).toEqual(["resolveArtifact", "showHolders"]);
    expect(new Set(served)).toEqual(new Set(["big.bin", "dir/small.txt"]));
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("is called what it was asked for by, and by its newest name when that was an id", async () => {
    await push(tree("data", { "a.txt": "one" }));
    const client = hub.client();
    const call: typeof client.call = async (name, input, options) => {
      const answer = await client.call(name, input, options);
      return name === "resolveArtifact" ? { ...answer, name: "newest" } : answer;
    };
    const dir = join(base, "out");
    const { name, artifact } = await pullArtifact({ call }, { room, ref: "data", dir });
    expect(name).toBe("data");
    const byId = await pullArtifact({ call }, { room, ref: artifact.slice(0, 8), dir });
    expect(byId.name).toBe("newest");
  });

  it("takes the store's own manifest when the one that came with the record is damaged", async () => {
    const root = tree("data", sizes);
    await push(root);
    const client = hub.client();
    const call: typeof client.call = async (name, input, options) => {
      const answer = await client.call(name, input, options);
      if (name !== "resolveArtifact") return answer;
      const { reading } = answer as { reading?: object };
      return { ...answer, reading: { ...reading, manifest: "{}" } };
    };
    await pullArtifact({ call }, { room, ref: "data", dir: join(base, "out") });
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("I9: signs again when its URLs expire on the way", async () => {
    const root = tree("data", sizes);
    await push(root);
    hub.store.fault = ({ number }) => {
      if (number % 3 === 0) hub.store.expireUrls();
      return undefined;
    };
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("I1: shows no file whose bytes are wrong, and says which shard it was", async () => {
    const root = tree("data", sizes);
    await push(root);
    hub.store.fault = ({ key }) => (key.endsWith("big.bin") ? { type: "flip", at: 5 } : undefined);
    await expect(pull("out")).rejects.toThrow(/shard \d+ \(of big.bin\) from s3 failed its hash/);
    expect(Object.keys(out("out"))).not.toContain("big.bin");
    hub.store.fault = () => undefined;
    const { sources } = await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
    expect(sources.cache).toBeGreaterThan(0);
  });

  it("reads a damaged manifest again", async () => {
    const root = tree("data", sizes);
    await push(root);
    hub.givesReading = false;
    faults("GET", { type: "flip", at: 100 });
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("leaves what is right and fetches only what is missing", async () => {
    const root = tree("data", sizes);
    await push(root);
    await pull("out");
    rmSync(join(base, "out/dir/small.txt"));
    const before = hub.store.servedBytes;
    const again = await pull("out");
    expect(again.sources).toEqual({ cache: 21 * MIB, s3: 5 });
    expect(hub.store.servedBytes - before).toBeLessThan(MIB);
  });

  it("refuses to replace other content unless it is told to, and then uses its right shards", async () => {
    const root = tree("data", sizes);
    await push(root);
    const edited = Buffer.from(sizes["big.bin"]);
    edited.writeUInt8(edited.readUInt8(9 * MIB) ^ 1, 9 * MIB);
    const mine = tree("out", { "big.bin": edited, "dir/own.txt": "mine" });
    const before = digestsOf(mine);
    await expect(pull("out")).rejects.toMatchObject({ code: "conflict" });
    expect(digestsOf(mine)).toEqual(before);
    const { sources } = await pull("out", { overwrite: true });
    expect(sources).toEqual({ cache: 20 * MIB, s3: MIB + 5 });
    expect(out("out")).toMatchObject(digestsOf(root));
    expect(Object.keys(out("out"))).toContain("dir/own.txt");
  });

  it("takes bytes from a cache folder and other sources before the store, however damaged they are", async () => {
    const root = tree("data", sizes);
    const { artifact } = await push(root);
    await pull(join("cache", artifact));
    writeFileSync(join(base, "cache", artifact, "dir/small.txt"), "SMALL");
    const fromCache = await pull("out", { cacheDir: join(base, "cache") });
    expect(fromCache.sources).toEqual({ cache: 21 * MIB, s3: 5 });
    const fromTree = await pull("out2", {
      sources: [localTree(root), localTree(join(base, "no"))],
    });
    expect(fromTree.sources).toEqual({ cache: 21 * MIB + 5 });
    expect(out("out2")).toEqual(digestsOf(root));
  });

  it("is refused while another one runs in the same folder, and leaves no trace of itself", async () => {
    const root = tree("data", { "big.bin": noise(21 * MIB, 3) });
    await push(root);
    const abort = new AbortController();
    let stalled: (() => void) | undefined;
    const started = new Promise<void>((resolve) => (stalled = resolve));
    hub.store.fault = ({ key }) => {
      if (!key.endsWith("big.bin")) return undefined;
      stalled?.();
      return { type: "stall" };
    };
    const first = pull("out", { signal: abort.signal });
    await started;
    await expect(pull("out")).rejects.toMatchObject({ code: "conflict" });
    abort.abort();
    await expect(first).rejects.toMatchObject({ name: "AbortError" });
    hub.store.fault = () => undefined;
    await pull("out");
    expect(Object.keys(out("out"))).toEqual(["big.bin"]);
  });

  it("does not follow a link in the destination out of it", async () => {
    const root = tree("data", { "dir/x": "x", y: "y" });
    await push(root);
    tree("elsewhere", { keep: "" });
    tree("out", {});
    symlinkSync(join(base, "elsewhere"), join(base, "out/dir"));
    await expect(pull("out")).rejects.toMatchObject({ code: "conflict" });
    expect(Object.keys(out("elsewhere"))).toEqual(["keep"]);
  });

  it("says what is in the way of a destination it cannot write", async () => {
    await push(tree("data", { x: "x" }));
    tree(".", { file: "" });
    await expect(pull("file")).rejects.toMatchObject({ code: "conflict" });
    await expect(pull("file/deeper")).rejects.toMatchObject({ code: "local_io" });
    await expect(pull("unused", { dir: "/proc/waybill" })).rejects.toMatchObject({
      code: "local_io",
    });
  });

  it("onto a full disk says so and goes on when there is space; onto a read-only one it says so", async ({
    skip,
  }) => {
    const root = tree("data", { "big.bin": noise(21 * MIB, 3) });
    await push(root);
    const disk = join(base, "disk");
    tree("disk", {});
    const mount = (options: string) =>
      spawnSync("mount", ["-t", "tmpfs", "-o", options, "none", disk]).status === 0;
    skip(!mount("size=14m"), "mounting a small disk needs root");
    try {
      await expect(pull("disk/out")).rejects.toMatchObject({ code: "storage_full" });
      mount("remount,size=40m");
      const { sources } = await pull("disk/out");
      expect(sources.cache).toBeGreaterThanOrEqual(4 * MIB);
      expect(out("disk/out")).toEqual(digestsOf(root));
      mount("remount,ro");
      await expect(pull("disk/other")).rejects.toThrow("its disk is read-only");
    } finally {
      spawnSync("umount", [disk]);
    }
  });

  it("of what the room does not hold says so", async () => {
    await expect(pull("out")).rejects.toMatchObject({ code: "not_found" });
  });
});
