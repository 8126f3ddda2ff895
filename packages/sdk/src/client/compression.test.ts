import { readFileSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ShardMap, artifactId } from "../artifact/index.ts";
import { type ArtifactManifest, ModelId, ModelType, decodeValue } from "../protocol/index.ts";
import { RangeServer, TransferFixture, digestsOf, noise } from "../testing/index.ts";

const MIB = 1024 * 1024;

/** Lines like those of a data set: no two alike, and compressible. */
function table(bytes: number, seed = 1): Uint8Array {
  const lines: string[] = [];
  let state = seed;
  let size = 0;
  for (let row = 0; size < bytes; row++) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    const line = `${row},sensor-${state % 37},${(state % 10_000) / 100},${state},ok\n`;
    lines.push(line);
    size += line.length;
  }
  return Buffer.from(lines.join("")).subarray(0, bytes);
}

let fixture: TransferFixture;
beforeEach(async () => {
  fixture = await TransferFixture.open();
});
afterEach(async () => {
  await fixture.close();
});

/** A stored object of the only upload. */
function stored(key: string): Uint8Array | undefined {
  const { objects } = fixture.hub.store;
  const path = [...objects.keys()].find((one) => one.endsWith(`/${key}`));
  return path === undefined ? undefined : fixture.hub.store.read(path);
}

/** The plain bytes of an encoded object, frame by frame as its manifest says. */
function decoded(key: string, manifest: ArtifactManifest): Buffer {
  const bytes = stored(`${key}.zst`) ?? new Uint8Array();
  const map = new ShardMap(manifest);
  const frames: Buffer[] = [];
  for (let shard = 0; shard < map.count; shard++) {
    const range = map.rangeOf({ first: shard, count: 1 });
    if (range.key !== `${key}.zst`) continue;
    frames.push(zstdDecompressSync(bytes.subarray(range.start, range.start + range.size)));
  }
  return Buffer.concat(frames);
}

