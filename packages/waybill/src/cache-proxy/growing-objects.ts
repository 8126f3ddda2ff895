// The objects of an artifact while it is being fetched: ranges of them are given as soon as their shards have matched
// (I1), and what somebody waits for is fetched first.
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { ShardRun } from "@waybill/sdk/artifact";
import { PACK_KEY, WaybillError } from "@waybill/sdk/protocol";
import type { GrowingTree } from "@waybill/sdk/client";
import type { ServedObjects } from "../data-server/tree-provider.ts";

/** Read at once: many readers hold one each. */
const READ_BYTES = 128 * 1024;

type OpenPart = { readonly file: number; readonly handle: FileHandle };

export class GrowingObjects implements ServedObjects {
  readonly #tree: GrowingTree;
  readonly #over: AbortSignal;
  readonly #finalDir: string | undefined;
  /** File numbers by object, of a plain layout. */
  readonly #files: ReadonlyMap<string, number>;

  /**
   * `over`: aborted with the reason when nothing more will come. `finalDir`: where all files lie once the tree is whole,
   * when that is another place.
   */
  constructor(tree: GrowingTree, over: AbortSignal, finalDir?: string) {
    this.#tree = tree;
    this.#over = over;
    this.#finalDir = finalDir;
    const { layout, files } = tree.map.manifest;
    this.#files = new Map(layout === "plain" ? files.map(({ path }, at) => [path, at]) : []);
  }

  sizeOf(key: string): number | undefined {
    const { map } = this.#tree;
    if (map.manifest.layout === "packed") return key === PACK_KEY ? map.bytes : undefined;
    const file = this.#files.get(key);
    return file === undefined ? undefined : map.file(file).size;
  }

  async *read(
    key: string,
    start: number,
    end: number,
    reader: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    if (end <= start) return;
    const { map } = this.#tree;
    const run = this.#runOf(key, start, end);
    const signal = AbortSignal.any([reader, this.#over]);
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, end - start));
    const unwant = this.#tree.want(run);
    // Where the object's first shard of the range begins, as an offset in the object.
    let shardStart = map.plainRangeOf({ first: run.first, count: 1 }).start;
    let part: OpenPart | undefined;
    try {
      for (let shard = run.first; shard < run.first + run.count; shard += 1) {
        await this.#tree.until(shard, signal);
        const { file, offset, size } = map.locate(shard);
        if (part?.file !== file) {
          await part?.handle.close();
          part = undefined;
          part = { file, handle: await this.#open(file) };
        }
        const from = offset + Math.max(0, start - shardStart);
        const to = offset + Math.min(size, end - shardStart);
        for (let at = from; at < to;) {
          const length = Math.min(buffer.length, to - at);
          const { bytesRead } = await part.handle.read(buffer, 0, length, at);
          if (bytesRead === 0) throw gone(map.file(file).path);
          at += bytesRead;
          yield buffer.subarray(0, bytesRead);
        }
        shardStart += size;
      }
    } finally {
      unwant();
      await part?.handle.close();
    }
  }

  #runOf(key: string, start: number, end: number): ShardRun {
    const first = this.#shardAt(key, start);
    return { first, count: this.#shardAt(key, end - 1) + 1 - first };
  }

  /** The shard that holds a byte of an object. */
  #shardAt(key: string, offset: number): number {
    const { map } = this.#tree;
    const { shardBytes, layout } = map.manifest;
    if (layout === "plain") {
      const file = this.#files.get(key);
      if (file === undefined) throw new WaybillError("not_found", `no object ${key}`);
      return map.shardsOf(file).first + Math.floor(offset / shardBytes);
    }
    let low = 0;
    let high = map.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (map.position(middle) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /**
   * A file moves once when its last shard is in, and once more with all others: whoever misses it at one place was
   * overtaken by that.
   */
  async #open(file: number): Promise<FileHandle> {
    const [part, whole] = this.#tree.paths(file);
    const last =
      this.#finalDir === undefined ? part : join(this.#finalDir, this.#tree.map.file(file).path);
    for (const path of [part, whole, last]) {
      try {
        return await open(path, "r");
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    throw gone(this.#tree.map.file(file).path);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function gone(path: string): WaybillError {
  return new WaybillError("source_changed", `${path} is not in the cache any more`);
}
