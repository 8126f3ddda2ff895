/**
 * Blobs as files:
 *
 * ```
 * tmp/{id} ── fsync ── rename ──▶ blobs/{first two digits}/{id} ── fsync of the folder
 * ```
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, readdir, rename, rm, unlink, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { BlobReader, BlobStore, BlobWriter } from "./blob-store.ts";

/** IOV_MAX on Linux and macOS. */
const MAX_VECTOR = 1024;

export class FileBlobStore implements BlobStore {
  readonly #tmp: string;
  readonly #blobs: string;

  /** @param directory where `tmp/` and `blobs/` live, on one file system */
  constructor(directory: string) {
    this.#tmp = join(directory, "tmp");
    this.#blobs = join(directory, "blobs");
  }

  async open(): Promise<void> {
    await rm(this.#tmp, { recursive: true, force: true });
    await mkdir(this.#tmp, { recursive: true });
    await mkdir(this.#blobs, { recursive: true });
  }

  async create(): Promise<BlobWriter> {
    const id = newBlobId();
    const path = join(this.#tmp, id);
    const file = await open(path, "wx", 0o600);
    return new FileBlobWriter(id, file, path, this.#path(id));
  }

  async openReader(id: string): Promise<BlobReader> {
    return new FileBlobReader(await open(this.#path(id), "r"));
  }

  async delete(ids: readonly string[]): Promise<void> {
    for (const id of ids) await unlinkIfThere(this.#path(id));
  }

  async *list(): AsyncIterable<string> {
    for (const folder of await readdir(this.#blobs)) {
      yield* await readdir(join(this.#blobs, folder));
    }
  }

  #path(id: string): string {
    return join(this.#blobs, id.slice(0, 2), id);
  }
}

/** A name no other blob has: 96 random bits in hexadecimal. */
export function newBlobId(): string {
  return randomBytes(12).toString("hex");
}

class FileBlobWriter implements BlobWriter {
  readonly id: string;
  readonly #path: string;
  readonly #target: string;
  #file: FileHandle | undefined;
  #position = 0;

  constructor(id: string, file: FileHandle, path: string, target: string) {
    this.id = id;
    this.#file = file;
    this.#path = path;
    this.#target = target;
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    for (let at = 0; at < chunks.length; at += MAX_VECTOR) {
      await this.#writeVector(chunks.slice(at, at + MAX_VECTOR));
    }
  }

  async #writeVector(chunks: readonly Uint8Array[]): Promise<void> {
    const { bytesWritten } = await this.#handle().writev(chunks, this.#position);
    this.#position += bytesWritten;
    // A short write is legal (a signal, a nearly full disk); what is left goes chunk by chunk.
    let written = bytesWritten;
    for (const chunk of chunks) {
      if (written >= chunk.length) {
        written -= chunk.length;
        continue;
      }
      let rest = chunk.subarray(written);
      written = 0;
      while (rest.length > 0) {
        const more = await this.#handle().write(rest, 0, rest.length, this.#position);
        this.#position += more.bytesWritten;
        rest = rest.subarray(more.bytesWritten);
      }
    }
  }

  async commit(): Promise<void> {
    const file = this.#handle();
    await file.datasync();
    this.#file = undefined;
    await file.close();
    const folder = dirname(this.#target);
    // The 256 folders come into being one by one, as blobs need them.
    if ((await mkdir(folder, { recursive: true })) !== undefined) await syncFolder(dirname(folder));
    await rename(this.#path, this.#target);
    await syncFolder(folder);
  }

  async abort(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
    await unlinkIfThere(this.#path);
  }

  #handle(): FileHandle {
    if (!this.#file) throw new Error(`Blob ${this.id} is closed.`);
    return this.#file;
  }
}

class FileBlobReader implements BlobReader {
  readonly #file: FileHandle;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const { bytesRead } = await this.#file.read(into, done, into.length - done, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  // Windows cannot open folders and orders renames by itself.
  if (process.platform === "win32") return;
  const folder = await open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
