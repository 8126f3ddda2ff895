// Parts of any size (docs/protocol/hub-api.md, rules 25 and 29): what is cut one way today is gone on with another way tomorrow.
import { artifactId, describeEncoding, manifestPieces } from "@waybill/sdk/artifact";
import { MANIFEST_KEY, type UploadPlan } from "@waybill/sdk/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import { MemoryStorage } from "../storage/memory-storage.ts";
import {
  AT_ONCE_BYTES,
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

const BIG_BYTES = 23 * UNIT_BYTES + 17;
const big = patterned(BIG_BYTES);
const tree: Tree = new Map([["big.bin", big]]);

async function setup(equalParts = false) {
  const storage = new MemoryStorage({ equalParts });
  const hub = new TestHub({ storage });
  const { client, room } = await hub.createRoom("lab");
  const pushTree = (options?: PushOptions) => push(client, storage, room, tree, options);
  return { hub, storage, client, room, pushTree };
}

/** A session of the tree, and what puts a range of its object there. */
async function open(equalParts = false) {
  const made = await setup(equalParts);
  const { client, room, storage } = made;
  const { status } = await client.call("beginUpload", { params: { room }, body: planOf(tree) });
  const params = { room, upload: status.upload };
  const put = async (part: number, size: number) => {
    const start = (part - 1) * UNIT_BYTES;
    const body = big.subarray(start, start + size);
    const toSign = { key: "big.bin", part, size: body.length, crc32: crcOf(body) };
    const signed = await client.call("signParts", { params, body: { parts: [toSign] } });
    for (const { url, headers } of signed.parts) storage.put(url, headers, body);
    return { part, crc32: toSign.crc32 };
  };
  const complete = async (parts: readonly { part: number; crc32: string }[]) => {
    const { status: now } = { status: await client.call("showUpload", { params }) };
    if (now.objects.every(({ key }) => key !== MANIFEST_KEY)) {
      await putAtOnce(client, storage, params, MANIFEST_KEY, manifestBytes(tree));
    }
    const artifact = artifactId(manifestOf(tree));
    const objects = [{ key: "big.bin", parts: [...parts] }];
    return client.call("completeUpload", { params, body: { artifact, objects } });
  };
  const stored = () =>
    storage.uploads.bucket.peek(`lab/${status.upload}/big.bin`) ?? new Uint8Array();
  return { ...made, status, params, put, complete, stored };
}

const MIB = UNIT_BYTES;
const REST = 17;

describe("parts of any size", () => {
  it("grow with the link, and tile the object by their numbers", async () => {
    const { put, complete, stored } = await open();
    const parts = [await put(1, 5 * MIB), await put(6, 8 * MIB), await put(14, 10 * MIB + REST)];
    await complete(parts);
    expect(Buffer.compare(stored(), big)).toBe(0);
  });

  it("that an earlier run has cut otherwise are used, and what overlaps is left out (I2)", async () => {
    const { put, complete, client, params, stored } = await open();
    const first = await put(1, 6 * MIB);
    await put(7, 6 * MIB);
    const late = await put(13, 11 * MIB + REST);
    // The next run goes on behind part 1 in one stride up to part 13.
    const joined = [first, await put(7, 6 * MIB), late];
    await put(3, 7 * MIB);
    const { objects } = await client.call("showUpload", { params });
    expect(objects[0]?.parts.map(({ part, size }) => [part, size])).toEqual([
      [1, 6 * MIB],
      [3, 7 * MIB],
      [7, 6 * MIB],
      [13, 11 * MIB + REST],
    ]);
    await complete(joined);
    expect(Buffer.compare(stored(), big)).toBe(0);
  });

  it("are refused at completion where a hole or an overlap is, and the session stays open", async () => {
    const { put, complete, stored } = await open();
    const one = await put(1, 5 * MIB);
    const six = await put(6, 9 * MIB);
    const twelve = await put(12, 12 * MIB + REST);
    const fifteen = await put(15, 9 * MIB + REST);
    const conflict = { code: "conflict" };
    await expect(complete([one, twelve])).rejects.toMatchObject(conflict);
    await expect(complete([one, six, twelve])).rejects.toMatchObject(conflict);
    await expect(complete([six, fifteen])).rejects.toMatchObject(conflict);
    await expect(complete([one, six])).rejects.toMatchObject(conflict);
    await expect(complete([six, one, fifteen])).rejects.toMatchObject(conflict);
    await expect(complete([])).rejects.toMatchObject(conflict);
    await complete([one, six, fifteen]);
    expect(Buffer.compare(stored(), big)).toBe(0);
  });

  it("are signed only within the rule", async () => {
    const { client, params } = await open();
    const sign = (part: number, size: number) =>
      client.call("signParts", {
        params,
        body: { parts: [{ key: "big.bin", part, size, crc32: "AAAAAA==" }] },
      });
    for (const [part, size] of [
      [1, 4 * MIB],
      [1, 5 * MIB + 1],
      [20, 5 * MIB],
      [24, 18],
      [25, 1],
    ] as const) {
      await expect(sign(part, size), `${part}: ${size}`).rejects.toMatchObject({
        code: "invalid_request",
      });
    }
    await expect(sign(1, BIG_BYTES)).resolves.toBeDefined();
    await expect(sign(24, REST)).resolves.toBeDefined();
  });

  it("make the object whatever the cuts of two runs are", async () => {
    const cuts = fc.array(fc.integer({ min: 5, max: 9 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(cuts, fc.integer({ min: 5, max: 12 }), async (sizes, later) => {
        const { put, pushTree, storage } = await open();
        let part = 1;
        for (const units of sizes) {
          if (part + units + 5 > 23) break;
          await put(part, units * MIB);
          part += units;
        }
        const { record } = await pushTree({ partBytes: later * MIB });
        const key = `${record.s3Path.slice(record.s3Path.indexOf("/") + 1)}big.bin`;
        const stored = storage.uploads.bucket.peek(key) ?? new Uint8Array();
        expect(Buffer.compare(stored, big)).toBe(0);
      }),
      { numRuns: 8 },
    );
  });

  it("of an object that a completion had joined before it was cut off are compared with the whole", async () => {
    const { put, complete, storage, stored } = await open();
    const parts = [await put(1, 5 * MIB), await put(6, 8 * MIB), await put(14, 10 * MIB + REST)];
    const killed = () =>
      storage.interceptBy((operation, key) => {
        if (operation === "put" && key.includes("/sessions/")) throw new Error("hub killed");
      });
    killed();
    await expect(complete(parts)).rejects.toMatchObject({ code: "internal" });
    storage.interceptBy(() => {});
    expect(Buffer.compare(stored(), big)).toBe(0);
    const wrong = parts.map(({ part, crc32 }) => ({
      part,
      crc32: part === 6 ? "AAAAAA==" : crc32,
    }));
    await expect(complete(wrong)).rejects.toMatchObject({ code: "digest_mismatch" });
  });

  it("of an object that was joined are found right when the completion is repeated", async () => {
    const { put, complete, storage } = await open();
    const parts = [await put(1, 5 * MIB), await put(6, 8 * MIB), await put(14, 10 * MIB + REST)];
    let deaths = 0;
    storage.interceptBy((operation, key) => {
      if (operation !== "put" || !key.includes("/sessions/") || deaths > 0) return;
      deaths += 1;
      throw new Error("hub killed");
    });
    await expect(complete(parts)).rejects.toMatchObject({ code: "internal" });
    expect(deaths).toBe(1);
    await expect(complete(parts)).resolves.toMatchObject({ bytes: BIG_BYTES });
  });

  it("need a larger unit where an object would have more than 10,000", async () => {
    const { client, room } = await setup();
    const size = 20_000 * MIB;
    const plan = { ...planOf(tree), bytes: size, objects: [{ key: "big.bin", size }] };
    const begin = (unitBytes: number) =>
      client.call("beginUpload", { params: { room }, body: { ...plan, unitBytes } });
    await expect(begin(MIB)).rejects.toMatchObject({ code: "invalid_request" });
    expect((await begin(2 * MIB)).status.unitBytes).toBe(2 * MIB);
  });
});

describe("a store that wants equal parts", () => {
  it("makes units of 8 MiB, so that parts are numbered 1, 2, 3", async () => {
    const { pushTree, storage } = await setup(true);
    const { sent, record } = await pushTree();
    expect(sent).toEqual(["big.bin#1", "big.bin#2", "big.bin#3", `${MANIFEST_KEY}#0`]);
    const key = `${record.s3Path.slice(record.s3Path.indexOf("/") + 1)}big.bin`;
    const stored = storage.uploads.bucket.peek(key) ?? new Uint8Array();
    expect(Buffer.compare(stored, big)).toBe(0);
  });

  it("tells the session's rule, refuses other sizes, and takes no encoded parts", async () => {
    const { client, room } = await setup(true);
    const plan: UploadPlan = {
      ...planOf(tree),
      bytes: BIG_BYTES + 5,
      objects: [
        { key: "big.bin.zst", size: BIG_BYTES, encoding: "zstd" },
        { key: "small.zst", size: 5, encoding: "zstd" },
      ],
    };
    const { status } = await client.call("beginUpload", { params: { room }, body: plan });
    const equalPartBytes = 8 * MIB;
    expect(status).toMatchObject({ partRule: "equal", equalPartBytes, unitBytes: equalPartBytes });
    expect(status.objects).toMatchObject([
      { key: "big.bin", size: BIG_BYTES },
      { key: "small.zst", size: 5, encoding: "zstd" },
    ]);
    const sign = (part: number, size: number) =>
      client.call("signParts", {
        params: { room, upload: status.upload },
        body: { parts: [{ key: "big.bin", part, size, crc32: "AAAAAA==" }] },
      });
    await expect(sign(1, 16 * MIB)).rejects.toMatchObject({ code: "invalid_request" });
    await expect(sign(1, 5 * MIB)).rejects.toMatchObject({ code: "invalid_request" });
    await expect(sign(2, equalPartBytes)).resolves.toBeDefined();
    await expect(sign(3, 7 * MIB + REST)).resolves.toBeDefined();
  });
});

describe("an encoded object", () => {
  // One frame for each shard of 1 MiB; the last shard has 17 bytes.
  const encodedFrames = Array.from({ length: 24 }, (_, at) => (at < 23 ? 400_000 + at * 1000 : 30));
  const stored = patterned(
    encodedFrames.reduce((sum, bytes) => sum + bytes, 0),
    3,
  );
  const smallFrame = patterned(40, 4);
  const frameStart = (frame: number) =>
    encodedFrames.slice(0, frame).reduce((sum, bytes) => sum + bytes, 0);
  const encodedTree: Tree = new Map([...tree, ["small.txt", patterned(100)]]);
  const manifest = {
    ...manifestOf(encodedTree),
    stored: {
      "big.bin.zst": describeEncoding("big.bin", encodedFrames),
      "small.txt.zst": describeEncoding("small.txt", [40]),
    },
  };
  const plan: UploadPlan = {
    ...planOf(encodedTree),
    objects: [
      { key: "big.bin.zst", size: BIG_BYTES, encoding: "zstd" },
      { key: "small.txt.zst", size: 100, encoding: "zstd" },
    ],
  };

  async function openEncoded() {
    const { client, room, storage } = await setup();
    const { status } = await client.call("beginUpload", { params: { room }, body: plan });
    const params = { room, upload: status.upload };
    const put = async (part: number, from: number, to: number) => {
      const body = stored.subarray(frameStart(from), frameStart(to));
      const toSign = { key: "big.bin.zst", part, size: body.length, crc32: crcOf(body) };
      const signed = await client.call("signParts", { params, body: { parts: [toSign] } });
      for (const { url, headers } of signed.parts) storage.put(url, headers, body);
      return { part, crc32: toSign.crc32 };
    };
    const complete = (parts: readonly { part: number; crc32: string }[]) =>
      client.call("completeUpload", {
        params,
        body: {
          artifact: artifactId(manifest),
          objects: [{ key: "big.bin.zst", parts: [...parts] }],
        },
      });
    const putText = Buffer.concat([...manifestPieces(manifest)]);
    await putAtOnce(client, storage, params, MANIFEST_KEY, putText);
    return { client, storage, params, put, complete };
  }

  it("has parts that begin with the frame of their place, and the bytes of its frames in all", async () => {
    const { client, storage, params, put, complete } = await openEncoded();
    await putAtOnce(client, storage, params, "small.txt.zst", smallFrame);
    const parts = [await put(1, 0, 13), await put(14, 13, 24)];
    const status = await client.call("showUpload", { params });
    expect(status.objects[1]).toMatchObject({ size: 100, storedBytes: 40, done: true });
    const record = await complete(parts);
    expect(record.bytes).toBe(BIG_BYTES + 100);
    const key = `${record.s3Path.slice(record.s3Path.indexOf("/") + 1)}big.bin.zst`;
    const joined = storage.uploads.bucket.peek(key) ?? new Uint8Array();
    expect(Buffer.compare(joined, stored)).toBe(0);
  });

  it("is refused where parts are not the frames that the manifest names", async () => {
    const { client, storage, params, put, complete } = await openEncoded();
    await putAtOnce(client, storage, params, "small.txt.zst", smallFrame);
    const first = await put(1, 0, 13);
    const short = await put(15, 14, 24);
    await expect(complete([first, short])).rejects.toMatchObject({ code: "conflict" });
    const wrong = await put(14, 12, 24);
    await expect(complete([first, wrong])).rejects.toMatchObject({ code: "conflict" });
    const right = await put(14, 13, 24);
    await expect(complete([first, right])).resolves.toBeDefined();
  });

  it("that is put at once is refused with another size than its frames'", async () => {
    const { client, storage, params, put, complete } = await openEncoded();
    await putAtOnce(client, storage, params, "small.txt.zst", smallFrame.subarray(1));
    const parts = [await put(1, 0, 13), await put(14, 13, 24)];
    await expect(complete(parts)).rejects.toMatchObject({ code: "digest_mismatch" });
  });
});

it("an object of 8 MiB is put at once, one byte more is sent in parts", async () => {
  const { client, storage, room } = await setup();
  for (const [bytes, first] of [
    [AT_ONCE_BYTES, "a#0"],
    [AT_ONCE_BYTES + 1, "a#1"],
  ] as const) {
    const { sent } = await push(client, storage, room, new Map([["a", patterned(bytes)]]));
    expect(sent[0]).toBe(first);
  }
});
