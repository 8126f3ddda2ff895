import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { files } from "./files.node.ts";

let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waybill-lock-"));
  path = join(dir, "lock");
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

const lock = () => files.lock(path, "the folder");
const isLinux = process.platform === "linux";

/** A lock that nobody has touched for a minute. */
function leave(text: string): void {
  writeFileSync(path, text);
  const old = new Date(Date.now() - 60_000);
  utimesSync(path, old, old);
}

/** What this process writes into its locks, taken apart. */
function own(): string[] {
  const unlock = lock();
  const words = readFileSync(path, "utf8").split(" ");
  unlock();
  return words;
}

describe("a lock", () => {
  it("is held by one at a time, also within a process, and makes its folder", () => {
    path = join(dir, "a", "lock");
    const unlock = lock();
    expect(lock).toThrow(`the folder is in use by process ${process.pid}`);
    unlock();
    unlock();
    lock()();
    expect(readdirSync(join(dir, "a"))).toEqual([]);
  });

  it("of a process that has died is taken over", () => {
    // Beyond the largest process id there is; an earlier version wrote no more than the id.
    leave("4194305");
    lock()();
    leave(["4194305", ...own().slice(1)].join(" "));
    lock()();
    leave("");
    lock()();
    expect(readdirSync(dir)).toEqual([]);
  });

  it("that has just been made, and not yet written to, is held", () => {
    writeFileSync(path, "");
    expect(lock).toThrow("in use by another process");
  });

  it("of an earlier process with the same number is taken over, as after a kill in a container", ({
    skip,
  }) => {
    skip(!isLinux, "only Linux tells");
    const [pid, boot, space, start] = own();
    leave(`${pid} ${boot} ${space} ${Number(start) - 1}`);
    lock()();
    leave(`${pid}`);
    lock()();
    // By another thread or copy of this program.
    leave(`${pid} ${boot} ${space} ${start}`);
    expect(lock).toThrow("in use by process");
  });

  it("of another container or machine counts as long as it is touched", ({ skip }) => {
    skip(!isLinux, "only Linux tells");
    const [, boot, space] = own();
    for (const text of [`1 ${boot} pid:[1] 5`, `1 another-boot ${space} 5`]) {
      writeFileSync(path, text);
      expect(lock).toThrow("in use by process 1 of another container or machine");
      leave(text);
      lock()();
    }
  });

  it("is touched while it is held, and no more when it is somebody else's", async () => {
    const unlock = lock();
    leave(readFileSync(path, "utf8"));
    await vi.waitFor(() => expect(Date.now() - statSync(path).mtimeMs).toBeLessThan(10_000), 5000);
    writeFileSync(path, "4194305");
    unlock();
    expect(readFileSync(path, "utf8")).toBe("4194305");
  });

  it("of a process that has ended and was not asked for is taken over", async ({ skip }) => {
    skip(!isLinux, "only Linux tells");
    // The child ends when the shell has become a program that waits for nobody.
    const shell: ChildProcess = spawn("sh", ["-c", "sleep 0.1 & echo $!; exec sleep 60"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      const [first] = (await once(shell.stdout ?? shell, "data")) as [Buffer];
      const pid = first.toString().trim();
      await vi.waitFor(
        () => expect(readFileSync(`/proc/${pid}/stat`, "latin1")).toContain(") Z "),
        5000,
      );
      leave(pid);
      lock()();
    } finally {
      shell.kill("SIGKILL");
    }
  });
});
