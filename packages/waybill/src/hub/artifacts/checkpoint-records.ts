// Which checkpoints of running jobs the room holds: `{room}/checkpoints/{artifactId}/{job}_{upload}.json`. They are no
// artifacts like others (no list and no name has them), and one artifact may lie in several places: two attempts that
// train alike make the same checkpoint, and each goes when its own job needs it no more.
import {
  ArtifactId,
  ArtifactRecord,
  JobId,
  type RoomId,
  UploadId,
  WaybillError,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import type { Caller } from "../http/handler.ts";

/** Where one checkpoint lies. */
export type CheckpointPlace = {
  readonly artifact: ArtifactId;
  readonly job: JobId;
  readonly upload: UploadId;
};

const Place = v.object({ artifact: ArtifactId, job: JobId, upload: UploadId });
const PARALLEL = 16;

export class CheckpointRecords {
  readonly #documents: Documents;

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /** Enters a completed checkpoint. Idempotent. */
  async enter(room: RoomId, record: ArtifactRecord): Promise<void> {
    try {
      await this.#documents.create(ArtifactRecord, keyOf(room, placeOf(record)), record);
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
    }
  }

  async remove(room: RoomId, record: ArtifactRecord): Promise<void> {
    await this.#documents.delete(keyOf(room, placeOf(record)));
  }

  /** A place of the artifact, of that job if one is named. */
  async find(room: RoomId, artifact: ArtifactId, job?: JobId): Promise<ArtifactRecord | undefined> {
    const folder = `${checkpointsPrefix(room)}${artifact}/`;
    for await (const place of this.#places(room, job === undefined ? folder : `${folder}${job}_`)) {
      const record = await this.#read(room, place);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  /** Jobs of which the room holds this checkpoint. */
  async jobsWith(room: RoomId, artifact: ArtifactId): Promise<JobId[]> {
    const places = await Array.fromAsync(
      this.#places(room, `${checkpointsPrefix(room)}${artifact}/`),
    );
    return [...new Set(places.map(({ job }) => job))];
  }

  /** Jobs of which the room holds any. */
  async jobs(room: RoomId): Promise<JobId[]> {
    const places = await Array.fromAsync(this.#places(room, checkpointsPrefix(room)));
    return [...new Set(places.map(({ job }) => job))];
  }

  /** Every checkpoint of one job. */
  async of(room: RoomId, job: JobId): Promise<ArtifactRecord[]> {
    const places = await Array.fromAsync(this.#places(room, checkpointsPrefix(room)));
    const records = await mapLimited(
      places.filter((place) => place.job === job),
      PARALLEL,
      (place) => this.#read(room, place),
    );
    return records.filter((record) => record !== undefined);
  }

  async #read(room: RoomId, place: CheckpointPlace): Promise<ArtifactRecord | undefined> {
    const maxAgeMs = Number.POSITIVE_INFINITY;
    return (await this.#documents.read(ArtifactRecord, keyOf(room, place), { maxAgeMs }))?.doc;
  }

  async *#places(room: RoomId, prefix: string): AsyncIterable<CheckpointPlace> {
    const folder = checkpointsPrefix(room);
    for await (const { key } of this.#documents.bucket.list(prefix)) {
      const [artifact, file = ""] = key.slice(folder.length).split("/");
      // `j_…_u_….json`
      const [, job, upload] = /^(j_[^_]+)_(u_[^_]+)\.json$/.exec(file) ?? [];
      const place = v.safeParse(Place, { artifact, job, upload });
      if (place.success) yield place.output;
    }
  }
}

/**
 * The checkpoint a caller may read: members any, a worker those of the job it has now. Throws `forbidden` for others,
 * `not_found`.
 */
export async function readableCheckpoint(
  deps: {
    readonly checkpoints: Pick<CheckpointRecords, "find" | "jobsWith">;
    /** Whether the caller is the job's worker now. */
    readonly holdsJob: (room: RoomId, job: JobId, caller: Caller) => Promise<boolean>;
  },
  room: RoomId,
  artifact: ArtifactId,
  caller: Caller,
): Promise<ArtifactRecord | undefined> {
  const jobs = await deps.checkpoints.jobsWith(room, artifact);
  for (const job of jobs) {
    const may =
      caller.role === "worker" ? await deps.holdsJob(room, job, caller) : caller.role !== "viewer";
    const record = may ? await deps.checkpoints.find(room, artifact, job) : undefined;
    if (record !== undefined) return record;
  }
  if (jobs.length === 0) return undefined;
  throw new WaybillError(
    "forbidden",
    `${artifact.slice(0, 12)}… is a checkpoint: it is read by members and by its job's worker`,
  );
}

function checkpointsPrefix(room: RoomId): string {
  return `${room}/checkpoints/`;
}

function keyOf(room: RoomId, { artifact, job, upload }: CheckpointPlace): string {
  return `${checkpointsPrefix(room)}${artifact}/${job}_${upload}.json`;
}

/** `{bucket}/{room}/jobs/{job}/checkpoints/{upload}/` */
function placeOf({ artifact, s3Path }: ArtifactRecord): CheckpointPlace {
  const [job, , upload] = s3Path.split("/").slice(-4);
  return v.parse(Place, { artifact, job, upload });
}
