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

  it("does not take for saved what it has sent itself before it began again", async () => {
    const root = tree("data", { "x.bin": noise(31 * MIB) });
    let refusals = 0;
    hub.fault = (route) => {
      if (route !== "completeUpload" || refusals > 0) return undefined;
      refusals += 1;
      return new WaybillError("conflict", "something is missing");
    };
    const seen: number[] = [];
    const onProgress = ({ saved }: { readonly saved: { readonly held: number } }) => {
      seen.push(saved.held);
    };
    const { saved, savedBytes, sentBytes } = await push(root, { onProgress });
    expect(refusals).toBe(1);
    expect(sentBytes).toBeLessThan(32 * MIB);
    expect({ held: saved.held, savedBytes, seen: Math.max(...seen) }).toEqual({
      held: 0,
      savedBytes: 0,
      seen: 0,
    });
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

  it("lives through a store that refuses early and closes, when its URLs are renewed", async () => {
    const root = tree("data", { "x.bin": noise(31 * MIB) });
    const cut = { type: "cut", afterBytes: 100 } as const;
    // The first is that of a connection opened ahead: its request is repeated without a word.
    faults("PUT", cut, cut, cut);
    const result = await push(root, { concurrency: 1 });
    expect(result.retries).toBe(2);
    expect(hub.store.requests).toBeLessThan(12);
  });

  it("I9: does not use a URL that is about to expire", async () => {
    hub.validForMs = 10_000;
    const root = tree("data", { x: noise(1000) });
    faults("PUT", { type: "answer", status: 503 });
    await push(root);
    expect(hub.calls.filter((call) => call === "signParts")).toHaveLength(2);
  });

  it("I2: takes a body whose answer was lost for stored", async () => {
    const root = tree("data", { x: noise(MIB), "artifact.txt": "a" });
    faults("PUT", { type: "lost-answer" });
    expect((await push(root)).saved.held).toBeGreaterThan(0);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("refuses a name nobody could ask for", async () => {
    await expect(push(tree("data", { x: "" }), { name: "/x\n" })).rejects.toMatchObject({
      code: "invalid_request",
    });
  });
});

describe("a push that another run began", () => {
  /** Pushes until so many bytes are confirmed, then stops; gives how many were. */
  async function interrupted(root: string, mib: number): Promise<number> {
    const abort = new AbortController();
    let confirmed = 0;
    // The manifest never arrives: nothing is completed.
    hub.store.fault = ({ key }) => (key.endsWith("artifact.json") ? { type: "stall" } : undefined);
    const onProgress = ({ bytes }: { readonly bytes: number }) => {
      confirmed = bytes;
      if (bytes >= mib * MIB) abort.abort();
    };
    const pushing = push(root, { signal: abort.signal, onProgress });
    await expect(pushing).rejects.toMatchObject({ name: "AbortError" });
    hub.store.fault = () => undefined;
    return confirmed;
  }

  it("I2: is finished from another folder with other times, under another name", async () => {
    const files = { "x.bin": noise(41 * MIB), "y/y.bin": noise(13 * MIB, 2), small: "s" };
    const first = tree("first", files);
    const confirmed = await interrupted(first, 20);
    const second = tree("second", files);
    for (const path of Object.keys(files)) utimesSync(join(second, path), 1000, 1000);
    const { saved, bytes, sentBytes } = await push(second, { name: "another" });
    expect(saved.held).toBeGreaterThanOrEqual(confirmed);
    expect(sentBytes).toBeLessThan(bytes - saved.held + 64 * 1024);
    expect(hub.sessions.size).toBe(1);
    await pull("out", { ref: "another" });
    expect(out("out")).toEqual(digestsOf(first));
  });

  it("I2: sends again only the parts of a file that changed where no sample lies", async () => {
    const content = noise(41 * MIB);
    const root = tree("data", { "x.bin": content });
    await interrupted(root, 41);
    // Samples are 16 KiB at multiples of a 256th of the whole.
    content.set([1, 2, 3], Math.floor((41 * MIB) / 256) + 40_000);
    writeFileSync(join(root, "x.bin"), content);
    const { saved } = await push(root);
    expect(hub.sessions.size).toBe(1);
    expect(saved.held).toBe(36 * MIB);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("adopts parts of any size that are there", async () => {
    const content = noise(50 * MIB);
    const root = tree("data", { "x.bin": content });
    hub.store.fault = () => ({ type: "answer", status: 507, body: "" });
    await expect(push(root)).rejects.toMatchObject({ code: "storage_full" });
    hub.store.fault = () => undefined;
    const [upload = ""] = hub.sessions.keys();
    const keep = (part: number, mib: number) => {
      const start = (part - 1) * MIB;
      hub.store.keep(`${upload}/x.bin`, part, content.subarray(start, start + mib * MIB));
    };
    keep(1, 7);
    keep(13, 20);
    keep(46, 5);
    const { saved } = await push(root);
    expect(saved.held).toBe(32 * MIB);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("keeps to equal parts where the store asks for them", async () => {
    hub.equalPartBytes = 8 * MIB;
    const root = tree("data", { "x.bin": noise(43 * MIB) });
    await interrupted(root, 43);
    expect((await push(root)).saved.held).toBe(43 * MIB);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });
});

describe("what the room holds already", () => {
  const old = noise(40 * MIB, 7);

  async function held(files: Record<string, Uint8Array>): Promise<void> {
    await push(tree("old", files), { name: "old" });
    hub.store.receivedBytes = 0;
    hub.calls.length = 0;
  }

  it("does not travel when a file was changed in place, or shifted", async () => {
    await held({ "x.bin": old });
    const changed = Uint8Array.from(old);
    changed.set(noise(300_000, 3), 11 * MIB);
    const inPlace = await push(tree("new", { "x.bin": changed }), { name: "new" });
    expect(inPlace.saved).toMatchObject({ copied: 35 * MIB, identical: 0 });
    expect(inPlace.sentBytes).toBeLessThan(6 * MIB);
    await pull("out", { ref: "new" });
    expect(out("out")).toEqual(digestsOf(join(base, "new")));
    const shifted = new Uint8Array(41 * MIB + 77);
    shifted.set(noise(MIB + 77, 4));
    shifted.set(old, MIB + 77);
    const moved = await push(tree("shifted", { "x.bin": shifted }), { name: "shifted" });
    // Once for the front, once where another base goes on.
    expect(moved.sentBytes).toBeLessThan(11 * MIB);
    await pull("out2", { ref: "shifted" });
    expect(out("out2")).toEqual(digestsOf(join(base, "shifted")));
  });

  it("is adopted when it is the whole tree, and the name means it", async () => {
    await held({ "x.bin": old, y: noise(10) });
    hub.sessions.clear();
    const again = await push(tree("copy", { "x.bin": old, y: noise(10) }), { name: "again" });
    expect(again).toMatchObject({ sentBytes: 0, saved: { identical: 40 * MIB + 10, copied: 0 } });
    expect(hub.calls).toContain("adoptArtifact");
    expect(hub.calls).not.toContain("signParts");
    expect(hub.sessions.size).toBe(0);
    expect(again.record?.name).toBe("again");
  });

  it("is adopted without giving up an upload that another run or push has begun", async () => {
    await held({ "x.bin": old, y: noise(10) });
    const [upload = ""] = hub.sessions.keys();
    const { plan } = hub.sessions.get(upload) ?? {};
    if (plan === undefined) throw new Error("no session");
    // Open again, as when somebody else is pushing the same.
    hub.sessions.set(upload, { plan });
    const again = await push(tree("copy", { "x.bin": old, y: noise(10) }), { name: "again" });
    expect(again.saved.identical).toBe(40 * MIB + 10);
    expect(hub.calls).not.toContain("abortUpload");
    expect([...hub.sessions.keys()]).toEqual([upload]);
  });

  it("is copied when the whole tree cannot be adopted", async () => {
    await held({ "x.bin": old, y: noise(10) });
    hub.sessions.clear();
    const before = hub.records.values().next().value;
    hub.fault = (route) =>
      route === "adoptArtifact" ? new WaybillError("conflict", "it expires") : undefined;
    const root = tree("copy", { "x.bin": old, y: noise(10) });
    const again = await push(root, { purpose: { kind: "dataset", keep: true } });
    expect(again.artifact).toBe(before?.artifact);
    expect(again.saved.copied).toBe(40 * MIB + 10);
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("is sent where the hub refuses to copy it", async () => {
    await held({ "x.bin": old });
    const changed = Uint8Array.from(old);
    changed.set([1, 2, 3], 39 * MIB);
    hub.refuseCopy = ({ part }) => part === 1;
    const root = tree("new", { "x.bin": changed });
    const { saved } = await push(root, { name: "new" });
    expect(saved.copied).toBeGreaterThan(10 * MIB);
    expect(saved.copied).toBeLessThan(30 * MIB);
    await pull("out", { ref: "new" });
    expect(out("out")).toEqual(digestsOf(root));
  });

  it("is not compared with when nobody wants it, nor for small pushes, nor when it cannot be read", async () => {
    await held({ "x.bin": old });
    const root = tree("new", { "x.bin": old, more: "m" });
    const all = await push(root, { dedupe: false, name: "new" });
    expect(all.sentBytes).toBeGreaterThan(40 * MIB);
    await push(tree("small", { a: "a" }));
    expect(hub.calls).not.toContain("listArtifacts");
    hub.fault = (route) =>
      route === "signReads" ? new WaybillError("expired", "it is gone") : undefined;
    const other = tree("other", { "x.bin": old, more: "n" });
    expect((await push(other)).sentBytes).toBeGreaterThan(40 * MIB);
  });

  it("goes on after an interruption, copies included", async () => {
    await held({ "x.bin": old });
    const changed = new Uint8Array(62 * MIB);
    changed.set(old);
    changed.set(noise(22 * MIB, 5), 40 * MIB);
    const root = tree("new", { "x.bin": changed });
    const abort = new AbortController();
    const onProgress = ({ bytes }: { readonly bytes: number }) => {
      if (bytes >= 62 * MIB) abort.abort();
    };
    hub.store.fault = ({ method, key }) =>
      method === "PUT" && key.endsWith("artifact.json") ? { type: "stall" } : undefined;
    await push(root, { signal: abort.signal, onProgress }).catch(() => undefined);
    hub.store.fault = () => undefined;
    hub.copiedBytes = 0;
    const { saved, sentBytes } = await push(root);
    expect(saved.held).toBe(62 * MIB);
    expect({ sent: sentBytes < 64 * 1024, copied: hub.copiedBytes }).toEqual({
      sent: true,
      copied: 0,
    });
    await pull("out");
    expect(out("out")).toEqual(digestsOf(root));
  });
});
