// Some of what a model predicts, for whoever watches: the first rows that fit, wherever the trainer put them.

/** What a viewer looks at; the whole is part of the model. */
const MAX_ROWS = 100;
/** JSON text of one row: the keypoints of a frame with some hundred points; four such fit an event. */
const MAX_ROW_BYTES = 6 * 1024;
/** Of all rows together: at 1 Mbit/s a second. */
const MAX_BYTES = 128 * 1024;

/** Rows in their order, and what of them is not here. */
export type Predicted = {
  readonly rows: readonly unknown[];
  /** Rows among the first that were too large. */
  readonly leftOut: number;
  readonly more: boolean;
};

/** Takes rows one after the other and keeps the first that fit. */
export class Predictions {
  readonly #rows: unknown[] = [];
  #leftOut = 0;
  #bytes = 0;
  #more = false;

  /** Whether another row would not be kept. */
  get full(): boolean {
    return this.#more || this.#rows.length + this.#leftOut >= MAX_ROWS;
  }

  add(row: unknown): void {
    if (this.full) {
      this.#more = true;
      return;
    }
    const bytes = rowBytes(row);
    if (bytes > MAX_ROW_BYTES) this.#leftOut += 1;
    else if (this.#bytes + bytes > MAX_BYTES) this.#more = true;
    else {
      this.#bytes += bytes;
      this.#rows.push(row);
    }
  }

  /** A row that could not be read. */
  skip(): void {
    if (!this.full) this.#leftOut += 1;
  }

  /** What was not looked at may have other rows. */
  cut(): void {
    this.#more = true;
  }

  /** `undefined` when there was nothing. */
  get kept(): Predicted | undefined {
    if (this.#rows.length === 0 && this.#leftOut === 0) return undefined;
    return { rows: this.#rows, leftOut: this.#leftOut, more: this.#more };
  }
}

/** Rows in slices whose events are told without being cut. */
export function slicesOf(
  rows: readonly unknown[],
): { readonly first: number; readonly rows: unknown[] }[] {
  const slices: { first: number; rows: unknown[] }[] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const [first, row] of rows.entries()) {
    const size = rowBytes(row);
    if (bytes + size > SLICE_BYTES) {
      slices.push({ first, rows: [] });
      bytes = 0;
    }
    slices.at(-1)?.rows.push(row);
    bytes += size;
  }
  return slices;
}

/** Below `LIMITS.eventBytes`, whose event has an envelope. */
const SLICE_BYTES = 24 * 1024;

/** With the comma after it. */
function rowBytes(row: unknown): number {
  return Buffer.byteLength(JSON.stringify(row) ?? "null") + 1;
}
