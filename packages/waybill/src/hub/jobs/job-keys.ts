// Where a room's jobs lie in the rooms bucket (docs/protocol/events.md §1).
import { JobId, type RoomId } from "@waybill/sdk/protocol";
import * as v from "valibot";

const jobFolder = (room: RoomId, job: JobId) => `${room}/jobs/${job}/`;

export const jobsPrefix = (room: RoomId) => `${room}/jobs/`;
export const jobKey = (room: RoomId, job: JobId) => `${jobFolder(room, job)}job.json`;
export const markersPrefix = (room: RoomId) => `${room}/live-jobs/`;
export const markerKey = (room: RoomId, job: JobId) => `${markersPrefix(room)}${job}`;
export const segmentsPrefix = (room: RoomId, job: JobId) => `${jobFolder(room, job)}events/`;
export const sampleKey = (room: RoomId, job: JobId, file: string) =>
  `${jobFolder(room, job)}samples/${file}`;

/** Key of the segment that begins with event `first`; 16 digits sort as numbers. */
export function segmentKey(room: RoomId, job: JobId, first: number): string {
  return `${segmentsPrefix(room, job)}${String(first).padStart(16, "0")}.jsonl`;
}

/** First sequence number of a listed segment; `undefined` for keys that are none. */
export function firstSeqOf(key: string): number | undefined {
  const digits = /\/(\d{16})\.jsonl$/.exec(key)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The job a listed marker or folder names; `undefined` for names that are none. */
export function jobIdOf(name: string): JobId | undefined {
  const parsed = v.safeParse(JobId, name);
  return parsed.success ? parsed.output : undefined;
}
