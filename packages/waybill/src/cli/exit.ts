// How a command ends: documented exit codes and one clear line for every error.
import { WaybillError, isAbort, messageOf } from "@waybill/sdk/protocol";
import type { Output } from "./render/output.ts";

/** `docs/cli.md` documents these. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unauthorised: 3,
  notFound: 4,
  conflict: 5,
  unreachable: 6,
  cancelled: 7,
  /** A receipt is altered, or signed by nobody known. */
  notGenuine: 8,
  interrupted: 130,
} as const;

/** Prints what went wrong and gives the exit code for it. */
export function reportFailure(error: unknown, output: Output, debug: boolean): number {
  if (isAbort(error)) {
    output.record({ type: "error", code: "interrupted", message: "interrupted" });
    return EXIT.interrupted;
  }
  const known = error instanceof WaybillError;
  const hint = known && error.hint !== undefined ? { hint: error.hint } : {};
  output.record({
    type: "error",
    code: known ? error.code : "internal",
    message: messageOf(error),
    ...hint,
  });
  output.complain(`waybill: ${messageOf(error)}`);
  if (known && error.hint !== undefined) output.complain(`  ${error.hint}`);
  if (debug) output.complain(traceOf(error));
  else if (!known)
    output.complain("  this is a defect of Waybill; --debug shows where it happened");
  return known ? error.exitCode : EXIT.failed;
}

function traceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? error.message;
  return error.cause === undefined ? own : `${own}\ncaused by: ${traceOf(error.cause)}`;
}
