// The objects of an artifact as they would be stored plain, read from the files of a tree: a file each, or all of them end
// to end. A file that was looked at when it was hashed is given only while it is still that one.
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { type ScannedFile, type SizedFile, storedObjects } from "@waybill/sdk/artifact";
import { type ArtifactManifest, PACK_KEY, WaybillError } from "@waybill/sdk/protocol";

/** A file, and the state in which it was hashed, where that is known. */
type TreeFile = SizedFile & Partial<Pick<ScannedFile, "mtimeMs" | "inode">>;

export type TreeObjectsInit = {
  /** The files of the manifest, in its order. */
  readonly scan: { readonly root: string; readonly files: readonly TreeFile[] };
  readonly manifest: ArtifactManifest;
};

/** Read at once; a multiple of what a socket takes. */
const READ_BYTES = 256 * 1024;

export class TreeObjects {
  readonly #scan: TreeObjectsInit["scan"];
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #files: ReadonlyMap<string, TreeFile>;
  /** Where each file begins in the pack. */
  readonly #starts: readonly number[];
  readonly #isPacked: boolean;

  constructor({ scan, manifest }: TreeObjectsInit) {
    this.#scan = scan;
    this.#isPacked = manifest.layout === "packed";
    this.#sizes = new Map(
      storedObjects(manifest.layout, manifest.files).map(({ key, size }) => [key, size]),
    );
    this.#files = new Map(scan.files.map((file) => [file.path, file]));
    let start = 0;
    this.#starts = scan.files.map(({ size }) => (start += size) - size);
  }

  /** An object's bytes; undefined when the artifact has no such object. */
  sizeOf(key: string): number | undefined {
    return this.#sizes.get(key);
  }

  /**
   * Bytes `start` … `end - 1` of an object; a piece is valid until the next one is asked for. Throws `source_changed`
   * before a file's first byte when it is not the one that was hashed, `local_io` when it cannot be read.
   */
  async *read(key: string, start: number, end: number): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, Math.max(1, end - start)));
    for (const slice of this.#slices(key, start, end)) {
      const handle = await this.#open(slice.file);
      try {
        let at = slice.from;
        while (at < slice.to) {
          const length = Math.min(buffer.length, slice.to - at);
          const { bytesRead } = await handle.read(buffer, 0, length, at);
          if (bytesRead === 0) throw changed(slice.file);
          at += bytesRead;
          yield buffer.subarray(0, bytesRead);
        }
      } finally {
        await handle.close();
      }
    }
  }

  /** Throws `source_changed` when the first file of a range is not the one that was hashed any more. */
  async check(key: string, start: number, end: number): Promise<void> {
    const [first] = this.#slices(key, start, end);
    if (first !== undefined) await (await this.#open(first.file)).close();
  }

  *#slices(key: string, start: number, end: number): Generator<Slice> {
    if (this.#isPacked && key === PACK_KEY) {
      let at = this.#fileAt(start);
      for (let done = start; done < end; at += 1) {
        const file = this.#scan.files[at];
        const begins = this.#starts[at];
        if (file === undefined || begins === undefined) return;
        const to = Math.min(end, begins + file.size);
        if (to > done) yield { file, from: done - begins, to: to - begins };
        done = Math.max(done, to);
      }
      return;
    }
    const file = this.#files.get(key);
    if (file !== undefined) yield { file, from: start, to: end };
  }

  /** The last file of the pack that begins at `offset` or before. */
  #fileAt(offset: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#starts[middle] ?? Infinity) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  async #open(file: TreeFile): Promise<FileHandle> {
    const path = join(this.#scan.root, file.path);
    let handle: FileHandle;
    try {
      handle = await open(path, "r");
    } catch (cause) {
      throw new WaybillError("source_changed", `${file.path} cannot be read any more`, { cause });
    }
    try {
      const { size, mtimeMs, ino } = await handle.stat();
      const isSame =
        size === file.size && mtimeMs === (file.mtimeMs ?? mtimeMs) && ino === (file.inode ?? ino);
      if (!isSame) throw changed(file);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return handle;
  }
}

type Slice = { readonly file: TreeFile; readonly from: number; readonly to: number };

function changed({ path }: TreeFile): WaybillError {
  return new WaybillError("source_changed", `${path} is not the file that was hashed any more`, {
    hint: "push again",
  });
}
