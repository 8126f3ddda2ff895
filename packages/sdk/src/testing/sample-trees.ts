// Trees of files for tests: made from a seed, compared by digest.
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { blake3Hex } from "../platform/index.ts";

/** Bytes that do not repeat, the same for the same seed. */
export function noise(bytes: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, bytes);
}

/** Writes files of given content below `root`. */
export function writeTree(
  root: string,
  files: Readonly<Record<string, Uint8Array | string>>,
): string {
  mkdirSync(root, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

/** Every file below a folder with the digest of its content. */
export function digestsOf(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(root, { recursive: true, encoding: "utf8" })) {
    const path = join(root, entry);
    if (statSync(path).isFile()) found[entry] = blake3Hex(readFileSync(path));
  }
  return found;
}
