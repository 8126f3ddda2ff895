// What a restarted daemon must know of a job it held: `run.json` in the job's spool, replaced as a whole.
import * as v from "valibot";
import { Adjusted, ArtifactId, JobAssignment, ModelId } from "@waybill/sdk/protocol";
import { readIfThere, replaceFile } from "../data-dir/files.ts";

/** How an attempt may end. */
export const Outcome = v.picklist(["completed", "failed", "cancelled", "interrupted"]);

const Ending = v.picklist(["stop", "cancel", "shutdown", "space", "revoke"]);

export const RunRecord = v.object({
  format: v.literal(1),
  assignment: JobAssignment,
  stage: v.picklist(["preparing", "training", "publishing", "ending"]),
  /** The trainer's process group, whose first process is its launcher, and the life of it (`processStartId`). */
  trainer: v.optional(v.object({ pid: v.number(), startId: v.string() })),
  /** The trainer is being ended, and when the grace it has is over (ms since 1970); `sent`: it has had its SIGTERM. */
  ending: v.optional(v.object({ why: Ending, killAt: v.number(), sent: v.boolean() })),
  /** How the trainer ended, noted before anything else is made of it; `ending` when it was being ended. */
  exit: v.optional(
    v.object({
      code: v.nullable(v.number()),
      signal: v.nullable(v.string()),
      ending: v.optional(Ending),
    }),
  ),
  /** The newest checkpoint of this attempt that is recorded in the room. */
  checkpoint: v.optional(ArtifactId),
  /** Its number; they grow over the whole attempt. */
  checkpointN: v.optional(v.number()),
  /** What the trainer has confirmed of `adjust`. */
  adjusted: v.optional(Adjusted),
  /** The id that is reserved for the model. */
  model: v.optional(ModelId),
  /** The model is in the store by the worker's own credentials, and the hub has still to record it. */
  stored: v.optional(
    v.object({
      artifact: ArtifactId,
      bytes: v.number(),
      sentBytes: v.number(),
      seconds: v.number(),
    }),
  ),
  /** What there is to publish; set with stage `publishing`. */
  result: v.optional(
    v.object({
      stoppedEarly: v.boolean(),
      data: v.record(v.string(), v.unknown()),
      predicted: v.optional(
        v.object({ rows: v.array(v.unknown()), leftOut: v.number(), more: v.boolean() }),
      ),
    }),
  ),
  /** Set once the model's bytes are verified in the store. */
  artifact: v.optional(ArtifactId),
  /** Set with stage `ending`. */
  end: v.optional(
    v.object({
      outcome: Outcome,
      reason: v.optional(v.string()),
      exitCode: v.optional(v.number()),
      model: v.optional(ModelId),
    }),
  ),
  /** Last event stored in the room. */
  storedSeq: v.number(),
  /** Last number the hub has reserved for this attempt. */
  seqReserved: v.number(),
});
export type NotedResult = NonNullable<RunRecord["result"]>;
export type NotedExit = NonNullable<RunRecord["exit"]>;
export type RunRecord = v.InferOutput<typeof RunRecord>;

/** Writes a record's changes one after the other; a change made while one is written goes with the next write. */
export class RunJournal {
  readonly #path: string;
  #record: RunRecord;
  #dirty = false;
  #writing: Promise<void> | undefined;

  constructor(path: string, record: RunRecord) {
    this.#path = path;
    this.#record = record;
  }

  get record(): RunRecord {
    return this.#record;
  }

  /** Resolves when the change is on the disk, as far as a crash of this process goes. */
  async update(change: Partial<RunRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await this.save();
  }

  async save(): Promise<void> {
    this.#dirty = true;
    while (this.#dirty || this.#writing !== undefined) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
      await this.#writing;
    }
  }

  async #write(): Promise<void> {
    this.#dirty = false;
    await replaceFile(this.#path, JSON.stringify(this.#record));
  }
}

/** Reads a former daemon's record; `undefined` when there is none that can be understood. */
export async function readRunRecord(path: string): Promise<RunRecord | undefined> {
  const text = await readIfThere(path);
  if (text === undefined) return undefined;
  try {
    return v.parse(RunRecord, JSON.parse(text));
  } catch {
    return undefined;
  }
}
