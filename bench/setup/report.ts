// What a benchmark found: tables for people, one JSON object for programs, a section of docs/performance.md.
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import os from "node:os";
import { fileURLToPath } from "node:url";
import { formatBytes, table } from "../../packages/waybill/src/cli/render/format.ts";
import type { Outcome, Sample } from "./measure.ts";
import { median, medianRatio } from "./measure.ts";
import type { Options } from "./options.ts";
import { markdownTable, writeSection } from "./page.ts";

export type Section = {
  readonly title: string;
  /** The first row is the head. */
  readonly rows: readonly (readonly string[])[];
  /** Sentences below the table. */
  readonly notes?: readonly string[];
  /** What the rows were made of, for `--json`. */
  readonly data: unknown;
};

const BASELINE = fileURLToPath(new URL("../baseline/", import.meta.url));

/**
 * Prints the sections, as JSON with `--json`. With `--write` keeps them: the tables in docs/performance.md, everything
 * in `bench/baseline/`.
 */
export async function report(
  name: string,
  options: Options,
  sections: readonly Section[],
): Promise<void> {
  const state = `commit ${commit()}, \`node bench/${name}.ts ${process.argv
    .slice(2)
    .filter((word) => word !== "--write")
    .join(" ")}\`, ${os.availableParallelism()} cores`;
  const all = JSON.stringify({ benchmark: name, state, sections }, undefined, 1);
  if (options.json) {
    console.log(all);
  } else {
    for (const { title, rows, notes = [] } of sections) {
      console.log(`\n${title}\n${table(rows.map((row) => [...row]))}`);
      for (const line of notes) console.log(line);
    }
  }
  if (!options.write) return;
  await mkdir(BASELINE, { recursive: true });
  const file = `${BASELINE}${name}${options.variant}.json`;
  await writeFile(file, `${all}\n`);
  execFileSync("npx", ["oxfmt", file]);
  const parts = sections.map(({ title, rows, notes = [] }) =>
    [`### ${title}`, markdownTable(rows), ...notes].join("\n\n"),
  );
  await writeSection(name + options.variant, [`Measured at ${state}.`, ...parts].join("\n\n"));
}

/** The commit that is measured; `+` says that the work tree differs from it. */
function commit(): string {
  const git = (...args: string[]) => execFileSync("git", args, { encoding: "utf8" }).trim();
  const dirty = git("status", "--porcelain", "--untracked-files=no", "packages") !== "";
  return git("rev-parse", "--short", "HEAD") + (dirty ? "+" : "");
}

export const TIME_HEAD = [
  "command",
  "wall s",
  "MB/s",
  "CPU s",
  "peak RSS",
  "wall ÷ ours",
  "CPU ÷ ours",
] as const;

/** Medians of the rounds and ratios to ours, which is the first outcome; peak RSS is the largest of all rounds. */
export function timeRows(outcomes: readonly Outcome[], bytes: number): string[][] {
  const own = outcomes[0]?.samples ?? [];
  return outcomes.map(({ name, samples, failures }, index) => {
    if (samples.length === 0) return [name, "failed", "–", "–", "–", "–", "–"];
    const wall = median(samples.map((one) => one.wallSeconds));
    const ratio = (of: (sample: Sample) => number) =>
      index === 0 ? "1" : medianRatio(samples, own, of).toFixed(2);
    return [
      failures.length === 0 ? name : `${name} (${failures.length} failed)`,
      wall.toFixed(2),
      Math.round(bytes / wall / 1e6).toString(),
      median(samples.map((one) => one.cpuSeconds)).toFixed(2),
      formatBytes(Math.max(...samples.map((one) => one.peakRssBytes))),
      ratio((one) => one.wallSeconds),
      ratio((one) => one.cpuSeconds),
    ];
  });
}
