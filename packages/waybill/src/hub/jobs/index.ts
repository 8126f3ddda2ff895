// The hub's side of jobs.
export { createJobArea, type JobArea, type JobAreaDeps, type JobRoute } from "./job-area.ts";
export type { CheckpointLeftover } from "./checkpoints.ts";
export type { JobUses } from "./job-uses.ts";
