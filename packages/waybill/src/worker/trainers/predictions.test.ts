import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "@waybill/sdk/protocol";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readPredictionFile } from "./prediction-file.ts";
import { Predictions, slicesOf } from "./predictions.ts";
import { listThumbnails } from "./thumbnails.ts";

const kept = (rows: readonly unknown[]) => {
  const found = new Predictions();
  for (const row of rows) found.add(row);
  return found.kept;
};
const numbered = (count: number) => Array.from({ length: count }, (_, frame) => ({ frame }));

let output: string;
beforeEach(async () => {
  output = await mkdtemp(join(tmpdir(), "waybill-output-"));
});
afterEach(() => rm(output, { recursive: true }));
const left = (name: string, text: string) => writeFile(join(output, name), text);

describe("predictions", () => {
  it("are the first hundred rows", () => {
    expect(kept(numbered(100))).toMatchObject({ leftOut: 0, more: false });
    expect(kept(numbered(101))).toEqual({ rows: numbered(100), leftOut: 0, more: true });
    expect(kept([])).toBeUndefined();
  });

  it("leave out a row of more than 6 KiB, and end at 128 KiB", () => {
    const row = { text: "x".repeat(5000) };
    expect(kept([{ text: "x".repeat(7000) }, row])).toEqual({
      rows: [row],
      leftOut: 1,
      more: false,
    });
    const many = kept(Array.from({ length: 100 }, () => row));
    expect(many?.rows).toHaveLength(Math.floor((128 * 1024) / 5012));
    expect(many?.more).toBe(true);
  });

  it("are told in events that are never cut", () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ i, text: "ü".repeat(1500) }));
    const slices = slicesOf(rows);
    expect(slices.flatMap((slice) => slice.rows)).toEqual(rows);
    for (const { first, rows: some } of slices) {
      expect(some[0]).toEqual(rows[first]);
      expect(Buffer.byteLength(JSON.stringify(some))).toBeLessThan(LIMITS.eventBytes - 1024);
    }
  });
});

describe("predictions that a trainer left", () => {
  it("are an array, an object with one, or lines; NaN is a text, as everywhere", async () => {
    expect(await readPredictionFile(output)).toBeUndefined();
    await left("predictions.json", `[{"x": NaN}, 2]`);
    expect(await readPredictionFile(output)).toMatchObject({ rows: [{ x: "NaN" }, 2] });
    await left("predictions.json", `{"model": "a", "predictions": [1, 2, 3]}`);
    expect(await readPredictionFile(output)).toMatchObject({ rows: [1, 2, 3] });
    await left("predictions.jsonl", `{"x": 1}\n\nnot json\n{"x": 2}`);
    expect(await readPredictionFile(output)).toEqual({
      rows: [{ x: 1 }, { x: 2 }],
      leftOut: 1,
      more: false,
    });
  });

  it("are read from the beginning of a long file of lines, and of a long array not at all", async () => {
    const line = `${JSON.stringify({ text: "x".repeat(1000) })}\n`;
    await left("predictions.jsonl", line.repeat(5000));
    expect(await readPredictionFile(output)).toMatchObject({ more: true });
    await rm(join(output, "predictions.jsonl"));
    await left("predictions.json", `[${"1,".repeat(5_000_000)}1]`);
    await expect(readPredictionFile(output)).rejects.toThrow(/write predictions.jsonl/);
    await left("predictions.json", `{"rows": []}`);
    await expect(readPredictionFile(output)).rejects.toThrow(/no array/);
  });

  it("are a file, and no link to one elsewhere", async () => {
    await symlink("/etc/hostname", join(output, "predictions.jsonl"));
    await expect(readPredictionFile(output)).rejects.toThrow(/not a file/);
  });
});

describe("thumbnails", () => {
  it("are the first hundred images of the folder, by their numbers", async () => {
    expect(await listThumbnails(output)).toEqual({ files: [], leftOut: 0 });
    await mkdir(join(output, "thumbnails"));
    for (let i = 1; i <= 101; i++) await left(`thumbnails/${i}.png`, "image");
    await left("thumbnails/notes.txt", "none");
    const { files, leftOut } = await listThumbnails(output);
    expect(files.slice(0, 3)).toEqual([1, 2, 3].map((i) => `thumbnails/${i}.png`));
    expect([files.length, leftOut]).toEqual([100, 1]);
  });

  it("leave out what is larger than a sample may be", async () => {
    await mkdir(join(output, "thumbnails"));
    await left("thumbnails/a.png", "x".repeat(LIMITS.sampleBytes + 1));
    await left("thumbnails/b.png", "image");
    expect(await listThumbnails(output)).toEqual({ files: ["thumbnails/b.png"], leftOut: 1 });
  });
});
