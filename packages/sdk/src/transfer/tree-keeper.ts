// Lays verified shards out as files. Each file grows aside as a `.part` and is put in place when its last shard is
// in and flushed. Nothing is visible under its own name before every shard of it matched (I1).
import { PULL_STATE_FOLDER, type ShardMap, type ShardRun } from "../artifact/index.ts";
import { type OpenFile, TimeSlice, files } from "../platform/index.ts";
import { type ArtifactId, WaybillError } from "../protocol/index.ts";
import { assertFolder } from "./destination.ts";
import type { ShardKeeper } from "./download-runner.ts";
import { FilePlacer } from "./file-placer.ts";
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
  writers: number;
  /** Bytes written since the last flush was begun. */
  unflushed: number;
  flushing: Promise<void> | undefined;
};

export type KeeperOptions = {
  /**
   * The files are read at once by somebody else, such as a trainer: they are written through the page cache and
   * stay in it. Otherwise big ones go past it: less work, and no memory taken from others.
   */
  readonly readSoon?: boolean;
  /** Replace what has got a file's name since the destination was looked at; otherwise it is a `conflict`. */
  readonly overwrite?: boolean;
};

export class TreeKeeper implements ShardKeeper {
  readonly #map: ShardMap;
  readonly #dir: string;
  readonly #mode: "write" | "write-direct";
  readonly #state: string;
  readonly #folders = new Set<string>();
  /** Shards kept so far, of the files that are not whole yet. */
  #kept = ShardSet.empty;
  /** Files that are whole: in place, or on their way there. */
  readonly #whole = new Set<number>();
  readonly #open = new Map<number, PartFile>();
  readonly #opening = new Map<number, Promise<PartFile>>();
  readonly #slice = new TimeSlice();
  readonly #journal: Journal;
  readonly #placer: FilePlacer;
  readonly #overwrite: boolean;
  /** Shards the journal of an earlier pull names; they are to be checked and then given to `resume`. */
  readonly noted: ShardSet;
  #closed = false;

  private constructor(init: {
    readonly map: ShardMap;
    readonly dir: string;
    readonly state: string;
    readonly journal: Journal;
    readonly noted: ShardSet;
    readonly overwrite: boolean;
    readonly mode: "write" | "write-direct";
  }) {
    this.#mode = init.mode;
    this.#map = init.map;
    this.#dir = init.dir;
    this.#state = init.state;
    this.#journal = init.journal;
    this.#placer = new FilePlacer(init.dir);
    this.noted = init.noted;
    this.#overwrite = init.overwrite;
  }

  /**
   * Begins or resumes in `dir`, which the caller has locked. Throws `conflict` when something else lies where
   * unfinished bytes go, and `local_io` where nothing can be written.
   */
  static async open(
    map: ShardMap,
    dir: string,
    artifact: ArtifactId,
    { readSoon = false, overwrite = false }: KeeperOptions = {},
  ): Promise<TreeKeeper> {
    const top = files.join(dir, PULL_STATE_FOLDER);
    assertFolder(top);
    const state = files.join(top, artifact.slice(0, 16));
    assertFolder(state);
    files.makeDirectory(state);
    const { journal, noted } = await Journal.open(files.join(state, "journal"), artifact);
    const mode = readSoon ? "write" : "write-direct";
    return new TreeKeeper({ map, dir, state, journal, noted, overwrite, mode });
  }

