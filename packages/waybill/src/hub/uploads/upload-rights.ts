// Who may work on which upload beyond what roles say: a worker on models and checkpoints of the job it has now (I11), and everybody on
// models under ids that were reserved.
import { type JobId, type RoomId, type UploadPlan, WaybillError } from "@waybill/sdk/protocol";
import type { Documents } from "../bucket/documents.ts";
import type { Caller } from "../http/handler.ts";
import { assertReserved } from "../registry/model-ids.ts";
import type { UploadDoc } from "./upload-doc.ts";

export type UploadRightsDeps = {
  /** Documents of the rooms bucket: reservations. */
  readonly documents: Documents;
  /** Throws `stale_attempt` unless the caller's attempt of the job is the current one. */
  readonly assertAttempt: (
    room: RoomId,
    job: JobId,
    attempt: number,
    caller: Caller,
  ) => Promise<void>;
};

export class UploadRights {
  readonly #deps: UploadRightsDeps;

  constructor(deps: UploadRightsDeps) {
    this.#deps = deps;
  }

  /**
   * Throws unless the caller may send bytes for this purpose: `forbidden` for a worker without a job,
   * `stale_attempt` when its attempt is not the current one, `not_found` and `conflict` for a model id that was not
   * reserved for it.
   */
  async assertMaySend(room: RoomId, { purpose }: Pick<UploadPlan, "purpose">, caller: Caller) {
    if (purpose.kind === "dataset") {
      if (caller.role === "worker") throw notIts();
      return;
    }
    if (purpose.kind === "checkpoint") {
      if (caller.role !== "worker") throw notTheirs();
      await this.#deps.assertAttempt(room, purpose.job, purpose.attempt, caller);
      return;
    }
    const { model: id, modelType, job, attempt } = purpose;
    if (caller.role === "worker" && (job === undefined || attempt === undefined)) throw notIts();
    await Promise.all([
      job === undefined ? undefined : this.#deps.assertAttempt(room, job, attempt ?? 0, caller),
      assertReserved(this.#deps.documents, room, { id, modelType, job }),
    ]);
  }

  /** Throws as `assertMaySend` unless the caller may see an upload and give it up: a worker its own, people any. */
  async assertMaySee({ room, plan }: Pick<UploadDoc, "room" | "plan">, caller: Caller) {
    if (caller.role === "worker") await this.assertMaySend(room, plan, caller);
  }
}

function notTheirs(): WaybillError {
  return new WaybillError("forbidden", "checkpoints are uploaded by the worker of their job only");
}

function notIts(): WaybillError {
  return new WaybillError(
    "forbidden",
    "a worker uploads models and checkpoints of its own jobs only",
    {
      hint: "name the job and its attempt; data sets are pushed by members",
    },
  );
}
