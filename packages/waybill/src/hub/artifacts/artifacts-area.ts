// Handlers that find artifacts and let clients read them from the store.
import { assertSafePath } from "@waybill/sdk/artifact";
import {
  ArtifactId,
  type ArtifactRecord,
  type ResolvedArtifact,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Caller, Handlers } from "../http/handler.ts";
import type { ArtifactRecords } from "./artifact-records.ts";
import { Readings, type ReadingsDeps } from "./readings.ts";

export type ArtifactsDeps = ReadingsDeps & {
  readonly records: ArtifactRecords;
  /** A checkpoint the caller may read; throws `forbidden` when there is one that it may not. */
  readonly checkpoint: (
    room: RoomId,
    artifact: ArtifactId,
    caller: Caller,
  ) => Promise<ArtifactRecord | undefined>;
  /** What a reference stands for among the artifacts that are arriving. */
  readonly arriving: (room: RoomId, ref: string) => Promise<ResolvedArtifact | undefined>;
};

/** What is not there, or not any more, may be on its way. */
const ABSENT: ReadonlySet<string> = new Set(["not_found", "expired"]);

/** Composes the area; does no I/O. */
export function createArtifactsArea(deps: ArtifactsDeps): {
  readonly handlers: Handlers<"listArtifacts" | "resolveArtifact" | "signReads">;
} {
  const { records } = deps;
  const readings = new Readings(deps);

  /** What `find` finds, or the checkpoint an id stands for. */
  async function orCheckpoint(
    room: RoomId,
    ref: string,
    caller: Caller | undefined,
    find: () => Promise<ArtifactRecord>,
  ): Promise<ArtifactRecord> {
    try {
      return await find();
    } catch (error) {
      const artifact = v.safeParse(ArtifactId, ref);
      const absent = error instanceof WaybillError && ABSENT.has(error.code);
      if (!absent || !artifact.success || caller === undefined) throw error;
      const checkpoint = await deps.checkpoint(room, artifact.output, caller);
      if (checkpoint === undefined) throw error;
      return checkpoint;
    }
  }

  return {
    handlers: {
      listArtifacts: async ({ params }) => ({ artifacts: await records.list(params.room) }),

      resolveArtifact: async ({ params: { room, ref }, query, caller }) => {
        const held = async () => {
          const record = await orCheckpoint(room, ref, caller, () => records.resolve(room, ref));
          if (query.reading === undefined) return record;
          return { ...record, reading: await readings.of(record) };
        };
        try {
          return await held();
        } catch (error) {
          if (!(error instanceof WaybillError) || !ABSENT.has(error.code)) throw error;
          // What was arriving may have arrived between the two looks.
          return (await deps.arriving(room, ref)) ?? held();
        }
      },

      signReads: async ({ params: { room, artifact }, body, caller }) => {
        // A key that is no object of the artifact gets a 404 from the store; one that would lead out of the
        // artifact's folder is refused here.
        for (const key of body.keys) assertSafePath(key, "the request");
        const record = await orCheckpoint(room, artifact, caller, () =>
          records.get(room, artifact),
        );
        return readings.sign(record, body.keys);
      },
    },
  };
}
