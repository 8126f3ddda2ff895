import type { copyFile } from "node:fs/promises";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { stageCheckpoint } from "./checkpoint-stage.ts";

/** Told of every file whose copy has just been made. */
const copied = vi.hoisted(() => vi.fn<(name: string) => Promise<void>>());

vi.mock("node:fs/promises", async (original) => {
  const real = await original<{ copyFile: typeof copyFile }>();
  const copy: typeof copyFile = async (from, to, mode) => {
    await real.copyFile(from, to, mode);
    await copied(basename(String(from)));
  };
  return { ...real, copyFile: copy };
});

let dir: string;
let source: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-stage-"));
  source = join(dir, "work", "ckpt");
  await mkdir(join(source, "inner"), { recursive: true });
  for (const name of ["a", "inner/b", "c"]) await writeFile(join(source, name), `${name} 1`);
});

afterEach(async () => {
  copied.mockReset();
  await rm(dir, { recursive: true, force: true });
});

const stage = () => {
  const init = { dir: join(dir, "staged"), roots: [join(dir, "work")], minFreeBytes: 0 };
  return stageCheckpoint({ ...init, freeBytes: async () => 1e12 }, 1, "ckpt", { epoch: 1 });
};

describe("a copy of a checkpoint", () => {
  it("has all its files as they were", async () => {
    const { files } = await stage();
    expect((await readdir(files, { recursive: true })).sort()).toEqual([
      "a",
      "c",
      "inner",
      "inner/b",
    ]);
    expect(await readFile(join(files, "inner/b"), "utf8")).toBe("inner/b 1");
  });

  it("is not kept when a file is written over after it was copied", async () => {
    const names: string[] = [];
    copied.mockImplementation(async (name) => {
      names.push(name);
      // The trainer saves its next checkpoint to the same place: the first copy is of the one before.
      if (names.length > 1) return;
      for (const one of ["a", "inner/b", "c"]) await writeFile(join(source, one), `${one} two`);
    });
    await expect(stage()).rejects.toMatchObject({ code: "source_changed" });
    expect(await readdir(join(dir, "staged"))).toEqual([]);
  });

  it("is not kept when a file comes or goes meanwhile", async () => {
    copied.mockImplementationOnce(() => writeFile(join(source, "d"), "late"));
    await expect(stage()).rejects.toMatchObject({ code: "source_changed" });
    copied.mockImplementation(async (name) => {
      if (name === "c") await rm(join(source, "a"), { force: true });
    });
    await expect(stage()).rejects.toThrow(/written over|ENOENT/);
  });
});
