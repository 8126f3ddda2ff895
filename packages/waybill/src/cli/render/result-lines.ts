// What a training came to, for people at a terminal of 80 columns: the model-to-be, its metrics, the first predictions.
import type { JobEventOf } from "@waybill/sdk/protocol";
import { formatBytes, formatValue } from "./format.ts";

const COLUMNS = 80;
const INDENT = " ".repeat(9);
/** Of a hundred; `--json` has all that were told. */
const SHOWN_ROWS = 5;

/** `result   model 3f9a12cc (unet), to be prod-v1: 3 files, 12.0 MiB` and what belongs to it. */
export function resultLines(event: JobEventOf<"result">): string[] {
  return [
    `result   ${headline(event)}`,
    ...wrapped(Object.entries(event.data).flatMap(([key, value]) => fact(key, value))),
    ...(event.thumbnails === undefined ? [] : [`${INDENT}${event.thumbnails} thumbnails follow`]),
  ];
}

function headline({
  model,
  modelType,
  alias,
  files,
  bytes,
  stoppedEarly,
}: JobEventOf<"result">): string {
  const type = modelType === undefined ? "" : ` (${modelType})`;
  const name = alias === undefined ? "" : `, to be ${alias}`;
  const what = model === undefined ? "" : `model ${model}${type}${name}: `;
  const early = stoppedEarly ? ", stopped early" : "";
  return `${what}${files} ${files === 1 ? "file" : "files"}, ${formatBytes(bytes)}${early}`;
}

/** `predictions 100 of more` and the first of the rows. */
export function predictionLines(
  predictions: NonNullable<JobEventOf<"result">["predictions"]>,
  rows: readonly unknown[],
): string[] {
  const others = predictions.more ? " of more" : "";
  const left = predictions.leftOut === 0 ? "" : `, ${predictions.leftOut} too large to show`;
  const shown = rows.slice(0, SHOWN_ROWS).map((row) => `${INDENT}  ${JSON.stringify(row)}`);
  const rest = rows.length - shown.length;
  return [
    `predictions ${predictions.rows}${others}${left}`,
    ...shown.map((line) => clipped(line)),
    ...(rest > 0 ? [`${INDENT}  … ${rest} others (--json has them)`] : []),
  ];
}

/** Numbers and short texts; what a trainer nests is for `--json`. */
function fact(key: string, value: unknown): string[] {
  const scalar = typeof value !== "object" || value === null;
  return scalar ? [clipped(`${key}=${formatValue(value)}`, COLUMNS - INDENT.length)] : [];
}

function wrapped(facts: readonly string[]): string[] {
  const lines: string[] = [];
  for (const one of facts) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + one.length <= COLUMNS) {
      lines[lines.length - 1] = `${last} ${one}`;
    } else lines.push(`${INDENT}${one}`);
  }
  return lines;
}

function clipped(line: string, columns = COLUMNS): string {
  const characters = Array.from(line);
  return characters.length <= columns ? line : `${characters.slice(0, columns - 1).join("")}…`;
}
