// `{room}/model-uploads/{modelId}.json`: which upload fills a model's folder. Attempts of one job share
// the folder; a newer one takes it over, an older one is told so (I11), and once an upload has completed
// the folder is closed for good.
import {
  ArtifactRecord,
  type ModelId,
  type RoomId,
  UploadId,
  type UploadPurpose,
  WaybillError,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";

const ModelClaim = v.object({
  upload: UploadId,
  /** 0 when no job made the model. */
  attempt: v.number(),
  /** Set when the upload has completed. */
  record: v.optional(ArtifactRecord),
});
export type ModelClaim = v.InferOutput<typeof ModelClaim>;

/** Far less than a lease: a newer attempt does not upload before the older one has lost its own. */
const HELD_AGE_MS = 10_000;

export type ModelPurpose = Extract<UploadPurpose, { kind: "model" }>;

export class ModelClaims {
  readonly #documents: Documents;

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /** Takes the model's folder for `upload`; throws `stale_attempt`, or `conflict` when it is filled. */
  async take(room: RoomId, purpose: ModelPurpose, upload: UploadId): Promise<void> {
    const key = keyOf(room, purpose.model);
    const mine = { upload, attempt: purpose.attempt ?? 0 };
    try {
      await this.#documents.create(ModelClaim, key, mine);
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
      await this.#documents.update(ModelClaim, key, (claim) => {
        if (claim === undefined) return mine;
        if (claim.upload === upload) return undefined;
        assertFree(claim, purpose);
        return mine;
      });
    }
  }

  /** Throws `stale_attempt` or `conflict` unless the folder is `upload`'s. */
  async assertHeld(room: RoomId, purpose: ModelPurpose, upload: UploadId): Promise<void> {
    const claim = await this.find(room, purpose.model, { maxAgeMs: HELD_AGE_MS });
    if (claim === undefined || claim.upload === upload) return;
    assertFree(claim, purpose);
    throw new WaybillError(
      "stale_attempt",
      `another upload (${claim.upload}) fills the folder of model ${purpose.model} now`,
    );
  }

  /** Notes that the folder is filled. Idempotent. */
  async close(
    room: RoomId,
    purpose: ModelPurpose,
    upload: UploadId,
    record: ArtifactRecord,
  ): Promise<void> {
    const attempt = purpose.attempt ?? 0;
    await this.#documents.update(ModelClaim, keyOf(room, purpose.model), (claim) => {
      if (claim?.upload === upload && claim.record?.artifact === record.artifact) return undefined;
      // A newer attempt has come while this one completed: its files follow.
      if (claim !== undefined && claim.attempt > attempt) return undefined;
      return { upload, attempt, record };
    });
  }

  /** The record of the upload that has filled the model's folder. */
  async record(room: RoomId, model: ModelId): Promise<ArtifactRecord | undefined> {
    const remembered = await this.find(room, model, { maxAgeMs: HELD_AGE_MS });
    // A filled folder stays filled; one that was not may be by now.
    return remembered?.record ?? (await this.find(room, model))?.record;
  }

  async find(
    room: RoomId,
    model: ModelId,
    options: { readonly maxAgeMs?: number } = {},
  ): Promise<ModelClaim | undefined> {
    return (await this.#documents.read(ModelClaim, keyOf(room, model), options))?.doc;
  }
}

function assertFree(claim: ModelClaim, purpose: ModelPurpose): void {
  if (claim.record !== undefined) {
    throw new WaybillError("conflict", `model ${purpose.model} has its files already`, {
      hint: "models do not change; reserve another id for another model",
    });
  }
  if (claim.attempt <= (purpose.attempt ?? 0)) return;
  throw new WaybillError(
    "stale_attempt",
    `attempt ${purpose.attempt ?? 0} may not upload model ${purpose.model}: attempt ${claim.attempt} does`,
  );
}

function keyOf(room: RoomId, model: ModelId): string {
  return `${room}/model-uploads/${model}.json`;
}
