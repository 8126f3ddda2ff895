// How the worker reads errors of the hub.
import { WaybillError } from "@waybill/sdk/protocol";

/** Whether the hub says that this attempt is no longer the job's (I11): nothing more of it may be written. */
export function isStale(error: unknown): boolean {
  return error instanceof WaybillError && error.code === "stale_attempt";
}

/**
 * The same of an answer to a call that names nothing but the job: there is no such job any more. Of other calls `not_found`
 * may mean an upload or an artifact.
 */
export function isStaleOrGone(error: unknown): boolean {
  return isStale(error) || (error instanceof WaybillError && error.code === "not_found");
}
