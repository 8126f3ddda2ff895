// In which order waiting jobs are offered (docs/protocol/events.md §6): first those of whoever has the fewest jobs running,
// of these of whoever was served longest ago, of these the oldest; the jobs of one person in the order of submission. Pure.
import { type QueuedJob, bySubmission } from "./matching.ts";

type Lane = {
  readonly submitter: string;
  readonly jobs: readonly QueuedJob[];
  at: number;
  running: number;
};

/**
 * Goes through the jobs (sorted by submission) in a fair order until `place` has tried all or answers `full`. `running` are
 * the jobs each submitter has running before; each job that is `placed` counts from then on. `served` says when submitters
 * were last given a worker, and is asked again after each job.
 */
export function offerFairly(
  jobs: readonly QueuedJob[],
  running: ReadonlyMap<string, number>,
  served: ReadonlyMap<string, number>,
  place: (job: QueuedJob) => "placed" | "unfit" | "full",
): void {
  const lanes = lanesOf(jobs, running);
  for (;;) {
    const lane = nextLane(lanes, served);
    const job = lane?.jobs[lane.at];
    if (lane === undefined || job === undefined) return;
    lane.at += 1;
    const outcome = place(job);
    if (outcome === "full") return;
    if (outcome === "placed") lane.running += 1;
    // What fits no free worker now fits none after others are placed.
    if (lane.at === lane.jobs.length) lanes.splice(lanes.indexOf(lane), 1);
  }
}

function lanesOf(jobs: readonly QueuedJob[], running: ReadonlyMap<string, number>): Lane[] {
  const bySubmitter = Map.groupBy(jobs, ({ submitter }) => submitter);
  return Array.from(bySubmitter, ([submitter, own]) => ({
    submitter,
    jobs: own,
    at: 0,
    running: running.get(submitter) ?? 0,
  }));
}

function nextLane(lanes: readonly Lane[], served: ReadonlyMap<string, number>): Lane | undefined {
  let best: Lane | undefined;
  for (const lane of lanes) if (best === undefined || goesBefore(lane, best, served)) best = lane;
  return best;
}

function goesBefore(a: Lane, b: Lane, served: ReadonlyMap<string, number>): boolean {
  if (a.running !== b.running) return a.running < b.running;
  const [aMs, bMs] = [served.get(a.submitter) ?? 0, served.get(b.submitter) ?? 0];
  if (aMs !== bMs) return aMs < bMs;
  const [first, second] = [a.jobs[a.at], b.jobs[b.at]];
  return first !== undefined && second !== undefined && bySubmission(first, second) < 0;
}
