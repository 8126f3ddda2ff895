// What a worker tells whoever started it, such as the command line.
import type { JobId, PeerId, WorkerKind } from "@waybill/sdk/protocol";
import type { RunOutcome } from "./jobs/job-run.ts";

export type WorkerEvent =
  /** The hub has welcomed the worker for the first time: jobs may come. */
  | { readonly type: "ready"; readonly workerId: PeerId; readonly kind: WorkerKind }
  | { readonly type: "online"; readonly workerId: PeerId }
  | { readonly type: "offline"; readonly reason: string }
  | {
      readonly type: "job.accepted";
      readonly job: JobId;
      readonly attempt: number;
      readonly submittedBy: string;
    }
  | { readonly type: "job.resumed"; readonly job: JobId; readonly attempt: number }
  | {
      readonly type: "job.ended";
      readonly job: JobId;
      readonly attempt: number;
      readonly outcome: RunOutcome;
    }
  | {
      readonly type: "log";
      readonly level: "info" | "warn" | "error";
      readonly message: string;
    }
  /** The hub refused the worker for good; it has stopped taking jobs. */
  | { readonly type: "refused"; readonly error: Error };

export type WorkerEventListener = (event: WorkerEvent) => void;
