// The trainer's standard input: a named pipe in the spool that any daemon may write to. A trainer that never reads
// must not hold up its worker: a line that finds the pipe full is refused.
import { type FileHandle, constants, open } from "node:fs/promises";
import { WaybillError, type TrainerRequest } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import { hasCode } from "../data-dir/files.ts";

/** Up to here a pipe takes a line whole or not at all (PIPE_BUF, pipe(7)). */
export const LINE_BYTES = 4096;

/** The line with its line feed. */
export function lineOf(request: TrainerRequest): Buffer {
  return Buffer.from(`${JSON.stringify(request)}\n`);
}

/** A launcher opens the pipe within milliseconds of its start; one that does not within this never will. */
const OPEN_MS = 3000;

/** Writes a line; throws `too_large`, or `conflict` when the trainer reads nothing or is not there. */
export async function tellTrainer(pipe: string, request: TrainerRequest): Promise<void> {
  const line = lineOf(request);
  if (line.length > LINE_BYTES) {
    throw new WaybillError(
      "too_large",
      `it is a line of ${line.length} bytes for the trainer; ${LINE_BYTES} are allowed`,
    );
  }
  try {
    const file = await openPipe(pipe);
    try {
      await file.write(line);
    } finally {
      await file.close();
    }
  } catch (cause) {
    const why = hasCode(cause, "EAGAIN")
      ? "the trainer does not read its standard input, which is full"
      : "the trainer's standard input is not open";
    throw new WaybillError("conflict", why, { cause });
  }
}

/** Without waiting for a reader, but for the one that is about to come. */
async function openPipe(pipe: string): Promise<FileHandle> {
  const endMs = performance.now() + OPEN_MS;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    try {
      return await open(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      // open(2): a pipe without a reader.
      if (!hasCode(error, "ENXIO") || performance.now() > endMs) throw error;
      await delay(waitMs);
    }
  }
}
