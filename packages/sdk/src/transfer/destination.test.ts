import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { files } from "../platform/index.ts";
import { assertOutsideState, lockDestination } from "./destination.ts";

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waybill-destination-"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("a destination", () => {
  it("is made, has one pull at a time, and keeps nothing of the lock", async () => {
    const into = join(dir, "a", "b");
    const unlock = await lockDestination(into);
    await expect(lockDestination(into, { waitMs: 0 })).rejects.toMatchObject({ code: "conflict" });
    expect(existsSync(join(into, ".waybill", "lock"))).toBe(true);
    unlock();
    expect(readdirSync(into)).toEqual([]);
  });

  it("whose holder goes away meanwhile is waited for", async () => {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    try {
      files.makeDirectory(join(dir, ".waybill"));
      writeFileSync(join(dir, ".waybill", "lock"), String(child.pid));
      const locking = lockDestination(dir, { waitMs: 60_000 });
      child.kill("SIGKILL");
      const unlock = await locking;
      expect(existsSync(join(dir, ".waybill", "lock"))).toBe(true);
      unlock();
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("that is waited for can be given up", async () => {
    const unlock = await lockDestination(dir);
    const stop = new AbortController();
    const second = lockDestination(dir, { signal: stop.signal, waitMs: 60_000 });
    stop.abort();
    await expect(second).rejects.toMatchObject({ name: "AbortError" });
    unlock();
  });

  it("that is no folder, or whose own folder is a link, is refused", async () => {
    writeFileSync(join(dir, "file"), "");
    await expect(lockDestination(join(dir, "file"))).rejects.toThrow("it is not a folder");
    symlinkSync("/tmp", join(dir, ".waybill"));
    await expect(lockDestination(dir)).rejects.toThrow(".waybill is in the way: it is a link");
  });

  it("takes no path of an artifact that is the pull's own", () => {
    assertOutsideState(["a", ".waybill/settings", "x/.waybill/lock", ".waybill2"]);
    for (const path of [".waybill", ".waybill/LOCK", ".waybill/0123456789abcdef/0.part"]) {
      expect(() => assertOutsideState([path])).toThrow("where a pull keeps its state");
    }
  });
});
