// Handlers that find artifacts and let clients read them from the store.
import { assertSafePath } from "@waybill/sdk/artifact";
import { type ResolvedArtifact, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import type { Handlers } from "../http/handler.ts";
import type { ArtifactRecords } from "./artifact-records.ts";
import { Readings, type ReadingsDeps } from "./readings.ts";

export type ArtifactsDeps = ReadingsDeps & {
  readonly records: ArtifactRecords;
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
  return {
    handlers: {
      listArtifacts: async ({ params }) => ({ artifacts: await records.list(params.room) }),

      resolveArtifact: async ({ params: { room, ref }, query }) => {
        try {
          const record = await records.resolve(room, ref);
          if (query.reading === undefined) return record;
          return { ...record, reading: await readings.of(record) };
        } catch (error) {
          if (!(error instanceof WaybillError) || !ABSENT.has(error.code)) throw error;
          const arriving = await deps.arriving(room, ref);
          if (arriving === undefined) throw error;
          return arriving;
        }
      },

      signReads: async ({ params, body }) => {
        // A key that is no object of the artifact gets a 404 from the store; one that would lead out of the
        // artifact's folder is refused here.
        for (const key of body.keys) assertSafePath(key, "the request");
        return readings.sign(await records.get(params.room, params.artifact), body.keys);
      },
    },
  };
}
