import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { files } from "./files.node.ts";
import { openDirect, openFile } from "./open-file.node.ts";
import { allocatePages, beginsOnPage } from "./page-memory.node.ts";

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waybill-open-"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function pagesOf(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const [memory = new Uint8Array()] = allocatePages(bytes, 1);
  for (let at = 0; at < bytes; at++) memory[at] = (at * seed) >> 3;
  return memory;
}

describe("page memory", () => {
  it("begins on pages, each buffer on its own", () => {
    const buffers = allocatePages(5000, 3);
    expect(buffers.map((one) => one.length)).toEqual([5000, 5000, 5000]);
    expect(buffers.every(beginsOnPage)).toBe(true);
    for (const [at, one] of buffers.entries()) one.fill(at + 1);
    expect(buffers.map((one) => one[4999])).toEqual([1, 2, 3]);
    expect(beginsOnPage(buffers[0]?.subarray(1) ?? new Uint8Array())).toBe(false);
    expect(beginsOnPage(new Uint8Array(8192))).toBe(false);
  });
});

describe("a file written directly", () => {
  it("holds whole pages, their rest and unaligned pieces, whoever wrote them", async () => {
    const path = join(dir, "x");
    const bytes = pagesOf(40_000, 31);
    const file = await files.open(path, "write-direct");
    await file.resize(40_000);
    await file.write(bytes.subarray(0, 20_480), 0);
    await file.write(Buffer.from(bytes.subarray(20_480, 24_576)), 20_480);
    await file.write(bytes.subarray(24_576), 24_576);
    await file.write(bytes.subarray(100, 9000), 100);
    await file.sync();
    const back = new Uint8Array(40_000);
    expect(await file.read(back, 0)).toBe(40_000);
    await file.close();
    expect(Buffer.from(back).equals(bytes)).toBe(true);
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  it("goes through the page cache where the file system refuses direct writes", async () => {
    const path = join(dir, "x");
    writeFileSync(path, "");
    let refused = 0;
    const refusing = {
      write: async () => {
        refused += 1;
        throw Object.assign(new Error("invalid argument"), { code: "EINVAL" });
      },
      close: async () => undefined,
    };
    const bytes = pagesOf(8192, 7);
    const file = openFile(path, await open(path, "r+"), refusing);
    await file.write(bytes, 0);
    await file.write(bytes, 8192);
    await file.close();
    expect(refused).toBe(1);
    expect(readFileSync(path).equals(Buffer.concat([bytes, bytes]))).toBe(true);
  });

  it("reports a full disk from a direct write, too", async () => {
    const path = join(dir, "x");
    writeFileSync(path, "");
    const full = {
      write: async () => {
        throw Object.assign(new Error("no space"), { code: "ENOSPC" });
      },
      close: async () => undefined,
    };
    const file = openFile(path, await open(path, "r+"), full);
    await expect(file.write(pagesOf(4096, 3), 0)).rejects.toMatchObject({ code: "storage_full" });
    await file.close();
  });

  it("is opened directly on the disk of this machine", async ({ skip }) => {
    const path = join(dir, "x");
    writeFileSync(path, "");
    const handle = await openDirect(path);
    skip(handle === undefined, "the file system of the temporary folder has no direct writes");
    const written = await handle?.write(pagesOf(4096, 3), 0, 4096, 0);
    await handle?.close();
    expect(written?.bytesWritten).toBe(4096);
  });
});
