// Times whole processes: wall and CPU seconds and peak memory as the operating system accounts them,
// through GNU time. Commands of one comparison run in turn, so that a noisy machine is noisy for all.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";

export type Sample = {
  readonly wallSeconds: number;
  /** User and system. */
  readonly cpuSeconds: number;
  /** Of the largest single process. */
  readonly peakRssBytes: number;
};

export type Contender = {
  readonly name: string;
  /** The command of one round. */
  readonly command: (round: number) => readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Undoes what the round left, untimed. */
  readonly clean?: (round: number) => Promise<void>;
};

const GNU_TIME = "/usr/bin/time";

/** Runs one command; throws with its output when it fails. */
export async function measure(
  command: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Sample> {
  if (!existsSync(GNU_TIME)) throw new Error("the benchmark needs GNU time (apt-get install time)");
  const folder = await mkdtemp(path.join(os.tmpdir(), "waybill-measure-"));
  try {
    const report = path.join(folder, "report");
    const child = spawn(GNU_TIME, ["-f", "%e %U %S %M", "-o", report, ...command], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (data: Buffer) => {
      output = (output + data.toString()).slice(-4000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", resolve);
    });
    if (code !== 0) throw new Error(`${command.join(" ")} failed (${code}): ${output}`);
    const [wall = 0, user = 0, system = 0, kib = 0] = (await readFile(report, "utf8"))
      .trim()
      .split(/\s+/)
      .map(Number);
    return { wallSeconds: wall, cpuSeconds: user + system, peakRssBytes: kib * 1024 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** One warm-up and `rounds` counted runs of each contender, A B C A B C …; samples by name. */
export async function compare(
  contenders: readonly Contender[],
  rounds: number,
): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(contenders.map((one) => [one.name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const one of contenders) {
      const sample = await measure(one.command(round), one.env);
      await one.clean?.(round);
      if (round > 0) samples.get(one.name)?.push(sample);
    }
  }
  return samples;
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
