import {
  chmodSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { scanTree } from "../artifact/index.ts";
import { RoomId, WaybillError, decodeValue } from "../protocol/index.ts";
import { HubDouble, type StoreFault, digestsOf, noise, writeTree } from "../testing/index.ts";
import { localTree, pullArtifact, pushArtifact } from "./index.ts";

const MIB = 1024 * 1024;
const room = decodeValue(RoomId, "lab", "room");
let base: string;
let hub: HubDouble;

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), "waybill-push-"));
  hub = await new HubDouble(join(base, "hub")).start();
});

afterEach(async () => {
  await hub.stop();
  rmSync(base, { recursive: true, force: true });
});

const tree = (name: string, files: Readonly<Record<string, Uint8Array | string>>) =>
  writeTree(join(base, name), files);
const push = (path: string, name = "data", more = {}) =>
  pushArtifact(hub.client(), { room, path, name, ...more });
const pull = (dir: string, more = {}) =>
  pullArtifact(hub.client(), { room, ref: "data", dir: join(base, dir), ...more });
const out = (dir: string) => digestsOf(join(base, dir));

/** Applies faults to the first requests of a method, one each. */
function faults(method: "GET" | "PUT", ...list: (StoreFault | undefined)[]): void {
  const queue = [...list];
  hub.store.fault = (request) => (request.method === method ? queue.shift() : undefined);
}