  /** Where the unfinished bytes of a file lie. */
  partPath(file: number): string {
    return files.join(this.#state, `${file}.part`);
  }

  /** Counts shards of one file's `.part` as kept: checked ones of an earlier pull, or zeros, which are holes in it. */
  async resume(run: ShardRun): Promise<void> {
    const file = this.#map.fileOf(run.first);
    if (this.#map.shardsOf(file).count === 1 && !this.#whole.has(file)) {
      const { size } = this.#map.file(file);
      await this.#cut(file, size);
      await this.#finishSmall(file, size);
      return;
    }
    this.#kept = this.#kept.with(run);
    await this.#finishIfWhole(file);
  }

  /** Files that are right where they are. */
  skip(file: number): void {
    this.#whole.add(file);
  }

  /** Puts empty files in place: they have no shards. */
  async keepEmptyFiles(): Promise<void> {
    for (const [index, { size }] of this.#map.manifest.files.entries()) {
      if (size > 0 || this.#whole.has(index)) continue;
      await this.#slice.pause();
      files.writeSmall(this.partPath(index), new Uint8Array(0));
      await this.#finishSmall(index, 0);
    }
  }

  async keep(run: ShardRun, bytes: Uint8Array): Promise<void> {
    const touched: number[] = [];
    for (let shard = run.first, at = 0; shard < run.first + run.count;) {
      const { file, offset } = this.#map.locate(shard);
      const own = this.#map.shardsOf(file);
      const count = Math.min(own.first + own.count, run.first + run.count) - shard;
      const size = this.#map.bytesOf({ first: shard, count });
      // Two sources may bring a shard when one took it over from the other: the first counts.
      if (!this.#whole.has(file)) {
        await this.#write(file, offset, bytes.subarray(at, at + size));
        touched.push(file);
      }
      shard += count;
      at += size;
    }
    await this.#journal.note(run);
    this.#kept = this.#kept.with(run);
    for (const file of touched) await this.#finishIfWhole(file);
  }

  /** Waits until every file is in place, then removes parts and journal. */
  async finish(): Promise<void> {
    await this.#placer.finish();
    await this.close();
    files.remove(this.#state);
  }

  /** Closes files; what has arrived stays for the next pull. */
  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const part of open) await closePart(part);
    await this.#placer.settle();
    if (this.#closed) return;
    this.#closed = true;
    await this.#journal.close();
  }

  async #write(index: number, offset: number, bytes: Uint8Array): Promise<void> {
    if (this.#map.shardsOf(index).count > 1) {
      const part = await this.#openPart(index);
      part.writers += 1;
      try {
        await part.file.write(bytes, offset);
        startFlush(part, bytes.length);
      } finally {
        part.writers -= 1;
      }
    } else if (bytes.length <= SMALL_FILE_BYTES) {
      await this.#slice.pause();
      files.writeSmall(this.partPath(index), bytes);
    } else {
      const file = await files.open(this.partPath(index), this.#mode);
      try {
        await file.resize(bytes.length);
        await file.write(bytes, 0);
      } finally {
        await file.close();
      }
    }
  }

  /** Cuts off what lies behind the bytes that were checked. */
  async #cut(index: number, size: number): Promise<void> {
    const path = this.partPath(index);
    if (files.lookAt(path)?.size === size) return;
    const file = await files.open(path, "write");
    try {
      await file.resize(size);
    } finally {
      await file.close();
    }
  }

  async #finishIfWhole(index: number): Promise<void> {
    const own = this.#map.shardsOf(index);
    const whole = this.#kept.firstRun(own.first);
    if (whole?.first !== own.first || whole.count < own.count || this.#whole.has(index)) return;
    this.#kept = this.#kept.without(own);
    const { size } = this.#map.file(index);
    if (own.count === 1) {
      await this.#finishSmall(index, size);
      return;
    }
    this.#whole.add(index);
    const part = await this.#openPart(index);
    this.#open.delete(index);
    await part.flushing;
    await this.#placer.addOpen(this.#wholeFile(index, size), part.file);
  }

  async #finishSmall(index: number, bytes: number): Promise<void> {
    this.#whole.add(index);
    await this.#placer.addSmall(this.#wholeFile(index, bytes));
  }

  #wholeFile(index: number, bytes: number) {
    const from = this.partPath(index);
    return { from, bytes, place: () => this.#place(index, from) };
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
    const file = await files.open(this.partPath(index), this.#mode);
    const { size } = this.#map.file(index);
    const facts = await file.facts();
    if (facts.size !== size) await file.resize(size);
    const part: PartFile = { file, writers: 0, unflushed: 0, flushing: undefined };
    this.#open.set(index, part);
    return part;
  }

  /**
   * Renames finished bytes to their own name. Whatever has that name by now was not there when the destination was
   * looked at: it is somebody's, and stays, unless overwriting was asked for.
   */
  #place(index: number, from: string): void {
    const { path, executable, mode } = this.#map.file(index);
    this.#makeFolders(path);
    if (mode !== undefined) files.setMode(from, mode);
    else if (executable === true) files.setExecutable(from, true);
    const target = files.join(this.#dir, path);
    if (!this.#overwrite && files.lookAt(target) !== undefined) throw appeared(target);
    files.rename(from, target);
  }

  /** Makes the folders of a path; one that is a link would lead bytes out of the destination. */
  #makeFolders(path: string): void {
    const cut = path.lastIndexOf("/");
    if (cut === -1) return;
    const folder = path.slice(0, cut);
    if (this.#folders.has(folder)) return;
    this.#makeFolders(folder);
    const target = files.join(this.#dir, folder);
    if (!assertFolder(target)) files.makeDirectory(target);
    this.#folders.add(folder);
  }
}

function appeared(target: string): WaybillError {
  return new WaybillError("conflict", `${target} appeared while it was being pulled`, {
    hint: "move it away and run the same command again, or replace it with --overwrite: what has arrived is kept",
  });
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
