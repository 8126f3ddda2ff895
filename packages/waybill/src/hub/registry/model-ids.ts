// Model ids: short prefixes of a digest, taken by creating an object, so that no two models of a room ever share one
// and none is used again (docs/protocol/registry.md §4).
import {
  type JobId,
  ModelId,
  ModelType,
  type RoomId,
  Timestamp,
  WaybillError,
  decodeValue,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";
import { jobIdOf } from "../jobs/job-keys.ts";

export const Reservation = v.object({
  id: ModelId,
  digest: v.string(),
  /** A job's id, or whatever a publisher without a job calls itself. */
  owner: v.string(),
  modelType: ModelType,
  reservedAt: Timestamp,
});
export type Reservation = v.InferOutput<typeof Reservation>;

export type ReservationRequest = Pick<Reservation, "digest" | "owner" | "modelType">;

const MIN_DIGITS = 8;
const MAX_DIGITS = 32;

const reservationKey = (room: RoomId, id: ModelId) => `${room}/model-ids/${id}`;

/** The shortest free id for the digest, or the one this owner has for it already. Throws `conflict`, `storage_failed`. */
export async function reserveModelId(
  documents: Documents,
  room: RoomId,
  request: ReservationRequest,
  nowMs: number,
): Promise<ModelId> {
  for (let digits = MIN_DIGITS; digits <= MAX_DIGITS; digits += 2) {
    const id = decodeValue(ModelId, request.digest.slice(0, digits), "digest");
    const reservation = { id, ...request, reservedAt: new Date(nowMs).toISOString() };
    const holder = await takeOrFind(documents, room, reservation);
    if (holder === undefined) return id;
    const same = holder.digest === request.digest && holder.owner === request.owner;
    if (!same) continue;
    if (holder.modelType === request.modelType) return id;
    throw new WaybillError(
      "conflict",
      `model id ${id} was reserved for a ${holder.modelType}, not a ${request.modelType}`,
    );
  }
  throw new WaybillError("conflict", `every prefix of digest ${request.digest} is taken`, {
    hint: "give the run another name",
  });
}

/** Who reserved an id; reservations never change, so memory will do. */
export async function findReservation(
  documents: Documents,
  room: RoomId,
  id: ModelId,
): Promise<Reservation | undefined> {
  const maxAgeMs = Number.POSITIVE_INFINITY;
  return (await documents.read(Reservation, reservationKey(room, id), { maxAgeMs }))?.doc;
}

/**
 * Throws unless the id may be used for a model of this type by this job, or by people when no job is named: `not_found`
 * when nobody reserved it, `conflict` when it is for another type or another job. What a job uses it must have reserved.
 */
export async function assertReserved(
  documents: Documents,
  room: RoomId,
  { id, modelType, job }: Pick<Reservation, "id" | "modelType"> & { job: JobId | undefined },
): Promise<void> {
  const reservation = await findReservation(documents, room, id);
  if (reservation === undefined) {
    throw new WaybillError("not_found", `model id ${id} was not reserved in room ${room}`, {
      hint: "reserve an id first",
    });
  }
  if (reservation.modelType !== modelType) {
    throw new WaybillError(
      "conflict",
      `model id ${id} was reserved for a ${reservation.modelType}, not a ${modelType}`,
    );
  }
  const owner = jobIdOf(reservation.owner);
  if (owner === job) return;
  throw new WaybillError(
    "conflict",
    owner === undefined
      ? `model id ${id} was not reserved for job ${job}`
      : `model id ${id} was reserved for job ${owner}`,
  );
}

/** `undefined` when the id is taken now; otherwise who has it. */
async function takeOrFind(
  documents: Documents,
  room: RoomId,
  reservation: Reservation,
): Promise<Reservation | undefined> {
  const key = reservationKey(room, reservation.id);
  try {
    await documents.create(Reservation, key, reservation);
    return undefined;
  } catch (error) {
    if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
  }
  return findReservation(documents, room, reservation.id);
}
