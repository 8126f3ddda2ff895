import { chmod, mkdir, mkdtemp, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { removeTree } from "../data-dir/data-dir.ts";
import { type FileCalls, layOutTree } from "./lay-out-tree.ts";

let dir: string;
let from: string;
let to: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-layout-"));
  from = join(dir, "cached");
  to = join(dir, "job");
  await mkdir(join(from, "sub"), { recursive: true });
  for (const name of ["a", "b", "sub/c"]) {
    await writeFile(join(from, name), name);
    await chmod(join(from, name), 0o444);
  }
  await chmod(from, 0o555);
});

afterEach(async () => {
  await removeTree(dir);
});

const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
const noReflink: Partial<FileCalls> = { reflink: failing("ENOTSUP") };
const init = { minFreeBytes: 0 };

describe("a job's tree of what is cached", () => {
  it("is made of hard links where there are no reflinks, in folders of the job's own", async () => {
    const { dir: at, links, copies } = await layOutTree({ ...init, from, to, calls: noReflink });
    expect([at, links, copies]).toEqual([to, 3, 0]);
    expect((await stat(join(to, "sub/c"))).ino).toBe((await stat(join(from, "sub/c"))).ino);
    expect((await stat(join(to, "a"))).mode & 0o222).toBe(0);
    await writeFile(join(to, "index.cache"), "the trainer's own");
    expect(await readdir(from)).not.toContain("index.cache");
  });

  it("takes reflinks first, and asks no second file once one failed", async () => {
    let asked = 0;
    const reflink = async () => {
      asked += 1;
      return failing("ENOTSUP")();
    };
    await layOutTree({ ...init, from, to, calls: { reflink } });
    expect(asked).toBe(1);
    const done = async () => undefined;
    const all = await layOutTree({ ...init, from, to: join(dir, "2"), calls: { reflink: done } });
    expect(all).toMatchObject({ reflinks: 3, links: 0, copies: 0 });
  });

  it.each(["EXDEV", "EMLINK", "EPERM"])("copies what cannot be linked (%s)", async (code) => {
    const calls = { ...noReflink, link: failing(code) };
    const { links, copies } = await layOutTree({ ...init, from, to, calls });
    expect([links, copies]).toEqual([0, 3]);
    expect(await readFile(join(to, "sub/c"), "utf8")).toBe("sub/c");
    expect((await stat(join(to, "a"))).ino).not.toBe((await stat(join(from, "a"))).ino);
  });

  it("is the cached tree itself when copies would fill the disk", async () => {
    const calls = { ...noReflink, link: failing("EXDEV") };
    const minFreeBytes = Number.MAX_SAFE_INTEGER;
    expect((await layOutTree({ from, to, minFreeBytes, calls })).dir).toBe(from);
  });

  it("hides no other error", async () => {
    const calls = { ...noReflink, link: failing("EIO") };
    await expect(layOutTree({ ...init, from, to, calls })).rejects.toThrow("EIO");
  });
});
