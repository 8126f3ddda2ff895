import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDataDir } from "./data-dir.ts";

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-data-"));
});

afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

describe("a worker's data directory", () => {
  it("belongs to one daemon at a time", async () => {
    const first = await openDataDir(dir, "desktop");
    await expect(openDataDir(dir, "desktop")).rejects.toMatchObject({ code: "conflict" });
    await first.close();
    const second = await openDataDir(dir, "desktop");
    expect(second.instance).toBe(first.instance);
    await second.close();
  });

  it("is taken over from a daemon that was killed, also when its process id lives again", async () => {
    const child = spawn("sleep", ["60"]);
    const holder = { host: hostname(), pid: child.pid, started: "before" };
    await writeFile(join(dir, "worker.lock"), JSON.stringify(holder));
    const taken = await openDataDir(dir, "desktop");
    child.kill();
    expect(taken.path).toBe(dir);
    await taken.close();
  });

  it("belongs to the holder on another machine while that touches its lock", async () => {
    const holder = { host: "elsewhere", pid: 1, started: "then" };
    await writeFile(join(dir, "worker.lock"), JSON.stringify(holder));
    await expect(openDataDir(dir, "shared")).rejects.toThrow(/process id 1 on elsewhere/);
  });

  it("lets one of many that start at once have it", async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, () => openDataDir(dir, "desktop")),
    );
    const got = results.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(got).toHaveLength(1);
    await got[0]?.close();
  });

  it("keeps an ephemeral worker's cache for its session only", async () => {
    await mkdir(join(dir, "session-1/cache"), { recursive: true });
    const data = await openDataDir(dir, "ephemeral");
    expect((await readdir(dir)).filter((name) => name.startsWith("session-"))).toEqual([
      `session-${process.pid}`,
    ]);
    expect((await stat(data.cacheDir)).isDirectory()).toBe(true);
    await data.close();
    expect((await readdir(dir)).filter((name) => name.startsWith("session-"))).toEqual([]);
  });
});
