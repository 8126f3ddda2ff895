// Lays verified shards out as files. A file of one shard is written aside and renamed into place; a bigger
// one grows as a sparse `.part` and is renamed when its last shard is in. Nothing is visible under its own
// name before every shard of it matched (I1).
import { PULL_STATE_FOLDER, type ShardMap, type ShardRun } from "../artifact/index.ts";
import { type OpenFile, TimeSlice, files } from "../platform/index.ts";
import { type ArtifactId, WaybillError } from "../protocol/index.ts";
import type { ShardKeeper } from "./download-runner.ts";
import { Journal } from "./journal.ts";
import { ShardSet } from "./shard-set.ts";

/** Up to this a synchronous write is shorter than the overhead of an asynchronous one. */
const SMALL_FILE_BYTES = 256 * 1024;
/** `.part` files open at once: requests are few, and each writes to one file at a time. */
const MAX_OPEN = 16;

/** Written bytes are flushed in the background at this interval, so that the last flush is short. */
const FLUSH_BYTES = 64 * 1024 * 1024;

type PartFile = {
  readonly file: OpenFile;
  readonly path: string;
  writers: number;
  /** Bytes written since the last flush was begun. */
  unflushed: number;
  flushing: Promise<void> | undefined;
};

export class TreeKeeper implements ShardKeeper {
  readonly #map: ShardMap;
  readonly #dir: string;
  readonly #state: string;
  readonly #folders = new Set<string>();
  /** Shards kept so far, of the files that are not in place yet. */
  #kept = ShardSet.empty;
  readonly #placed = new Set<number>();
  readonly #open = new Map<number, PartFile>();
  readonly #opening = new Map<number, Promise<PartFile>>();
  readonly #slice = new TimeSlice();
  readonly #journal: Journal;
  readonly #unlock: () => void;
  /** Shards the journal of an earlier pull names; they are to be checked and then given to `resume`. */
  readonly noted: ShardSet;
  #aside = 0;
  #closed = false;

  private constructor(init: {
    readonly map: ShardMap;
    readonly dir: string;
    readonly state: string;
    readonly journal: Journal;
    readonly noted: ShardSet;
    readonly unlock: () => void;
  }) {
    this.#map = init.map;
    this.#dir = init.dir;
    this.#state = init.state;
    this.#journal = init.journal;
    this.noted = init.noted;
    this.#unlock = init.unlock;
  }

