// npm run bench:ephemeral: jobs on a few ephemeral workers that are SIGKILLed or SIGTERMed at random moments and replaced.
// How many end completed with a verified model, in how many attempts, and what the hand-overs cost.
import { type PodJob, runOnPods } from "../test/support/pods.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { percentile } from "./setup/percentile.ts";
import { report } from "./setup/report.ts";

const options = readOptions({ mib: 1, rounds: 1, extra: ["jobs", "pods", "seed", "steps"] });
const jobCount = options.extra("jobs", 100);
const pods = options.extra("pods", 6);
const seed = options.extra("seed", 1);
const steps = options.extra("steps", 60);
const CHECKPOINT_EVERY = 10;
const KILL_EVERY_MS = 2000;
/** Of the trainer. */
const STEP_MS = 50;

/** Numbers the trainer printed: where each attempt began, and its steps. */
function numbersOf({ events }: PodJob, key: "from" | "step"): number[] {
  return events.flatMap((event) => {
    if (event.type !== "metric") return [];
    const value = event.data[key];
    return typeof value === "number" ? [value] : [];
  });
}

/** Seconds from an attempt's last sign of life to the first line of the next one's trainer. */
function gapsOf({ events }: PodJob): number[] {
  const gaps: number[] = [];
  let alive: string | undefined;
  let attempt = 0;
  for (const event of events) {
    if (event.type !== "metric") continue;
    if (alive !== undefined && event.attempt > attempt) {
      gaps.push((Date.parse(event.time) - Date.parse(alive)) / 1000);
    }
    alive = event.time;
    ({ attempt } = event);
  }
  return gaps;
}

const result = await runOnPods({
  jobs: jobCount,
  pods,
  seed,
  steps,
  checkpointEvery: CHECKPOINT_EVERY,
  killEveryMs: KILL_EVERY_MS,
  limitMs: 30 * 60_000,
  note,
});
const { jobs, killed, told, seconds } = result;
const completed = jobs.filter(({ doc }) => doc.state === "completed");
const sum = (steps * (steps + 1)) / 2;
const right = completed.filter(({ model }) => model?.steps === steps && model.sum === sum);
const attempts = jobs.map(({ doc }) => doc.attempt);
const starts = jobs.flatMap((job) => numbersOf(job, "from"));
const resumed = starts.filter((from) => from > 0);
const stepsDone = jobs.reduce((total, job) => total + numbersOf(job, "step").length, 0);
const repeated = stepsDone - steps * completed.length;
const gaps = jobs.flatMap(gapsOf);
const total = (values: readonly number[]) => values.reduce((all, one) => all + one, 0);
for (const { doc } of jobs) {
  if (doc.state !== "completed") note(`${doc.job} is ${doc.state}: ${doc.reason ?? ""}`);
}
await report("ephemeral", options, [
  {
    title: `${jobCount} jobs of ${(steps * STEP_MS) / 1000} s on ${pods} pods, seed ${seed}`,
    rows: [
      ["what", "figure"],
      ["jobs completed", `${completed.length} of ${jobCount}`],
      ["of these with a verified model in which every step is done once", String(right.length)],
      ["pods SIGKILLed, with everything on them", String(killed)],
      ["pods told to go by SIGTERM", String(told)],
      ["attempts, all jobs", String(total(attempts))],
      ["attempts of one job: median, most", `${median(attempts)}, ${Math.max(...attempts)}`],
      ["trainers started again from a checkpoint", String(resumed.length)],
      ["trainers started from nothing", String(starts.length - resumed.length)],
      [
        "steps done again, of all steps",
        `${repeated} (${((100 * repeated) / stepsDone).toFixed(1)} %)`,
      ],
      [
        "last line of an attempt to first of the next: median, p90, longest",
        gaps.length === 0
          ? "–"
          : `${median(gaps).toFixed(1)} s, ${percentile(gaps, 0.9).toFixed(1)} s, ${Math.max(...gaps).toFixed(1)} s`,
      ],
      ["all jobs ended after", `${Math.round(seconds)} s`],
    ],
    notes: [
      "Leases are 4 s here (60 s by default): after a SIGKILL a job waits that long. A checkpoint is made every half second.",
    ],
    data: { seed, killed, told, seconds, attempts, gaps, repeated },
  },
]);
process.exitCode = right.length === jobCount ? 0 : 1;
