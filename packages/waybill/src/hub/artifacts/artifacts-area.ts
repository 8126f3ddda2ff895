// Handlers that find artifacts and let clients read them from the store.
import { assertSafePath } from "@waybill/sdk/artifact";
import { type ResolvedArtifact, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import type { Handlers } from "../http/handler.ts";
import type { Presigner } from "../storage/presign.ts";
import type { ArtifactRecords } from "./artifact-records.ts";

export type ArtifactsDeps = {
  readonly records: ArtifactRecords;
  readonly presigner: Presigner;
  /** How long its URLs are good. */
  readonly presignSeconds: number;
  /** What a reference stands for among the artifacts that are arriving. */
  readonly arriving: (room: RoomId, ref: string) => Promise<ResolvedArtifact | undefined>;
};

/** What is not there, or not any more, may be on its way. */
const ABSENT: ReadonlySet<string> = new Set(["not_found", "expired"]);

/** Composes the area; does no I/O. */
export function createArtifactsArea(deps: ArtifactsDeps): {
  readonly handlers: Handlers<"listArtifacts" | "resolveArtifact" | "signReads">;
} {
  const { records, presigner, presignSeconds } = deps;
  return {
    handlers: {
      listArtifacts: async ({ params }) => ({ artifacts: await records.list(params.room) }),

      resolveArtifact: async ({ params: { room, ref } }) => {
        try {
          return await records.resolve(room, ref);
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
        const { s3Path } = await records.get(params.room, params.artifact);
        const slash = s3Path.indexOf("/");
        const bucket = s3Path.slice(0, slash);
        const prefix = s3Path.slice(slash + 1);
        const { urls, expiresAtMs, validForMs } = await presigner.sign(
          body.keys.map((key) => ({ method: "GET", bucket, key: prefix + key })),
          presignSeconds,
        );
        const reads = body.keys.map((key, at) => ({ key, url: urls[at] ?? "" }));
        return { reads, expiresAt: new Date(expiresAtMs).toISOString(), validForMs };
      },
    },
  };
}
