// The file system as artifacts and transfers use it. Metadata and small files go by synchronous calls
// (2–26 µs each against 40–60 by promise), which callers do in short slices of time; big files are read and
// written at offsets without blocking. Errors are `WaybillError`s: `local_io`, `storage_full`.

export type FileFacts = {
  readonly kind: "file" | "directory" | "symlink" | "other";
  readonly size: number;
  readonly mtimeMs: number;
  /** Tells a file from another one that took its name. */
  readonly inode: number;
  /** Owner's executable bit. */
  readonly executable: boolean;
  /** Permission bits for owner, group and others (0–0o777); on Windows 0o644, or 0o755 when executable. */
  readonly mode: number;
};

/** A file open for reading or writing at offsets. */
export interface OpenFile {
  /** Reads until `into` is full or the file ends; resolves to the bytes read. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes all of `bytes`. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  facts(): Promise<FileFacts>;
  /** Makes the file this long without writing (sparse). */
  resize(size: number): Promise<void>;
  /** Resolves when the bytes are on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface FileSystem {
  /** An absolute path for the platform from a folder and a `/`-separated relative path. */
  join(root: string, ...relative: string[]): string;
  absolute(path: string): string;
  baseName(path: string): string;
  /** Facts of what the name itself is (a link is a link); undefined when nothing is there. */
  lookAt(path: string): FileFacts | undefined;
  /** Facts of what the path leads to; undefined when nothing is there. */
  follow(path: string): FileFacts | undefined;
  /** The path with every link resolved. */
  realPath(path: string): string;
  names(directory: string): string[];
  makeDirectory(path: string): void;
  /** Puts `from` in the place of `to` at once. */
  rename(from: string, to: string): void;
  setExecutable(path: string, executable: boolean): void;
  /** Sets the permission bits (0–0o777); Windows keeps the writable one only. */
  setMode(path: string, mode: number): void;
  /** Removes a file or a whole folder; no error when there is none. */
  remove(path: string): void;
  /** Removes a folder when it is empty; no error otherwise. */
  removeEmpty(path: string): void;
  /** Reads a whole small file; gives its facts from before and after the read. */
  readSmall(path: string, into: Uint8Array): { bytes: number; before: FileFacts; after: FileFacts };
  writeSmall(path: string, bytes: Uint8Array): void;
  readText(path: string): string | undefined;
  appendText(path: string, text: string): void;
  /**
   * Opens a file; `write` makes it when it is not there and keeps what it holds. `write-direct` does the same, and
   * whole pages from page-aligned memory (`allocatePages`) go past the page cache where the file system can:
   * no copy, no memory taken from others, nothing left to flush.
   */
  open(path: string, mode: "read" | "write" | "write-direct"): Promise<OpenFile>;
  /**
   * Flushes everything that was written to the file system that holds the folder; gives whether it could. If not,
   * files are to be flushed one by one.
   */
  flushFileSystem(directory: string): Promise<boolean>;
  /**
   * Takes a lock that dies with this process; throws `conflict` while a living process holds it, this one included.
   * Makes the folder it lies in. Gives what releases it.
   */
  lock(path: string, what: string): () => void;
}
