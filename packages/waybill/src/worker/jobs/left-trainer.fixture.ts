// A trainer that runs as one does whose daemon was killed: its spool is there, and nobody watches it.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, open, readFile, writeFile } from "node:fs/promises";
import { vi } from "vitest";
import type { JobAssignment, NewJobEvent } from "@waybill/sdk/protocol";
import { EventLog } from "../events/event-log.ts";
import { launcherArguments, makePipe } from "../trainers/launcher.ts";
import { processStartId } from "../trainers/proc.ts";
import type { WorkerLab } from "../worker-lab.fixture.ts";
import type { RunRecord } from "./run-journal.ts";
import { newRecord } from "./run-parts.ts";
import { type SpoolPaths, openSpool } from "./spool.ts";

const WAIT = { timeout: 15_000, interval: 5 };

export type Left = {
  readonly pid: number;
  readonly paths: SpoolPaths;
  readonly record: RunRecord;
  readonly child: ChildProcess;
};

/** Starts a job's trainer, which prints `up`, and leaves its spool as a daemon does that is killed while it runs. */
export async function leaveRunning(
  lab: WorkerLab,
  assignment: JobAssignment,
  events: readonly NewJobEvent[] = [{ type: "state", state: "running" }],
  record: Partial<RunRecord> = {},
): Promise<Left> {
  const paths = await openSpool(lab.path("data/spool"), assignment.job, assignment.attempt);
  await mkdir(paths.output);
  await mkdir(paths.work);
  await makePipe(paths.stdin);
  const stdout = await open(paths.stdout, "a");
  const stderr = await open(paths.stderr, "a");
  const { command = [] } = assignment.spec;
  const child = spawn("/bin/sh", launcherArguments(paths.status, paths.stdin, command), {
    cwd: paths.work,
    env: { ...process.env, WAYBILL_OUTPUT: paths.output },
    detached: true,
    stdio: ["ignore", "ignore", "ignore", stdout.fd, stderr.fd],
  });
  await stdout.close();
  await stderr.close();
  const pid = child.pid ?? 0;
  const startId = (await processStartId(pid)) ?? "";
  const whole: RunRecord = {
    ...newRecord(assignment),
    stage: "training",
    trainer: { pid, startId },
    ...record,
  };
  await leaveRecord(paths, whole, events);
  await vi.waitFor(async () => {
    if (!(await readFile(paths.stdout, "utf8")).includes("up")) throw new Error("not up");
  }, WAIT);
  return { pid, paths, record: whole, child };
}

/** Writes an attempt's journal and log. */
export async function leaveRecord(
  paths: SpoolPaths,
  record: RunRecord,
  events: readonly NewJobEvent[],
): Promise<void> {
  const { attempt, firstSeq, seqReserved } = record.assignment;
  await writeFile(paths.journal, JSON.stringify(record));
  const log = await EventLog.open({
    path: paths.events,
    attempt,
    firstSeq,
    seqReserved,
    now: Date.now,
    log: () => undefined,
  });
  log.appendAll(events);
  await log.close();
}
