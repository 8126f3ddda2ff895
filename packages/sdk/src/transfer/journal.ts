// Which shards of `.part` files have been written, as an append-only text beside them. It is a hint, not a
// proof: on resume the named shards are hashed again, so a journal that got ahead of the disk (power loss)
// costs bytes, never correctness (I1).
import type { ShardRun } from "../artifact/index.ts";
import { files } from "../platform/index.ts";
import type { ArtifactId } from "../protocol/index.ts";
import { ShardSet } from "./shard-set.ts";

const VERSION = "waybill-journal 1";

/** Lines after the head: `first count`. A last line without its end of line was cut off and does not count. */
export class Journal {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Opens or begins the journal of one artifact; one of another artifact or version is begun anew. */
  static open(path: string, artifact: ArtifactId): { journal: Journal; noted: ShardSet } {
    const head = `${VERSION} ${artifact}`;
    const lines = (files.readText(path) ?? "").split("\n");
    const journal = new Journal(path);
    if (lines[0] !== head || lines.length < 2) {
      files.remove(path);
      files.appendText(path, `${head}\n`);
      return { journal, noted: ShardSet.empty };
    }
    const cut = lines.pop();
    if (cut !== "") files.appendText(path, "\n");
    return { journal, noted: ShardSet.of(lines.slice(1).flatMap(parseLine)) };
  }

  /** Notes shards whose bytes have been handed to the operating system. */
  note(run: ShardRun): void {
    files.appendText(this.#path, `${run.first} ${run.count}\n`);
  }
}

function parseLine(line: string): ShardRun[] {
  const match = /^(\d{1,9}) (\d{1,9})$/.exec(line);
  return match === null ? [] : [{ first: Number(match[1]), count: Number(match[2]) }];
}
