// Which shards of `.part` files have been written, as an append-only text beside them. It is a hint, not a
// proof: on resume the named shards are hashed again, so a journal that got ahead of the disk (power loss)
// costs bytes, never correctness (I1).
import type { ShardRun } from "../artifact/index.ts";
import { type OpenFile, files } from "../platform/index.ts";
import type { ArtifactId } from "../protocol/index.ts";
import { ShardSet } from "./shard-set.ts";

const VERSION = "waybill-journal 1";

/** Lines after the head: `first count`. A last line without its end of line was cut off and does not count. */
export class Journal {
  readonly #file: OpenFile;
  #position: number;
  #waiting: string[] = [];
  #writing: Promise<void> | undefined;

  private constructor(file: OpenFile, position: number) {
    this.#file = file;
    this.#position = position;
  }

  /** Opens or begins the journal of one artifact; one of another artifact or version is begun anew. */
  static async open(
    path: string,
    artifact: ArtifactId,
  ): Promise<{ journal: Journal; noted: ShardSet }> {
    const head = `${VERSION} ${artifact}`;
    const text = files.readText(path) ?? "";
    const lines = text.split("\n");
    const ours = lines[0] === head && lines.length > 1;
    const whole = ours ? text.slice(0, text.lastIndexOf("\n") + 1) : "";
    const file = await files.open(path, "write");
    await file.resize(whole.length);
    const journal = new Journal(file, whole.length);
    if (!ours) await journal.#append(`${head}\n`);
    return { journal, noted: ShardSet.of(ours ? lines.slice(1, -1).flatMap(parseLine) : []) };
  }

  /**
   * Notes shards whose bytes have been handed to the operating system; resolves when the note has been,
   * too. Notes that come while one is being written go together.
   */
  async note(run: ShardRun): Promise<void> {
    this.#waiting.push(`${run.first} ${run.count}\n`);
    this.#writing ??= this.#drain();
    await this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  async #drain(): Promise<void> {
    try {
      // Notes that come until the last line is written are taken along; each caller waits for them all.
      while (this.#waiting.length > 0) {
        const text = this.#waiting.join("");
        this.#waiting = [];
        await this.#append(text);
      }
    } finally {
      this.#writing = undefined;
    }
  }

  async #append(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    const position = this.#position;
    this.#position += bytes.length;
    await this.#file.write(bytes, position);
  }
}

function parseLine(line: string): ShardRun[] {
  const match = /^(\d{1,9}) (\d{1,9})$/.exec(line);
  return match === null ? [] : [{ first: Number(match[1]), count: Number(match[2]) }];
}
