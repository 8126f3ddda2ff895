// Records of a training's CSV log to rows of named values. Keras writes a row an epoch; Lightning a row whenever it
// logs, with the cells of what it did not log left empty.

export type CsvRow = Readonly<Record<string, string | number>>;

/** Names that JavaScript gives a meaning: whoever reads an event leaves them out. */
const UNKEPT: ReadonlySet<string> = new Set(["", "__proto__", "prototype", "constructor"]);
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const NOT_FINITE: Readonly<Record<string, string>> = {
  nan: "NaN",
  "-nan": "NaN",
  inf: "Infinity",
  "+inf": "Infinity",
  "-inf": "-Infinity",
  infinity: "Infinity",
  "-infinity": "-Infinity",
};

export class CsvRows {
  #header: readonly string[] | undefined;

  /** The record's values; undefined for a header and for what has no number. */
  read(record: readonly string[]): CsvRow | undefined {
    if (this.#header === undefined || isHeader(record)) {
      this.#header = record.map((name, i) => (i === 0 ? name.replace(/^\uFEFF/, "") : name).trim());
      return undefined;
    }
    const row: Record<string, string | number> = {};
    let numbers = 0;
    for (const [i, name] of this.#header.entries()) {
      const cell = record[i]?.trim() ?? "";
      if (UNKEPT.has(name) || cell === "") continue;
      row[name] = valueOf(cell);
      if (isNumeric(cell)) numbers += 1;
    }
    return numbers > 0 ? row : undefined;
  }
}

/** A program that goes on with a file may write its header again, with other columns. */
function isHeader(record: readonly string[]): boolean {
  return record.every((cell) => cell.trim() !== "" && !isNumeric(cell.trim()));
}

function isNumeric(cell: string): boolean {
  return NUMBER.test(cell) || NOT_FINITE[cell.toLowerCase()] !== undefined;
}

/** Numbers JSON has none for stay texts, as in a trainer's lines (trainer.md §3). */
function valueOf(cell: string): string | number {
  const named = NOT_FINITE[cell.toLowerCase()];
  if (named !== undefined) return named;
  if (!NUMBER.test(cell)) return cell;
  const value = Number(cell);
  return Number.isFinite(value) ? value : value > 0 ? "Infinity" : "-Infinity";
}