describe("a push of compressible files", () => {
  it("stores them as frames that plain zstd reads, and leaves what is compressed alone", async () => {
    const files = {
      "big.csv": table(21 * MIB + 77),
      "noise.bin": noise(9 * MIB, 5),
      "small.csv": table(200_000, 9),
      "tiny.txt": "hello",
      "empty.csv": "",
    };
    const root = fixture.tree("in", files);
    const pushed = await fixture.push(root);
    expect(stored("big.csv")).toBeUndefined();
    const { manifest } = pushed;
    expect(decoded("big.csv", manifest).equals(files["big.csv"])).toBe(true);
    expect(decoded("small.csv", manifest).equals(files["small.csv"])).toBe(true);
    expect(stored("noise.bin")).toHaveLength(9 * MIB);
    expect(stored("tiny.txt")).toHaveLength(5);
    expect(pushed.saved.compressed).toBeGreaterThan(12 * MIB);
    expect(pushed.sentBytes).toBeLessThan(pushed.bytes - pushed.saved.compressed + 100_000);

    const pulled = await fixture.pull("out");
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(pulled.report[0]?.compressedBytes).toBe(pushed.saved.compressed);
  });

  it("has the id of the plain artifact", async () => {
    const root = fixture.tree("in", { "a.csv": table(3 * MIB) });
    const encoded = await fixture.push(root);
    const plain = await fixture.push(root, {
      compress: "never",
      purpose: { kind: "dataset", keep: true },
    });
    expect(plain.artifact).toBe(encoded.artifact);
    expect(artifactId(encoded.manifest)).toBe(encoded.artifact);
    expect(plain.saved.compressed).toBe(0);
  });

  it("compresses a pack file by file", async () => {
    const files = Object.fromEntries(
      Array.from({ length: 400 }, (_, at) => [`d/${at}.csv`, table(3000 + at * 101, at + 1)]),
    );
    const root = fixture.tree("in", { ...files, "z.csv": table(12 * MIB, 3), "d/none": "" });
    const pushed = await fixture.push(root);
    expect(pushed.saved.compressed).toBeGreaterThan(10 * MIB);
    expect(decoded("pack.bin", pushed.manifest)).toHaveLength(pushed.bytes);
    await fixture.pull("out");
    expect(fixture.out("out")).toEqual(digestsOf(root));
  });

  it("I2: goes on where it was, whatever level the parts were made at", async () => {
    const root = fixture.tree("in", { "big.csv": table(60 * MIB) });
    const stop = new AbortController();
    const onProgress = ({ bytes }: { readonly bytes: number }) => {
      if (bytes > 20 * MIB) stop.abort();
    };
    const cut = fixture.push(root, { signal: stop.signal, onProgress });
    await expect(cut).rejects.toMatchObject({ name: "AbortError" });
    const pushed = await fixture.push(root);
    expect(pushed.saved.held).toBeGreaterThan(10 * MIB);
    const size = stored("big.csv.zst")?.length ?? 0;
    // What was cut off on its way is sent twice.
    expect(fixture.hub.store.receivedBytes).toBeLessThan(size * 1.02 + 12 * MIB);
    await fixture.pull("out");
    expect(fixture.out("out")).toEqual(digestsOf(root));
  });

  it("copies frames that the room holds, and nothing where another program stored the base plainly", async () => {
    const old = table(70 * MIB);
    await fixture.push(fixture.tree("old", { "big.csv": old }));
    const changed = Buffer.from(old);
    changed.set(noise(100_000, 3), 30 * MIB);
    const root = fixture.tree("new", { "big.csv": changed });
    const pushed = await fixture.push(root);
    expect(pushed.saved.copied).toBeGreaterThan(40 * MIB);
    await fixture.pull("out");
    expect(fixture.out("out")).toEqual(digestsOf(root));
  });

  it("sends what the hub refuses to copy", async () => {
    const old = table(40 * MIB);
    await fixture.push(fixture.tree("old", { "big.csv": old }));
    fixture.hub.refuseCopy = () => true;
    const root = fixture.tree("new", { "big.csv": Buffer.concat([old, table(2 * MIB, 4)]) });
    const pushed = await fixture.push(root);
    expect(pushed.saved.copied).toBe(0);
    await fixture.pull("out");
    expect(fixture.out("out")).toEqual(digestsOf(root));
  });

  it("adopts the whole artifact without compressing it again", async () => {
    const root = fixture.tree("in", { "big.csv": table(30 * MIB), "b.csv": table(MIB, 2) });
    await fixture.push(root);
    const again = await fixture.push(root, { purpose: { kind: "dataset", keep: true } });
    expect(again.saved.identical).toBe(again.bytes);
    expect(again.sentBytes).toBe(0);
  });

  it("sends large objects plain where the store wants equal parts", async () => {
    fixture.hub.equalPartBytes = 8 * MIB;
    const root = fixture.tree("in", { "big.csv": table(20 * MIB), "small.csv": table(MIB, 2) });
    const pushed = await fixture.push(root);
    expect(Object.keys(pushed.manifest.stored ?? {})).toEqual(["small.csv.zst"]);
    expect(stored("big.csv")).toHaveLength(20 * MIB);
    await fixture.pull("out");
    expect(fixture.out("out")).toEqual(digestsOf(root));
  });

  it("of a model stays plain, for programs that read it by themselves", async () => {
    const root = fixture.tree("in", { "w.csv": table(MIB) });
    const model = decodeValue(ModelId, "a1b2c3d4", "model");
    const modelType = decodeValue(ModelType, "table", "type");
    const purpose = { kind: "model", model, modelType } as const;
    const pushed = await fixture.push(root, { purpose });
    expect(pushed.saved.compressed).toBe(0);
    expect(stored("w.csv")).toEqual(Buffer.from(readFileSync(join(root, "w.csv"))));
  });
});

describe("a pull of frames", () => {
  it("I7: takes a damaged frame for a bad shard, and fetches it again", async () => {
    const root = fixture.tree("in", { "big.csv": table(20 * MIB) });
    await fixture.push(root);
    let gets = 0;
    fixture.hub.store.fault = ({ method, key }) => {
      const isFirst = method === "GET" && key.endsWith(".zst") && gets++ === 0;
      return isFirst ? { type: "flip", at: 1000 } : undefined;
    };
    const pulled = await fixture.pull("out");
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(pulled.report[0]?.badShards).toBe(1);
  });

  it.each(["as it is stored", "plain"])("takes it from a mirror that has it %s", async (form) => {
    const csv = table(12 * MIB);
    const root = fixture.tree("in", { "big.csv": csv, "noise.bin": noise(MIB, 1) });
    await fixture.push(root);
    const encoded = stored("big.csv.zst") ?? new Uint8Array();
    const server = await new RangeServer([
      form === "plain" ? ["d/big.csv", csv] : ["d/big.csv.zst", encoded],
      ["d/noise.bin", noise(MIB, 1)],
    ]).start();
    try {
      const pulled = await fixture.pull("out", { mirrors: [`${server.url}/d`] });
      expect(fixture.out("out")).toEqual(digestsOf(root));
      expect(pulled.sources).toEqual({ http: 13 * MIB });
    } finally {
      await server.stop();
    }
  });
});
