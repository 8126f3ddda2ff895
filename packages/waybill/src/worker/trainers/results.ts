// What a training came to: the last value of each metric, and the trainer's own result line over it.
import { type Predicted, Predictions } from "./predictions.ts";

/** The registry entry of a model carries these; a trainer that prints more keys keeps the first. */
const MAX_KEYS = 256;
/** JSON text of all values together. */
const MAX_BYTES = 24 * 1024;

export class Results {
  readonly #predictions = new Predictions();
  readonly #metrics = new Map<string, unknown>();
  #result: Readonly<Record<string, unknown>> = {};
  #bytes = 0;

  metric(data: Readonly<Record<string, unknown>>): void {
    for (const [key, value] of Object.entries(data)) {
      if (key === "type") continue;
      const before = this.#metrics.get(key);
      const bytes = sizeOf(key, value) - (before === undefined ? 0 : sizeOf(key, before));
      const fits = this.#bytes + bytes <= MAX_BYTES;
      if (!fits || (before === undefined && this.#metrics.size >= MAX_KEYS)) continue;
      this.#bytes += bytes;
      this.#metrics.set(key, value);
    }
  }

  /** Rows that were printed. */
  predictions(rows: readonly unknown[]): void {
    for (const row of rows) this.#predictions.add(row);
  }

  /** The first rows that were printed, if any were. */
  get predicted(): Predicted | undefined {
    return this.#predictions.kept;
  }

  /** The last result line counts. */
  result(data: Readonly<Record<string, unknown>>): void {
    this.#result = data;
  }

  /** Everything together, at most 256 keys and 24 KiB. */
  get final(): Record<string, unknown> {
    const all: Record<string, unknown> = {};
    let bytes = 0;
    const { type: _, ...result } = this.#result;
    const entries = Object.entries({ ...Object.fromEntries(this.#metrics), ...result });
    // What the trainer itself called its result goes first when there is too much.
    const ordered = [...entries].sort(([a], [b]) => Number(b in result) - Number(a in result));
    for (const [key, value] of ordered.slice(0, MAX_KEYS)) {
      bytes += sizeOf(key, value);
      if (bytes > MAX_BYTES) break;
      all[key] = value;
    }
    return all;
  }
}

function sizeOf(key: string, value: unknown): number {
  if (typeof value === "number") return key.length + 24;
  return key.length + (JSON.stringify(value)?.length ?? 0);
}
