import { spawn } from "node:child_process";
import { mkdtemp, open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { listGroup, processStartId } from "./proc.ts";
import { launcherArguments, readStatus } from "./launcher.ts";
import { tellTrainer } from "./trainer-input.ts";
import { type TrainerProcess, attachTrainer, killOrphan, startTrainer } from "./trainer-process.ts";

const WAIT = { timeout: 10_000, interval: 5 };
let dir: string;
let running: TrainerProcess[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-trainer-"));
  running = [];
});

afterEach(async () => {
  for (const trainer of running) {
    trainer.terminate(0);
    await trainer.exited;
  }
  await rm(dir, { recursive: true, force: true });
});

async function start(...command: string[]): Promise<TrainerProcess> {
  const trainer = await startTrainer({
    command,
    cwd: dir,
    env: { PATH: process.env["PATH"] ?? "" },
    stdout: join(dir, "out"),
    stderr: join(dir, "err"),
    status: join(dir, "status"),
    input: join(dir, "in"),
    verifyMs: 5000,
  });
  running.push(trainer);
  return trainer;
}

/** A shell with a child of its own, both counting in files. */
const FAMILY = [
  "sh",
  "-c",
  "(while :; do echo >> child; sleep 0.01; done) & while :; do echo >> parent; sleep 0.01; done",
];

async function sizes(): Promise<number[]> {
  return Promise.all(["child", "parent"].map(async (name) => (await stat(join(dir, name))).size));
}

describe("a trainer's process group", () => {
  it("is stopped and continued as a whole", async () => {
    const trainer = await start(...FAMILY);
    await vi.waitFor(sizes, WAIT);
    await trainer.pause();
    const group = await listGroup(trainer.pid);
    expect(group.length).toBeGreaterThanOrEqual(2);
    expect(group.every((one) => one.stopped || one.blocked || one.zombie)).toBe(true);
    const before = await sizes();
    expect(await sizes()).toEqual(before);
    await trainer.resume();
    await vi.waitFor(async () => {
      const after = await sizes();
      expect(after.every((size, i) => size > (before[i] ?? 0))).toBe(true);
    }, WAIT);
  });

  it("ends as a whole, also while it is stopped", async () => {
    const trainer = await start(...FAMILY);
    await vi.waitFor(sizes, WAIT);
    await trainer.pause();
    trainer.terminate(5000);
    expect(await trainer.exited).toEqual({ code: null, signal: "SIGTERM" });
    await vi.waitFor(async () => {
      const living = (await listGroup(trainer.pid)).filter(({ zombie }) => !zombie);
      expect(living).toEqual([]);
    }, WAIT);
  });

  it("is killed when the grace is over", async () => {
    const trainer = await start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done");
    await vi.waitFor(
      async () => expect(await readFile(join(dir, "out"), "utf8")).toBe("up\n"),
      WAIT,
    );
    trainer.terminate(60_000);
    trainer.terminate(50);
    expect(await trainer.exited).toEqual({ code: null, signal: "SIGKILL" });
  });

  it.each([
    ["exit 3", { code: 3, signal: null }],
    ["exit 255", { code: 255, signal: null }],
    ["kill -SEGV $$", { code: null, signal: "SIGSEGV" }],
  ])("ends as its program does: %s", async (script, exit) => {
    const trainer = await start("sh", "-c", script);
    expect(await trainer.exited).toEqual(exit);
    expect(await readStatus(join(dir, "status"))).toEqual(exit);
    expect(await readFile(join(dir, "err"), "utf8")).toBe("");
  });

  it("reads what it is told, its input never ends, and SIGINT is as for any program", async () => {
    const script = 'trap "echo int" INT; echo up; read a; kill -INT $$; read b; echo "$a $b"';
    const trainer = await start("sh", "-c", script);
    await vi.waitFor(
      async () => expect(await readFile(join(dir, "out"), "utf8")).toBe("up\n"),
      WAIT,
    );
    await tellTrainer(join(dir, "in"), { type: "checkpoint", id: "1" });
    await tellTrainer(join(dir, "in"), { type: "adjust", id: "2", values: { lr: 0.1 } });
    expect(await trainer.exited).toEqual({ code: 0, signal: null });
    expect(await readFile(join(dir, "out"), "utf8")).toBe(
      'up\nint\n{"type":"checkpoint","id":"1"} {"type":"adjust","id":"2","values":{"lr":0.1}}\n',
    );
  });

  it("is told nothing more when its input is full, and nothing that is too long", async () => {
    const pipe = join(dir, "in");
    await start("sleep", "60");
    const values = Object.fromEntries(
      Array.from({ length: 3 }, (_, i) => [`k${i}`, "x".repeat(1000)]),
    );
    const flood = async () => {
      for (let i = 0; i < 1000; i++) await tellTrainer(pipe, { type: "adjust", id: "a", values });
    };
    await expect(flood()).rejects.toThrow(/does not read its standard input, which is full/);
    const long = { ...values, k3: "x".repeat(1100) };
    await expect(
      tellTrainer(pipe, { type: "adjust", id: "a", values: long }),
    ).rejects.toMatchObject({
      code: "too_large",
    });
  });

  it("ends with its launcher without a status when both are killed", async () => {
    const trainer = await start("sleep", "60");
    process.kill(-trainer.pid, "SIGKILL");
    expect(await trainer.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(await readStatus(join(dir, "status"))).toBeUndefined();
  });

  it.each([
    ["SIGTERM", { code: null, signal: "SIGTERM" }],
    ["SIGKILL", { code: null, signal: "SIGKILL" }],
  ] as const)(
    "is watched by a daemon that did not start it until %s ends it",
    async (signal, exit) => {
      const status = join(dir, "status");
      await using nowhere = await open("/dev/null", "a");
      const child = spawn("/bin/sh", launcherArguments(status, "/dev/null", ["sleep", "60"]), {
        detached: true,
        stdio: ["ignore", "ignore", "ignore", nowhere.fd, nowhere.fd],
      });
      const pid = child.pid ?? 0;
      const startId = (await processStartId(pid)) ?? "";
      const trainer = attachTrainer({ pid, startId, status, verifyMs: 5000, pollMs: 20 });
      running.push(trainer);
      await vi.waitFor(async () => expect(await listGroup(pid)).toHaveLength(2), WAIT);
      await trainer.pause();
      expect(await trainer.isPaused()).toBe(true);
      await trainer.resume();
      expect(await trainer.isPaused()).toBe(false);
      process.kill(-pid, signal);
      expect(await trainer.exited).toEqual(exit);
    },
  );

  it("tells that it has ended when it is paused too late", async () => {
    const trainer = await start("true");
    await trainer.exited;
    await expect(trainer.pause()).rejects.toMatchObject({ code: "conflict" });
  });

  it("says so when its program is not there or not executable", async () => {
    await expect(start("no-such-program")).rejects.toThrow(/not on this worker/);
    const plain = join(dir, "plain");
    await writeFile(plain, "#!/bin/sh\n", { mode: 0o644 });
    await expect(start(plain)).rejects.toThrow(/may not be executed/);
  });

  it("is found and killed by a later daemon, but never another process of the same id", async () => {
    const trainer = await start("sleep", "60");
    expect(await killOrphan(trainer.pid, `${trainer.startId}0`)).toBe(false);
    expect(await processStartId(trainer.pid)).toBe(trainer.startId);
    // The test is its parent and reaps it; a later daemon is not and sees it go.
    expect(await killOrphan(trainer.pid, trainer.startId)).toBe(true);
    expect(await trainer.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(await killOrphan(trainer.pid, trainer.startId)).toBe(false);
  });
});
