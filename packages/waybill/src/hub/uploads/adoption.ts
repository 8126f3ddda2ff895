// A push of what the room holds already: no byte travels, the artifact's time begins again and a name means it.
import {
  type ArtifactId,
  type ArtifactRecord,
  type RoomId,
  type RouteBody,
  UploadId,
  WaybillError,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { UploadSessions } from "./upload-sessions.ts";

export type AdoptionDeps = {
  readonly records: ArtifactRecords;
  readonly sessions: Pick<UploadSessions, "renew">;
};

/**
 * The artifact's record afterwards. Throws `not_found`, `expired`, or `conflict` where its bytes would have to move:
 * then they are copied to an upload.
 */
export async function adoptArtifact(
  { records, sessions }: AdoptionDeps,
  room: RoomId,
  artifact: ArtifactId,
  { name, keep }: RouteBody<"adoptArtifact">,
): Promise<ArtifactRecord> {
  const record = await records.get(room, artifact);
  if (record.expiresAt === undefined) {
    await records.giveName(room, record, name);
    // A removed model's bytes may be going: whoever removes them looks at the names after its record has ended.
    if ((await records.stored(room, artifact)) === undefined) {
      throw new WaybillError("expired", `artifact ${artifact} is being removed`, {
        hint: "push it again",
      });
    }
    return record.kind === "model" ? record : { ...record, name };
  }
  if (keep) {
    throw new WaybillError("conflict", `${record.name} expires; it is kept in another place`, {
      hint: "its bytes are copied when it is pushed with --keep",
    });
  }
  return sessions.renew(room, uploadOf(record), name);
}

/** The upload that made a record: the last folder of its place. */
export function uploadOf({ s3Path, artifact }: ArtifactRecord): UploadId {
  const upload = v.safeParse(UploadId, s3Path.split("/").at(-2));
  if (upload.success) return upload.output;
  throw new WaybillError("conflict", `artifact ${artifact} was not made by an upload`);
}
