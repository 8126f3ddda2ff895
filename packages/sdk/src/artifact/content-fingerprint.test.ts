import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { array, assert, integer, property } from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { UploadPurpose } from "../protocol/index.ts";
import { type PushIdentity, contentFingerprint, contentSamples, scanTree } from "./index.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const DATASET: UploadPurpose = { kind: "dataset", keep: false };
let base: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "waybill-fingerprint-"));
});

afterEach(() => {
  rmSync(base, { recursive: true, force: true });
});

function tree(name: string, entries: Record<string, string | Uint8Array>): string {
  for (const [path, content] of Object.entries(entries)) {
    mkdirSync(dirname(join(base, name, path)), { recursive: true });
    writeFileSync(join(base, name, path), content);
  }
  return join(base, name);
}

const fingerprint = async (
  root: string,
  identity: PushIdentity = { purpose: DATASET, salt: "" },
): Promise<string> => contentFingerprint(await scanTree(root), identity);

describe("the samples of a tree", () => {
  const files = (sizes: readonly number[]) => sizes.map((size, at) => ({ path: `f${at}`, size }));

  it("are all of a small one", () => {
    expect(contentSamples(files([10, 0, 5 * MIB]))).toEqual([
      { file: 0, offset: 0, size: 10 },
      { file: 2, offset: 0, size: 5 * MIB },
    ]);
  });

  it("lie within the files, in order and apart, and are bounded in bytes and files", () => {
    const size = integer({ min: 0, max: 20 * MIB });
    assert(
      property(array(size, { minLength: 1, maxLength: 400 }), (sizes) => {
        const blocks = contentSamples(files(sizes));
        let before = { file: -1, end: 0 };
        for (const { file, offset, size: bytes } of blocks) {
          expect(bytes).toBeGreaterThan(0);
          expect(offset + bytes).toBeLessThanOrEqual(sizes[file] ?? 0);
          const isAfter = file > before.file || (file === before.file && offset > before.end);
          expect(isAfter).toBe(true);
          before = { file, end: offset + bytes };
        }
        const bytes = blocks.reduce((sum, block) => sum + block.size, 0);
        expect(bytes).toBeLessThanOrEqual(8 * MIB);
      }),
      { numRuns: 50 },
    );
  });

  it("touch few of very many files, and beginning and end of the biggest", () => {
    const sizes = Array.from({ length: 100_000 }, (_, at) => 2 * KIB + ((at * 7919) % (18 * KIB)));
    sizes[77_777] = 300 * MIB;
    const blocks = contentSamples(files(sizes));
    expect(new Set(blocks.map((block) => block.file)).size).toBeLessThanOrEqual(256 + 64);
    const ofBiggest = blocks.filter((block) => block.file === 77_777);
    expect(ofBiggest[0]?.offset).toBe(0);
    expect((ofBiggest.at(-1)?.offset ?? 0) + (ofBiggest.at(-1)?.size ?? 0)).toBe(300 * MIB);
  });

  it("do not open every one of many tiny files", () => {
    const blocks = contentSamples(files(Array.from({ length: 50_000 }, () => 10)));
    expect(blocks.length).toBeLessThanOrEqual(256 + 64);
  });
});

describe("the fingerprint of a push", () => {
  const entries = { "a/x.bin": new Uint8Array(9 * MIB).fill(7), "b.txt": "hello", empty: "" };

  it("is the same on another machine, at another time, in another folder", async () => {
    const here = tree("here", entries);
    const there = join(base, "there");
    cpSync(here, there, { recursive: true });
    utimesSync(join(there, "b.txt"), 1, 1);
    expect(await fingerprint(there)).toBe(await fingerprint(here));
  });

  it("is another for another path, size, executable bit, sampled content, purpose or salt", async () => {
    const root = tree("root", entries);
    const seen = new Set([await fingerprint(root)]);
    const note = async (value: Promise<string>) => {
      seen.add(await value);
    };
    await note(fingerprint(root, { purpose: { kind: "dataset", keep: true }, salt: "" }));
    await note(fingerprint(root, { purpose: DATASET, salt: "again" }));
    await note(fingerprint(tree("moved", { ...entries, "b.txt": "", c: "hello" })));
    await note(fingerprint(tree("edited", { ...entries, "b.txt": "hullo" })));
    appendFileSync(join(root, "b.txt"), "!");
    await note(fingerprint(root));
    expect(seen.size).toBe(6);
  });

  it("is the same for any order of a purpose's members", async () => {
    const root = tree("root", entries);
    const swapped = JSON.parse('{"keep":false,"kind":"dataset"}') as UploadPurpose;
    expect(await fingerprint(root, { purpose: swapped, salt: "" })).toBe(await fingerprint(root));
  });

  it("is the published one", async () => {
    const root = tree("root", { "a.txt": "abc", "b/c": "" });
    expect(await fingerprint(root)).toBe(PUBLISHED);
  });

  it("is not made of a file that became shorter", async () => {
    const root = tree("root", entries);
    const scan = await scanTree(root);
    truncateSync(join(root, "a/x.bin"), 10);
    const failing = contentFingerprint(scan, { purpose: DATASET, salt: "" });
    await expect(failing).rejects.toMatchObject({ code: "source_changed" });
  });
});

/** b3sum of: waybill-push 1⏎["dataset",false,""]⏎["a.txt",3,false]⏎["b/c",0,false]⏎[0,0,3]⏎abc */
const PUBLISHED = "33f25026fc4b956f499a22d58305adbafae2eacfab61d9b2ddbd5c2f7f2fd17c";
