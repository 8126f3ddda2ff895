// Times whole processes: wall and CPU seconds and peak memory as the operating system accounts them,
// through GNU time. Commands of one comparison run in turn, so that a noisy machine is noisy for all.
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { run } from "../../test/support/netlab/commands.ts";
import { signalGroup, start } from "./scope.ts";

export type Sample = {
  readonly wallSeconds: number;
  /** User and system. */
  readonly cpuSeconds: number;
  /** Of the largest single process. */
  readonly peakRssBytes: number;
  /** What was counted beside the time, by name. */
  readonly counted?: Readonly<Record<string, number>>;
};

export type Contender = {
  readonly name: string;
  /** The command of one round. Round 0 is the warm-up. */
  readonly command: (round: number) => readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Makes ready for the round, untimed. */
  readonly prepare?: (round: number) => Promise<void>;
  /** Reads what the round counted, untimed, before `clean`. */
  readonly count?: (round: number) => Promise<Record<string, number>>;
  /** Undoes what the round left, untimed. */
  readonly clean?: (round: number) => Promise<void>;
};

export type Outcome = {
  readonly name: string;
  readonly samples: readonly Sample[];
  /** What the failed rounds said. */
  readonly failures: readonly string[];
};

const GNU_TIME = "/usr/bin/time";

class TookTooLong extends Error {
  constructor(seconds: number) {
    super(`took longer than ${seconds} s`);
  }
}

/** Runs one command; throws with its output when it fails, and ends it when it takes longer than `limitSeconds`. */
export async function measure(
  command: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  limitSeconds = 3600,
): Promise<Sample> {
  if (!existsSync(GNU_TIME)) throw new Error("the benchmark needs GNU time (apt-get install time)");
  const folder = await mkdtemp(path.join(os.tmpdir(), "waybill-measure-"));
  try {
    const report = path.join(folder, "report");
    const child = start([GNU_TIME, "-f", "%e %U %S %M", "-o", report, ...command], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (data: Buffer) => {
      output = (output + data.toString()).slice(-4000);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    let late = false;
    const limit = setTimeout(() => {
      late = true;
      signalGroup(child, "SIGKILL");
    }, limitSeconds * 1000);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    }).finally(() => clearTimeout(limit));
    if (late) throw new TookTooLong(limitSeconds);
    if (code !== 0) throw new Error(`${command.join(" ")} failed (${code}): ${output.trim()}`);
    const [wall = 0, user = 0, system = 0, kib = 0] = (await readFile(report, "utf8"))
      .trim()
      .split(/\s+/)
      .map(Number);
    return { wallSeconds: wall, cpuSeconds: user + system, peakRssBytes: kib * 1024 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * `rounds` counted runs of each contender, A B C A B C …, after one that is not counted unless `warmUp` is false.
 * What others wrote is on the disk before each. A contender that fails is reported and goes on with the next round;
 * one that runs out of time is left out of the rest.
 */
export async function compare(
  contenders: readonly Contender[],
  rounds: number,
  { warmUp = true, limitSeconds = 3600 }: { warmUp?: boolean; limitSeconds?: number } = {},
): Promise<Outcome[]> {
  const outcomes = contenders.map((one) => ({
    one,
    outOfTime: false,
    samples: new Array<Sample>(),
    failures: new Array<string>(),
  }));
  for (let round = warmUp ? 0 : 1; round <= rounds; round++) {
    for (const outcome of outcomes) {
      const { one, samples, failures } = outcome;
      if (outcome.outOfTime) continue;
      await one.prepare?.(round);
      await run("sync");
      try {
        const sample = await measure(one.command(round), one.env, limitSeconds);
        const counted = await one.count?.(round);
        if (round > 0) samples.push(counted === undefined ? sample : { ...sample, counted });
        note(`${one.name}, round ${round}: ${sample.wallSeconds.toFixed(2)} s`);
      } catch (error) {
        outcome.outOfTime = error instanceof TookTooLong;
        failures.push((error as Error).message);
        note(`${one.name}, round ${round}: ${(error as Error).message.slice(0, 500)}`);
      }
      await one.clean?.(round);
    }
  }
  return outcomes.map(({ one, samples, failures }) => ({ name: one.name, samples, failures }));
}

/** A line about how far it is, beside the results. */
export function note(line: string): void {
  process.stderr.write(`  ${line}\n`);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const high = sorted[Math.floor(middle)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

/** Median of the pairwise ratios a/b, round by round. */
export function medianRatio(
  a: readonly Sample[],
  b: readonly Sample[],
  of: (sample: Sample) => number,
): number {
  return median(a.map((sample, i) => of(sample) / of(b[i] ?? sample)));
}
