// How the worker reads errors of the hub.
import { WaybillError } from "@waybill/sdk/protocol";

/** Whether the hub says that this attempt is no longer the job's (I11): nothing more of it may be written. */
export function isStale(error: unknown): boolean {
  return (
    error instanceof WaybillError && (error.code === "stale_attempt" || error.code === "not_found")
  );
}