describe("a pushed tree", () => {
  it("comes back as it was: small, big and empty files, with the executable bit", async () => {
    const root = tree("data", {
      "train.bin": noise(23 * MIB + 17),
      "a/b/labels.csv": "x,y\n1,2\n",
      "a/empty": "",
      "run.sh": "#!/bin/sh\n",
      "ünïcode – 名前.txt": "ok",
    });
    chmodSync(join(root, "run.sh"), 0o755);
    const pushed = await push(root);
    expect(pushed).toMatchObject({ files: 5, bytes: 23 * MIB + 17 + 8 + 10 + 2, savedBytes: 0 });
    const pulled = await pull("out");
    expect(pulled).toMatchObject({ artifact: pushed.artifact, bytes: pushed.bytes, files: 5 });
    expect(pulled.sources).toEqual({ s3: pushed.bytes });
    expect(out("out")).toEqual(digestsOf(root));
    expect(statSync(join(base, "out/run.sh")).mode & 0o100).toBe(0o100);
    expect(statSync(join(base, "out/train.bin")).mode & 0o100).toBe(0);
  });

  it("of many small files is packed into one object and comes back", async () => {
    const files: Record<string, Uint8Array> = {};
    for (let at = 0; at < 3000; at++) files[`${at % 50}/${at}.png`] = noise(at % 3000, at + 1);
    const root = tree("images", files);
    await push(root);
    expect(new Set([...hub.store.objects.keys()].map((key) => key.split("/")[1]))).toEqual(
      new Set(["artifact.json", "pack.bin"]),
    );
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("may be one file, hold only empty files, or a file with the manifest's name", async () => {
    const root = tree("odd", { "artifact.json": "{}", empty: "" });
    for (const [at, path] of [join(root, "artifact.json"), join(root, "empty"), root].entries()) {
      await push(path);
      await pull(`out${at}`);
    }
    expect(Object.keys(out("out0"))).toEqual(["artifact.json"]);
    expect(Object.keys(out("out1"))).toEqual(["empty"]);
    expect(out("out2")).toEqual(digestsOf(root));
  });

  it("costs one call each to begin, sign and complete when it is small", async () => {
    await push(tree("model", { "weights.bin": noise(3 * MIB), "config.json": "{}" }));
    expect(hub.calls).toEqual(["beginUpload", "signParts", "completeUpload"]);
  });

  it("reports progress that only grows and ends at the total", async () => {
    const seen: { bytes: number; total: number; sentBytes: number }[] = [];
    const onProgress = (one: (typeof seen)[number]) => seen.push(one);
    const result = await push(tree("data", { "x.bin": noise(12 * MIB) }), "data", { onProgress });
    const bytes = seen.map((one) => one.bytes);
    expect(bytes.toSorted((a, b) => a - b)).toEqual(bytes);
    expect(seen.at(-1)).toMatchObject({ bytes: seen.at(-1)?.total, sentBytes: result.sentBytes });
    expect(result.sentBytes).toBe(hub.store.receivedBytes);
  });
});

describe("a push", () => {
  it("I2: of the same tree again sends nothing", async () => {
    const root = tree("data", { "x.bin": noise(11 * MIB), y: "y" });
    const first = await push(root);
    const again = await push(root);
    expect(again).toMatchObject({
      artifact: first.artifact,
      sentBytes: 0,
      savedBytes: 11 * MIB + 1,
    });
  });

  it("of other bytes under the same names, sizes and times is an upload of its own", async () => {
    const root = tree("data", { "x.bin": noise(6 * MIB, 1) });
    utimesSync(join(root, "x.bin"), 1000, 1000);
    const first = await push(root);
    writeFileSync(join(root, "x.bin"), noise(6 * MIB, 2));
    utimesSync(join(root, "x.bin"), 1000, 1000);
    const second = await push(root);
    expect(second.artifact).not.toBe(first.artifact);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("goes on over resets, refusals, silence and damaged bodies", async () => {
    const root = tree("data", { "x.bin": noise(31 * MIB) });
    faults(
      "PUT",
      { type: "cut", afterBytes: 1000 },
      { type: "answer", status: 503 },
      { type: "answer", status: 400, body: "<Code>BadDigest</Code>" },
      { type: "cut", afterBytes: 3 * MIB },
      { type: "answer", status: 500, body: "<html>Bad gateway</html>", contentType: "text/html" },
    );
    const result = await push(root);
    expect(result.sentBytes).toBeGreaterThan(31 * MIB);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("I9: signs again when its URLs expire on the way", async () => {
    const root = tree("data", { "x.bin": noise(31 * MIB) });
    hub.store.fault = ({ number }) => {
      if (number % 3 === 1) hub.store.expireUrls();
      return undefined;
    };
    await push(root);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("lives through a restart of the hub", async () => {
    const root = tree("data", { "x.bin": noise(31 * MIB) });
    let restart: Promise<void> | undefined;
    hub.store.fault = ({ number }) => {
      if (number === 2) restart = hub.stopHub().then(() => hub.startHub());
      return undefined;
    };
    await push(root);
    await restart;
    expect(hub.records.size).toBe(1);
  });

  it("begins again when its upload was dropped under it", async () => {
    const root = tree("data", { "x.bin": noise(31 * MIB) });
    hub.store.fault = ({ number }) => {
      if (number === 3) hub.sessions.clear();
      return undefined;
    };
    await push(root);
    expect(hub.calls.filter((call) => call === "beginUpload").length).toBeGreaterThan(1);
    expect(hub.records.size).toBe(1);
  });

  it("gives up with the hub's own error, and with the store's when its time is over", async () => {
    const root = tree("data", { x: "x" });
    hub.fault = () => new WaybillError("forbidden", "viewers do not push");
    await expect(push(root)).rejects.toMatchObject({ code: "forbidden" });
    hub.fault = () => undefined;
    hub.store.fault = () => ({ type: "answer", status: 503 });
    await expect(push(root, "data", { retryForMs: 200 })).rejects.toMatchObject({
      code: "storage_failed",
    });
    hub.store.fault = () => ({ type: "answer", status: 507, body: "" });
    await expect(push(root)).rejects.toMatchObject({ code: "storage_full" });
  });

  it("stops at once when it is cancelled, and goes on later", async () => {
    const root = tree("data", { "x.bin": noise(40 * MIB) });
    const abort = new AbortController();
    hub.store.fault = ({ number }) => {
      if (number === 4) abort.abort();
      return undefined;
    };
    await expect(push(root, "data", { signal: abort.signal })).rejects.toMatchObject({
      name: "AbortError",
    });
    const again = await push(root);
    expect(again.savedBytes).toBeGreaterThan(0);
  });

  it.each([
    ["grows", (path: string) => writeFileSync(path, noise(31 * MIB + 1))],
    [
      "is replaced",
      (path: string) => {
        writeFileSync(`${path}.new`, noise(31 * MIB, 9));
        renameSync(`${path}.new`, path);
      },
    ],
    ["is rewritten", (path: string) => writeFileSync(path, noise(31 * MIB, 9))],
    ["shrinks", (path: string) => writeFileSync(path, "short")],
  ])("of a file that %s meanwhile ends with source_changed", async (_, change) => {
    const root = tree("data", { "a.bin": "", "x.bin": noise(31 * MIB) });
    const path = join(root, "x.bin");
    utimesSync(path, 1000, 1000);
    let changed = false;
    hub.store.fault = () => {
      if (!changed) change(path);
      changed = true;
      return undefined;
    };
    await expect(push(root)).rejects.toMatchObject({ code: "source_changed" });
  });

  it("of a file that vanished since the scan says which", async () => {
    const root = tree("data", { x: "x", y: "y" });
    const scan = await scanTree(root);
    rmSync(join(root, "x"));
    await expect(push(root, "data", { scan })).rejects.toThrow(/data\/x/);
  });

  it("refuses a name nobody could ask for", async () => {
    await expect(push(tree("data", { x: "" }), "/x\n")).rejects.toMatchObject({
      code: "invalid_request",
    });
  });
});

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
    expect(sources).toEqual({ cache: 17 * MIB, s3: 4 * MIB + 5 });
    expect(out("out")).toMatchObject(digestsOf(root));
    expect(Object.keys(out("out"))).toContain("dir/own.txt");
  });

  it("takes bytes from a cache folder and other sources before the store, however damaged they are", async () => {
    const root = tree("data", sizes);
    const { artifact } = await push(root);
    await pullArtifact(hub.client(), { room, ref: "data", dir: join(base, "cache", artifact) });
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
    await expect(
      pullArtifact(hub.client(), { room, ref: "data", dir: "/proc/waybill" }),
    ).rejects.toMatchObject({ code: "local_io" });
  });

  it("of what the room does not hold says so", async () => {
    await expect(pull("out")).rejects.toMatchObject({ code: "not_found" });
  });
});
