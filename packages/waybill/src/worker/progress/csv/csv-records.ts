// Text of a CSV file (RFC 4180) to records, as it grows: a record is complete with its line end, quoted cells may
// hold commas, quotes ("") and line ends.

/** A log's line has tens of cells; what has no line end for this long is no log. */
const MAX_RECORD = 1024 * 1024;

export class CsvRecords {
  #cells: string[] = [];
  #cell = "";
  #length = 0;
  #quoted = false;
  /** A quote inside a quoted cell: the next character tells whether it ended the cell. */
  #quote = false;
  #cr = false;

  /** Records that end in `text`; throws `RangeError` when one grows beyond a megabyte. */
  push(text: string): string[][] {
    const records: string[][] = [];
    for (const char of text) {
      if (this.#cr && char === "\n") {
        this.#cr = false;
        continue;
      }
      this.#cr = false;
      this.#take(char, records);
    }
    return records;
  }

  /** The last record when it has no line end; nothing follows. */
  end(): string[][] {
    const records: string[][] = [];
    // One whose quotes are open was torn.
    if (!this.#quoted || this.#quote) this.#endRecord(records);
    return records;
  }

  #take(char: string, records: string[][]): void {
    if (this.#quoted && !this.#quote) {
      if (char === '"') this.#quote = true;
      else this.#add(char);
      return;
    }
    if (this.#quote && char === '"') {
      this.#quote = false;
      this.#add(char);
    } else if (char === ",") this.#endCell();
    else if (char === "\n" || char === "\r") {
      this.#cr = char === "\r";
      this.#endRecord(records);
    } else if (char === '"' && this.#cell === "" && !this.#quoted) this.#quoted = true;
    else this.#add(char);
  }

  #add(char: string): void {
    this.#cell += char;
    this.#length += char.length;
    if (this.#length > MAX_RECORD) throw new RangeError("a line has more than a megabyte");
  }

  #endCell(): void {
    this.#cells.push(this.#cell);
    this.#cell = "";
    this.#quoted = false;
    this.#quote = false;
  }

  #endRecord(records: string[][]): void {
    this.#endCell();
    // An empty line is no record of one empty cell.
    if (this.#cells.length > 1 || this.#cells[0] !== "") records.push(this.#cells);
    this.#cells = [];
    this.#length = 0;
  }
}
