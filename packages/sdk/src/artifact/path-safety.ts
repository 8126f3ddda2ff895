// Which paths an artifact may hold (docs/protocol/artifact.md §2). Everything that reads a manifest checks
// it here before a path comes near a file system.
import { LIMITS, WaybillError } from "../protocol/index.ts";

const encoder = new TextEncoder();

/**
 * Throws `unsafe_path` unless `path` is relative, `/`-separated and cannot leave the folder it is put in
 * on any platform. `what` begins the message, such as "the manifest".
 */
export function assertSafePath(path: string, what = "artifact"): void {
  const reason = unsafeReason(path);
  if (reason === undefined) return;
  throw new WaybillError("unsafe_path", `${what} holds the path ${quote(path)}, which ${reason}`, {
    hint: "rename the file; paths are relative, separated by / and without . or .. in them",
  });
}

function unsafeReason(path: string): string | undefined {
  if (path === "") return "is empty";
  if (!path.isWellFormed()) return "is not valid Unicode";
  if (path.includes("\0")) return "holds a NUL";
  if (path.includes("\\")) return "holds a backslash, which separates folders on Windows";
  if (path.startsWith("/")) return "is absolute";
  if (/^[A-Za-z]:/.test(path)) return "begins with a drive letter";
  for (const segment of path.split("/")) {
    if (segment === "") return "has an empty segment";
    if (segment === "." || segment === "..") return `has the segment ${segment}`;
  }
  // Most paths are short; only long ones need their bytes counted.
  if (path.length * 3 > LIMITS.pathBytes && encoder.encode(path).length > LIMITS.pathBytes) {
    return `is longer than ${LIMITS.pathBytes} bytes`;
  }
  return undefined;
}

/**
 * Checks a manifest's paths together: each safe, strictly ascending in UTF-8 byte order (so none twice),
 * and none both a file and a folder. Throws `unsafe_path`.
 */
export function assertSafePaths(paths: readonly string[], what = "artifact"): void {
  const folders = new Set<string>();
  let before: string | undefined;
  for (const path of paths) {
    assertSafePath(path, what);
    if (before !== undefined && comparePaths(before, path) >= 0) {
      const fault = before === path ? "twice" : "out of order";
      throw new WaybillError("unsafe_path", `${what} holds the path ${quote(path)} ${fault}`);
    }
    before = path;
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const folder = path.slice(0, at);
      if (folders.has(folder)) break;
      folders.add(folder);
    }
  }
  const both = paths.find((path) => folders.has(path));
  if (both !== undefined) {
    throw new WaybillError(
      "unsafe_path",
      `${what} holds ${quote(both)} both as a file and as a folder`,
    );
  }
}

/**
 * Groups of paths that are one file where names are compared without regard to case or Unicode
 * normalisation (macOS, Windows): legal, but such a machine cannot hold the artifact. At most ten groups.
 */
export function findCollisions(paths: readonly string[]): string[][] {
  const byFolded = new Map<string, string>();
  const groups = new Map<string, string[]>();
  for (const path of paths) {
    const folded = path.normalize("NFC").toLowerCase();
    const first = byFolded.get(folded);
    if (first === undefined) byFolded.set(folded, path);
    else groups.set(folded, [...(groups.get(folded) ?? [first]), path]);
    if (groups.size >= 10) break;
  }
  return [...groups.values()];
}

/** Order of the paths' UTF-8 bytes, which differs from JavaScript's order of UTF-16 units past U+D7FF. */
export function comparePaths(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const x = a.charCodeAt(at);
    const y = b.charCodeAt(at);
    if (x !== y) return utf8Rank(x) - utf8Rank(y);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above all others of the basic plane. */
function utf8Rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

function quote(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}
