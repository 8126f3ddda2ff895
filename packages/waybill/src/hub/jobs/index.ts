// The hub's side of jobs.
export { createJobArea, type JobArea, type JobAreaDeps, type JobRoute } from "./job-area.ts";