  /** Begins or resumes in `dir`; throws `conflict` while another process pulls the same artifact there. */
  static async open(map: ShardMap, dir: string, artifact: ArtifactId): Promise<TreeKeeper> {
    const state = files.join(dir, PULL_STATE_FOLDER, artifact.slice(0, 16));
    files.makeDirectory(state);
    const unlock = files.lock(files.join(state, "lock"), `the pull into ${dir}`);
    try {
      const { journal, noted } = await Journal.open(files.join(state, "journal"), artifact);
      return new TreeKeeper({ map, dir, state, journal, noted, unlock });
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** Where the unfinished bytes of a file lie. */
  partPath(file: number): string {
    return files.join(this.#state, `${file}.part`);
  }

  /** Counts shards of an earlier pull's `.part` as kept, after they were checked. */
  async resume(run: ShardRun): Promise<void> {
    this.#kept = this.#kept.with(run);
    await this.#placeIfWhole(this.#map.fileOf(run.first));
  }

  /** Files that are right where they are. */
  skip(file: number): void {
    this.#placed.add(file);
  }

  /** Puts empty files in place: they have no shards. */
  async keepEmptyFiles(): Promise<void> {
    for (const [index, { size }] of this.#map.manifest.files.entries()) {
      if (size > 0 || this.#placed.has(index)) continue;
      await this.#slice.pause();
      this.#writeAside(index, new Uint8Array(0));
    }
  }

  async keep(run: ShardRun, bytes: Uint8Array): Promise<void> {
    for (let shard = run.first, at = 0; shard < run.first + run.count;) {
      const { file, offset } = this.#map.locate(shard);
      const own = this.#map.shardsOf(file);
      const count = Math.min(own.first + own.count, run.first + run.count) - shard;
      const size = this.#map.bytesOf({ first: shard, count });
      const piece = bytes.subarray(at, at + size);
      if (own.count > 1) await this.#writePart(file, offset, piece, { first: shard, count });
      else if (size <= SMALL_FILE_BYTES) {
        await this.#slice.pause();
        if (!this.#placed.has(file)) this.#writeAside(file, piece);
      } else await this.#writeWhole(file, piece);
      shard += count;
      at += size;
    }
  }

  /** Removes parts and journal: everything is in place. */
  async finish(): Promise<void> {
    await this.close();
    files.remove(this.#state);
    files.removeEmpty(files.join(this.#dir, PULL_STATE_FOLDER));
  }

  /** Closes files and gives the folder free; what has arrived stays for the next pull. */
  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const part of open) await closePart(part);
    if (this.#closed) return;
    this.#closed = true;
    await this.#journal.close();
    this.#unlock();
  }

  #writeAside(index: number, bytes: Uint8Array): void {
    const aside = files.join(this.#state, `${this.#aside++}.new`);
    files.writeSmall(aside, bytes);
    this.#place(index, aside);
  }

  async #writeWhole(index: number, bytes: Uint8Array): Promise<void> {
    if (this.#placed.has(index)) return;
    const aside = files.join(this.#state, `${this.#aside++}.new`);
    const file = await files.open(aside, "write");
    try {
      await file.write(bytes, 0);
    } finally {
      await file.close();
    }
    this.#place(index, aside);
  }

  async #writePart(index: number, offset: number, bytes: Uint8Array, run: ShardRun): Promise<void> {
    // Two sources may bring a shard when one took it over from the other: the first counts.
    if (this.#placed.has(index)) return;
    const part = await this.#openPart(index);
    part.writers += 1;
    try {
      await part.file.write(bytes, offset);
      startFlush(part, bytes.length);
    } finally {
      part.writers -= 1;
    }
    await this.#journal.note(run);
    this.#kept = this.#kept.with(run);
    await this.#placeIfWhole(index);
  }

  async #placeIfWhole(index: number): Promise<void> {
    const own = this.#map.shardsOf(index);
    const whole = this.#kept.firstRun(own.first);
    if (whole?.first !== own.first || whole.count < own.count || this.#placed.has(index)) return;
    this.#placed.add(index);
    const part = await this.#openPart(index);
    this.#open.delete(index);
    // The bytes are on the disk before their name is: a power loss cannot leave a wrong file in place.
    await part.flushing;
    await part.file.sync();
    await part.file.close();
    this.#kept = this.#kept.without(own);
    this.#place(index, part.path);
  }

  async #openPart(index: number): Promise<PartFile> {
    const open = this.#open.get(index);
    if (open !== undefined) return open;
    const opening = this.#opening.get(index);
    if (opening !== undefined) return opening;
    const promise = this.#openFresh(index);
    this.#opening.set(index, promise);
    try {
      return await promise;
    } finally {
      this.#opening.delete(index);
    }
  }

  async #openFresh(index: number): Promise<PartFile> {
    for (const [other, part] of this.#open) {
      if (this.#open.size < MAX_OPEN) break;
      if (part.writers > 0) continue;
      this.#open.delete(other);
      await closePart(part);
    }
    const path = this.partPath(index);
    const file = await files.open(path, "write-direct");
    const { size } = this.#map.file(index);
    const facts = await file.facts();
    if (facts.size !== size) await file.resize(size);
    const part: PartFile = { file, path, writers: 0, unflushed: 0, flushing: undefined };
    this.#open.set(index, part);
    return part;
  }

  /** Renames finished bytes to their own name. */
  #place(index: number, from: string): void {
    const { path, executable } = this.#map.file(index);
    this.#makeFolders(path);
    if (executable === true) files.setExecutable(from, true);
    files.rename(from, files.join(this.#dir, path));
    this.#placed.add(index);
  }

  /** Makes the folders of a path; one that is a link would lead bytes out of the destination. */
  #makeFolders(path: string): void {
    const cut = path.lastIndexOf("/");
    if (cut === -1) return;
    const folder = path.slice(0, cut);
    if (this.#folders.has(folder)) return;
    this.#makeFolders(folder);
    const target = files.join(this.#dir, folder);
    const facts = files.lookAt(target);
    if (facts === undefined) files.makeDirectory(target);
    else if (facts.kind !== "directory") {
      throw new WaybillError("conflict", `${target} is in the way: it is not a folder`, {
        hint: "remove it, or pull into another folder",
      });
    }
    this.#folders.add(folder);
  }
}

function startFlush(part: PartFile, bytes: number): void {
  part.unflushed += bytes;
  if (part.unflushed < FLUSH_BYTES || part.flushing !== undefined) return;
  part.unflushed = 0;
  part.flushing = part.file
    .sync()
    // The flush before the rename meets the same failure and reports it.
    .catch(() => undefined)
    .finally(() => {
      part.flushing = undefined;
    });
}

async function closePart(part: PartFile): Promise<void> {
  await part.flushing;
  await part.file.close();
}
