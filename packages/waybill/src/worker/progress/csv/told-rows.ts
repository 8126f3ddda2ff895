// Which rows of a log have been told. A log may be written anew while it grows (Lightning does so whenever a column
// is added): rows that repeat, from the first on, what was told are not told again; from the first one that differs,
// it is another log. A row's event carries its number, so that a restarted daemon finds out the same from the events.
import { hash } from "node:crypto";
import type { CsvRow } from "./csv-rows.ts";

export class ToldRows {
  /** 48 bits of each row's digest: a million rows take 8 MB. */
  readonly #digests: number[] = [];
  #at = 0;

  /** A row a former daemon told, in the order of the events. */
  remember(row: number, data: Readonly<Record<string, unknown>>): void {
    this.#digests.length = Math.min(this.#digests.length, row - 1);
    this.#digests.push(digestOf(data));
  }

  /** The log is read from its beginning. */
  rewind(): void {
    this.#at = 0;
  }

  /** The row's number, from 1, when it has to be told; undefined when it was. */
  next(data: CsvRow): number | undefined {
    const digest = digestOf(data);
    const told = this.#digests[this.#at] === digest;
    if (!told) {
      this.#digests.length = this.#at;
      this.#digests.push(digest);
    }
    this.#at += 1;
    return told ? undefined : this.#at;
  }
}

/** Of names and values in the order of names: columns may change places. */
function digestOf(data: Readonly<Record<string, unknown>>): number {
  const entries = Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1));
  return hash("sha1", JSON.stringify(entries), "buffer").readUIntBE(0, 6);
}
