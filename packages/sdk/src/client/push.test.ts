import { chmodSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { scanTree } from "../artifact/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { type HubDouble, TransferFixture, digestsOf, noise } from "../testing/index.ts";

const MIB = 1024 * 1024;
/** More than a push reads ahead before its first body is sent. */
const LONG = 71 * MIB;
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
    const result = await push(tree("data", { "x.bin": noise(12 * MIB) }), { onProgress });
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
    await expect(push(root, { retryForMs: 200 })).rejects.toMatchObject({
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
    await expect(push(root, { signal: abort.signal })).rejects.toMatchObject({
      name: "AbortError",
    });
    const again = await push(root);
    expect(again.savedBytes).toBeGreaterThan(0);
  });

  it.each([
    ["grows", (path: string) => writeFileSync(path, noise(LONG + 1))],
    [
      "is replaced",
      (path: string) => {
        writeFileSync(`${path}.new`, noise(LONG, 9));
        renameSync(`${path}.new`, path);
      },
    ],
    ["is rewritten", (path: string) => writeFileSync(path, noise(LONG, 9))],
    ["shrinks", (path: string) => writeFileSync(path, "short")],
  ])("of a file that %s meanwhile ends with source_changed", async (_, change) => {
    const root = tree("data", { "a.bin": "", "x.bin": noise(LONG) });
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
    await expect(push(root, { scan })).rejects.toThrow(/data\/x/);
  });

  it("refuses a name nobody could ask for", async () => {
    await expect(push(tree("data", { x: "" }), { name: "/x\n" })).rejects.toMatchObject({
      code: "invalid_request",
    });
  });
});
