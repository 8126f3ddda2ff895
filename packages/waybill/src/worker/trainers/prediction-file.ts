// Predictions that a trainer left in its output: `predictions.jsonl`, a row on every line, or `predictions.json`, an array or
// an object with one under `predictions`. Nothing about them can fail a job.
import { join } from "node:path";
import { WaybillError } from "@waybill/sdk/protocol";
import { quoteNonFinite } from "./non-finite.ts";
import { type Predicted, Predictions } from "./predictions.ts";
import { readStart } from "./regular-file.ts";

/** Of lines: a hundred rows as large as they may be, and some. */
const LINES_BYTES = 1024 * 1024;
/** Of an array, which has to be read whole: 50 ms of parsing. */
const ARRAY_BYTES = 8 * 1024 * 1024;

/** What there is of them; `undefined` when the trainer left none. Throws when what it left cannot be read. */
export async function readPredictionFile(output: string): Promise<Predicted | undefined> {
  const lines = await readStart(join(output, "predictions.jsonl"), LINES_BYTES);
  if (lines !== undefined) return fromLines(lines.text, lines.whole);
  const array = await readStart(join(output, "predictions.json"), ARRAY_BYTES);
  if (array === undefined) return undefined;
  if (!array.whole) {
    throw new WaybillError(
      "too_large",
      `predictions.json has more than ${ARRAY_BYTES} bytes: write predictions.jsonl, of which only the beginning is read`,
    );
  }
  return fromArray(array.text);
}

function fromLines(text: string, whole: boolean): Predicted | undefined {
  const found = new Predictions();
  const lines = text.split("\n");
  // Cut in the middle.
  if (!whole) lines.pop();
  for (const line of lines) {
    if (line.trim() === "") continue;
    const row = parsed(line);
    if (row === undefined) found.skip();
    else found.add(row);
  }
  if (!whole) found.cut();
  return found.kept;
}

function fromArray(text: string): Predicted | undefined {
  const value = parsed(text);
  const rows: unknown = Array.isArray(value)
    ? value
    : (Object(value) as { predictions?: unknown }).predictions;
  if (!Array.isArray(rows)) {
    throw new WaybillError(
      "invalid_request",
      "predictions.json is no array of rows, nor an object with one under `predictions`",
    );
  }
  const found = new Predictions();
  for (const row of rows) found.add(row);
  return found.kept;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(quoteNonFinite(text.trim()));
  } catch {
    return undefined;
  }
}
