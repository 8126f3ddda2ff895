// Compares what lies in a folder with an artifact's manifest: every file is read and hashed, nothing is changed.
import { type ScannedFile, type TreeScan, scanTree } from "../artifact/index.ts";
import { TimeSlice, blake3Hex, files } from "../platform/index.ts";
import { type ArtifactFile, type ArtifactManifest, WaybillError } from "../protocol/index.ts";

export type TreeDifference = {
  readonly path: string;
  /** `missing`: of the manifest, not there. `extra`: there, not of the manifest. */
  readonly kind: "differs" | "missing" | "extra";
  /** What differs, for people. */
  readonly detail?: string;
};

export type TreeComparison = {
  /** In the order of the paths; empty when the tree is the artifact. */
  readonly differences: readonly TreeDifference[];
  /** Bytes that were read and hashed. */
  readonly bytes: number;
  /** What a push of this folder would warn of, such as what it would leave out. */
  readonly warnings: readonly string[];
};

export type CompareOptions = {
  readonly signal?: AbortSignal | undefined;
  /** Bytes hashed, of how many. Called often. */
  readonly onProgress?: (progress: { readonly bytes: number; readonly total: number }) => void;
};

/** Up to this a file is read whole by one synchronous call. */
const SMALL_FILE_BYTES = 256 * 1024;
/** Two reads of this size: one is hashed while the other arrives. */
const READ_BYTES = 4 * 1024 * 1024;

/**
 * Compares the folder or file at `path`, under the scan rules of a push. Throws `local_io` when something
 * cannot be read, `source_changed` when a file shrinks meanwhile, or the signal's reason.
 */
export async function compareTree(
  path: string,
  manifest: ArtifactManifest,
  options: CompareOptions = {},
): Promise<TreeComparison> {
  const scan = await scanOrEmpty(path, options.signal);
  const there = new Map(scan.files.map((file) => [file.path, file]));
  const total = manifest.files.reduce(
    (sum, file) => sum + (there.has(file.path) ? file.size : 0),
    0,
  );
  const walk = new Comparison(scan.root, manifest.shardBytes, total, options);
  const differences: TreeDifference[] = [];
  for (const file of manifest.files) {
    const found = there.get(file.path);
    there.delete(file.path);
    if (found === undefined) {
      differences.push({ path: file.path, kind: "missing" });
      continue;
    }
    const detail = await walk.difference(file, found);
    if (detail !== undefined) differences.push({ path: file.path, kind: "differs", detail });
  }
  for (const extra of there.keys()) differences.push({ path: extra, kind: "extra" });
  return { differences, bytes: walk.bytes, warnings: scan.warnings };
}

async function scanOrEmpty(path: string, signal: AbortSignal | undefined): Promise<TreeScan> {
  const isFolder = files.follow(files.absolute(path))?.kind === "directory";
  try {
    return await scanTree(path, { signal, unsendable: "skip" });
  } catch (error) {
    // A folder without a file is no error here: everything is missing.
    const empty = error instanceof WaybillError && error.code === "invalid_request";
    if (!isFolder || !empty) throw error;
    return { root: files.absolute(path), files: [], bytes: 0, warnings: [] };
  }
}

class Comparison {
  bytes = 0;
  #progress = 0;
  readonly #root: string;
  readonly #shardBytes: number;
  readonly #total: number;
  readonly #options: CompareOptions;
  readonly #slice = new TimeSlice();
  readonly #readBytes: number;
  #buffers: [Uint8Array, Uint8Array] | undefined;

  constructor(root: string, shardBytes: number, total: number, options: CompareOptions) {
    this.#root = root;
    this.#shardBytes = shardBytes;
    this.#total = total;
    this.#options = options;
    this.#readBytes = Math.max(shardBytes, READ_BYTES - (READ_BYTES % shardBytes));
  }

  /** What differs, or nothing. A file of another size is not read. */
  async difference(file: ArtifactFile, found: ScannedFile): Promise<string | undefined> {
    await this.#slice.pause(this.#options.signal);
    if (found.size !== file.size) {
      this.#advance(file.size, 0);
      return `has ${found.size} bytes, not ${file.size}`;
    }
    const wrong = file.size <= SMALL_FILE_BYTES ? this.#smallFile(file) : await this.#bigFile(file);
    if (wrong !== undefined) {
      const start = wrong * this.#shardBytes;
      const end = Math.min(start + this.#shardBytes, file.size);
      return `other content in bytes ${start}–${end - 1}`;
    }
    if (found.executable !== (file.executable === true)) {
      return file.executable === true ? "is not executable" : "is executable";
    }
    return undefined;
  }

  /** The first wrong shard. */
  #smallFile(file: ArtifactFile): number | undefined {
    const whole = new Uint8Array(file.size);
    const { bytes } = files.readSmall(files.join(this.#root, file.path), whole);
    if (bytes < file.size) throw shrank(file.path);
    this.#advance(file.size, file.size);
    return this.#wrongShard(file, whole, 0);
  }

  async #bigFile(file: ArtifactFile): Promise<number | undefined> {
    const handle = await files.open(files.join(this.#root, file.path), "read");
    this.#buffers ??= [new Uint8Array(this.#readBytes), new Uint8Array(this.#readBytes)];
    let [current, next] = this.#buffers;
    const read = (into: Uint8Array, at: number): Promise<number> => {
      const reading = handle.read(into.subarray(0, Math.min(into.length, file.size - at)), at);
      // It may fail while the piece before it is hashed; whoever waits for it is told.
      reading.catch(() => undefined);
      return reading;
    };
    let reading = read(current, 0);
    try {
      for (let at = 0; at < file.size;) {
        const bytes = current.subarray(0, Math.min(current.length, file.size - at));
        if ((await reading) < bytes.length) throw shrank(file.path);
        const firstShard = at / this.#shardBytes;
        at += bytes.length;
        if (at < file.size) reading = read(next, at);
        await this.#slice.pause(this.#options.signal);
        const wrong = this.#wrongShard(file, bytes, firstShard);
        this.#advance(
          wrong === undefined ? bytes.length : file.size - at + bytes.length,
          bytes.length,
        );
        if (wrong !== undefined) return wrong;
        [current, next] = [next, current];
      }
      return undefined;
    } finally {
      // The buffers are used again: nothing may still be read into them.
      await reading.catch(() => 0);
      await handle.close();
    }
  }

  #wrongShard(file: ArtifactFile, bytes: Uint8Array, firstShard: number): number | undefined {
    for (let at = 0, shard = firstShard; at < bytes.length; at += this.#shardBytes, shard++) {
      const digest = blake3Hex(bytes.subarray(at, at + this.#shardBytes));
      if (digest !== file.shards[shard]) return shard;
    }
    return undefined;
  }

  /** `done` bytes need no more work, `hashed` of them were read. */
  #advance(done: number, hashed: number): void {
    this.bytes += hashed;
    this.#progress += done;
    this.#options.onProgress?.({ bytes: this.#progress, total: this.#total });
  }
}

function shrank(path: string): WaybillError {
  return new WaybillError("source_changed", `${path} became shorter while it was read`, {
    hint: "wait until nothing writes to it, and verify again",
  });
}
