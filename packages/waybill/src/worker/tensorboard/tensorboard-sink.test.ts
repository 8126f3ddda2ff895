import { appendFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { JobEvent } from "@waybill/sdk/protocol";
import { crc32c, maskedCrc32c } from "./crc32c.ts";
import { encodeFileVersion, encodeScalars } from "./event-message.ts";
import { countRecords, encodeRecord } from "./records.ts";
import { pointOf } from "./scalars.ts";
import { TensorBoardSink } from "./tensorboard-sink.ts";

describe("TensorBoard's records", () => {
  it("carry masked CRC-32C", () => {
    // RFC 3720, appendix B.4.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(maskedCrc32c(Buffer.from("123456789"))).not.toBe(0xe3069283);
  });

  it("are the bytes TensorFlow writes", () => {
    // Of `tensorboard.summary.writer`, for these very values.
    expect(encodeRecord(encodeFileVersion(1_700_000_000)).toString("hex")).toBe(GOLDEN.version);
    const scalars = [
      { tag: "loss", value: 0.5 },
      { tag: "val/acc", value: 1 },
    ];
    expect(encodeRecord(encodeScalars(1_700_000_000.5, 300, scalars)).toString("hex")).toBe(
      GOLDEN.scalars,
    );
  });

  it("are counted up to the first that is torn or broken", () => {
    const one = encodeRecord(Buffer.from("abc"));
    const two = Buffer.concat([one, one]);
    expect(countRecords(two)).toEqual({ records: 2, bytes: two.length });
    expect(countRecords(two.subarray(0, -1))).toEqual({ records: 1, bytes: one.length });
    const broken = Buffer.from(two);
    broken[one.length + 13] = 0;
    expect(countRecords(broken)).toEqual({ records: 1, bytes: one.length });
    expect(countRecords(Buffer.alloc(0))).toEqual({ records: 0, bytes: 0 });
  });
});

describe("a metric as scalars", () => {
  it("goes over its step, else over its epoch; a batch over the order of metrics, apart", () => {
    expect(pointOf({ epoch: 2, epochs: 9, step: 40, loss: 1 }, 7)).toEqual({
      step: 40,
      scalars: [{ tag: "loss", value: 1 }],
    });
    expect(pointOf({ epoch: 2, loss: "NaN", name: "x" }, 7)).toEqual({
      step: 2,
      scalars: [{ tag: "loss", value: Number.NaN }],
    });
    expect(pointOf({ what: "centroid", epoch: 2, batch: 3, loss: 1 }, 7)).toEqual({
      step: 7,
      scalars: [{ tag: "centroid/batch/loss", value: 1 }],
    });
    expect(pointOf({ epoch: 2, batch: 3 }, 7)).toBeUndefined();
  });
});

describe("TensorBoard's files", () => {
  let dir = "";
  let output = "";
  let events: JobEvent[] = [];
  const listeners = new Set<() => void>();

  beforeEach(async () => {
    const root = await mkdtemp(join(tmpdir(), "waybill-tb-"));
    dir = join(root, "tensorboard");
    output = join(root, "output");
    await mkdir(output);
    events = [];
  });

  afterEach(async () => {
    await rm(join(dir, ".."), { recursive: true });
  });

  const log = {
    firstSeq: 1,
    read: async (since: number, limit: number) =>
      Promise.resolve(events.slice(since, since + limit)),
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const onFailed = (error: unknown): never => {
    throw error;
  };
  const sink = () => new TensorBoardSink({ dir, output, log, writeMs: 1, onFailed });

  function happen(...some: Record<string, unknown>[]): void {
    for (const data of some) {
      const time = new Date(1_700_000_000_000 + events.length * 1000).toISOString();
      events.push({ seq: events.length + 1, time, attempt: 1, type: "metric", data });
    }
    for (const listener of listeners) listener();
  }

  async function records(): Promise<number[]> {
    const names = (await readdir(dir)).sort();
    const files = await Promise.all(names.map((name) => readFile(join(dir, name))));
    return files.map((bytes) => countRecords(bytes).records);
  }

  it("are written while the trainer runs", async () => {
    const one = sink();
    await one.start();
    happen({ epoch: 0, loss: 1 });
    await vi.waitFor(async () => expect(await records()).toEqual([2]), { timeout: 5000 });
    await one.stop();
    expect(await readdir(dir)).toEqual(["events.out.tfevents.1700000000.waybill.0001"]);
  });

  it("go on in a new file after a crash, with no step again, a torn record cut off", async () => {
    const first = sink();
    await first.start();
    happen({ epoch: 0, loss: 1 }, { note: "no number" }, { epoch: 1, loss: 0.5 });
    await first.finish();
    const [name = ""] = await readdir(dir);
    const whole = await readFile(join(dir, name));
    await appendFile(join(dir, name), encodeRecord(Buffer.from("abc")).subarray(0, 9));
    happen({ epoch: 2, loss: 0.25 });
    const second = sink();
    await second.start();
    await second.finish();
    expect(await readFile(join(dir, name))).toEqual(whole);
    expect(await records()).toEqual([3, 2]);
  });

  it("are put beside a model, and make none by themselves", async () => {
    const one = sink();
    await one.start();
    happen({ epoch: 0, loss: 1 });
    await one.finish();
    expect(await readdir(output)).toEqual([]);
    await writeFile(join(output, "model.bin"), "weights");
    await one.finish();
    expect(await readdir(join(output, "tensorboard"))).toEqual(await readdir(dir));
  });
});

const GOLDEN = {
  version: "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d",
  scalars:
    "2b00000000000000861bc34b0900002040fc54d94110ac022a1d0a0b0a046c6f7373150000003f0a0e0a0776616c2f616363150000803f58f46eee",
};
