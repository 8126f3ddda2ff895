// A folder (or one file) that holds a model, as far as finding out what it is needs it: names, sizes, small texts.
import { open, readFile } from "node:fs/promises";
import path from "node:path";
import type { ScannedFile, TreeScan } from "@waybill/sdk/artifact";
import { WaybillError } from "@waybill/sdk/protocol";

/** Configurations and logs have kilobytes; what is larger is none. */
const MAX_TEXT_BYTES = 8 * 1024 * 1024;

export class ModelFolder {
  readonly scan: TreeScan;
  readonly #isFile: boolean;
  readonly #byPath: ReadonlyMap<string, ScannedFile>;

  constructor(scan: TreeScan, { isFile = false }: { readonly isFile?: boolean } = {}) {
    this.scan = scan;
    this.#isFile = isFile;
    this.#byPath = new Map(scan.files.map((file) => [file.path, file]));
  }

  /** The folder, or the file when it is one file by itself. */
  get source(): string {
    const [only, ...others] = this.scan.files;
    const { root } = this.scan;
    return this.#isFile && only !== undefined && others.length === 0
      ? path.join(root, only.path)
      : root;
  }

  /** Paths of the files that lie in the folder itself. */
  get names(): string[] {
    return [...this.#byPath.keys()].filter((name) => !name.includes("/"));
  }

  /** Names of the folders in it that hold files. */
  get folders(): string[] {
    const inner = [...this.#byPath.keys()].filter((name) => name.includes("/"));
    return [...new Set(inner.map((name) => name.slice(0, name.indexOf("/"))))];
  }

  has(name: string): boolean {
    return this.#byPath.has(name);
  }

  size(name: string): number {
    return this.#byPath.get(name)?.size ?? 0;
  }

  /** The first of the names that is there. */
  first(names: readonly string[]): string | undefined {
    return names.find((name) => this.has(name));
  }

  /** A small text; undefined when it is not there. Throws `invalid_request` for one that is not small. */
  async text(name: string): Promise<string | undefined> {
    const file = this.#byPath.get(name);
    if (file === undefined) return undefined;
    if (file.size > MAX_TEXT_BYTES) {
      throw new WaybillError(
        "invalid_request",
        `${name} has ${file.size} bytes, more than ${MAX_TEXT_BYTES}`,
      );
    }
    return readFile(path.join(this.scan.root, name), "utf8");
  }

  /** Bytes of a file from `start`, at most `length`. */
  async bytes(name: string, start: number, length: number): Promise<Buffer> {
    await using file = await open(path.join(this.scan.root, name));
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, start);
    return buffer.subarray(0, bytesRead);
  }

  /** The same without some files. */
  without(names: ReadonlySet<string>): ModelFolder {
    const files = this.scan.files.filter((file) => !names.has(file.path));
    return new ModelFolder({ ...this.scan, files, bytes: sumOf(files) }, { isFile: this.#isFile });
  }

  /** The files below one of its folders, as a folder. */
  below(name: string): ModelFolder {
    const files = this.scan.files.flatMap((file) =>
      file.path.startsWith(`${name}/`) ? [{ ...file, path: file.path.slice(name.length + 1) }] : [],
    );
    return new ModelFolder({
      root: path.join(this.scan.root, name),
      files,
      bytes: sumOf(files),
      warnings: [],
    });
  }
}

function sumOf(files: readonly ScannedFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}
