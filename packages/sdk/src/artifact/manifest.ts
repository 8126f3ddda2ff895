// The manifest's two byte forms: the canonical one that is hashed into the artifact's id, and the stored
// `artifact.json` (docs/protocol/artifact.md §1, §6). Both are made piece by piece: a manifest of 200,000
// files has 30 MB.
import {
  type ArtifactFile,
  ArtifactId,
  ArtifactManifest,
  LIMITS,
  MANIFEST_KEY,
  WaybillError,
  decodeJson,
  decodeValue,
} from "../protocol/index.ts";
import { createHasher } from "../platform/index.ts";
import { assertSafePaths } from "./path-safety.ts";
import { decodeCrcs } from "./shard-crcs.ts";
import { ShardMap, shardCount } from "./shard-map.ts";
import { encodedKey, maxFrameBytes, unencodablePaths } from "./stored-encoding.ts";

/** Text gathered before it is encoded; keeps strings and buffers short-lived and small. */
const PIECE_CHARS = 256 * 1024;

/**
 * The artifact's id: BLAKE3-256 of the RFC 8785 form of `{files, format, shardBytes}`. Name and layout are
 * not part of it: the same tree is the same artifact wherever and however it is stored.
 */
export function artifactId(manifest: ArtifactManifest): ArtifactId {
  const hasher = createHasher();
  for (const piece of canonicalPieces(manifest)) hasher.update(piece);
  return decodeValue(ArtifactId, hasher.digestHex(), "an artifact id");
}

/** The bytes that are hashed into the id, in pieces. */
export function canonicalPieces(
  manifest: Pick<ArtifactManifest, "files" | "format" | "shardBytes">,
): Iterable<Uint8Array<ArrayBuffer>> {
  const tail = `],"format":${manifest.format},"shardBytes":${manifest.shardBytes}}`;
  return encoded(withFiles('{"files":[', manifest.files.map(identityOf), "", tail));
}

/** The bytes of `artifact.json`, in pieces: JSON with one file on a line, for people and for line tools. */
export function manifestPieces(manifest: ArtifactManifest): Iterable<Uint8Array<ArrayBuffer>> {
  const { format, name, layout, shardBytes } = manifest;
  const head = JSON.stringify({ format, name, layout, shardBytes });
  const tail = `\n]${storedText(manifest)}}\n`;
  return encoded(withFiles(`${head.slice(0, -1)},"files":[`, manifest.files, "\n", tail));
}

/** The same in one piece. */
export function manifestBytes(manifest: ArtifactManifest): Uint8Array<ArrayBuffer> {
  const pieces = [...manifestPieces(manifest)];
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/**
 * Decodes and checks `artifact.json`: schema, safe and ascending paths, shard counts that fit the sizes,
 * no file in the manifest's own place, modes, CRCs and encoded objects that fit the files. With `expect`, its id must be that. Throws `invalid_request`,
 * `unsafe_path`, `too_large` or `digest_mismatch`.
 */
export function decodeManifest(text: string, expect?: ArtifactId): ArtifactManifest {
  const manifest = decodeJson(ArtifactManifest, text, MANIFEST_KEY, LIMITS.manifestBytes);
  checkManifest(manifest);
  if (expect !== undefined) {
    const id = artifactId(manifest);
    if (id !== expect) {
      throw new WaybillError(
        "digest_mismatch",
        `the manifest's id is ${id.slice(0, 12)}…, not ${expect.slice(0, 12)}… as asked for`,
        { hint: "its copy in storage is damaged; push the artifact again" },
      );
    }
  }
  return manifest;
}

/** What the schema cannot say of a manifest; throws as `decodeManifest` does. */
export function checkManifest(manifest: ArtifactManifest): void {
  assertSafePaths(
    manifest.files.map((file) => file.path),
    "the manifest",
  );
  for (const file of manifest.files) checkFile(file, manifest);
  checkStored(manifest);
}

function checkFile(file: ArtifactFile, { layout, shardBytes }: ArtifactManifest): void {
  const { path, size, shards } = file;
  const expected = shardCount(size, shardBytes);
  if (shards.length !== expected) {
    throw new WaybillError(
      "invalid_request",
      `the manifest gives ${path} ${shards.length} shards; ${size} bytes make ${expected}`,
    );
  }
  if (layout === "plain" && path === MANIFEST_KEY) {
    throw new WaybillError("unsafe_path", `a plain artifact cannot hold a file ${MANIFEST_KEY}`);
  }
  if (file.mode !== undefined && ((file.mode & 0o100) !== 0) !== (file.executable === true)) {
    throw new WaybillError(
      "invalid_request",
      `the manifest gives ${path} the mode ${file.mode.toString(8)}, which its executable bit denies`,
    );
  }
  if (file.crcs === undefined) return;
  const crcs = file.crcs.length === base64Chars(expected * 4) ? decodeCrcs(file.crcs) : undefined;
  if (crcs?.length !== expected) {
    throw new WaybillError("invalid_request", `the manifest's crcs of ${path} fit not its shards`);
  }
}

function checkStored(manifest: ArtifactManifest): void {
  const entries = Object.entries(manifest.stored ?? {});
  if (entries.length === 0) return;
  const paths = manifest.layout === "plain" ? manifest.files.map((file) => file.path) : [];
  const unencodable = unencodablePaths(paths);
  for (const [key, { of, frames }] of entries) {
    // No frame: an empty object, which has nothing to encode.
    if (key === encodedKey(of) && !unencodable.has(of) && frames !== "") continue;
    throw new WaybillError(
      "invalid_request",
      `the manifest stores ${of} as ${key}, which cannot be`,
    );
  }
  // Knows every object's shards, and refuses frames that are not theirs.
  const map = new ShardMap(manifest);
  for (let shard = 0; shard < map.count; shard++) {
    const { key, encoded: frames } = map.rangeOf({ first: shard, count: 1 });
    const [frame] = frames?.frameBytes ?? [];
    if (frame === undefined) continue;
    if (frame >= 1 && frame <= maxFrameBytes(map.locate(shard).size)) continue;
    throw new WaybillError(
      "invalid_request",
      `a frame of ${key} has ${frame} bytes, which cannot be`,
    );
  }
}

function base64Chars(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

/** What of a file is part of the id. */
function identityOf({ path, size, executable, shards }: ArtifactFile): ArtifactFile {
  return executable === true ? { path, size, executable, shards } : { path, size, shards };
}

function storedText({ stored }: ArtifactManifest): string {
  const entries = Object.entries(stored ?? {});
  if (entries.length === 0) return "";
  const lines = entries.map(([key, { encoding, of, frames, crcs }]) => {
    return `\n${JSON.stringify(key)}:${JSON.stringify({ encoding, of, frames, crcs })}`;
  });
  return `,"stored":{${lines.join(",")}\n}`;
}

function* withFiles(
  head: string,
  files: readonly ArtifactFile[],
  separator: string,
  tail: string,
): Generator<string> {
  yield head;
  let first = true;
  for (const file of files) {
    yield `${first ? "" : ","}${separator}${fileText(file)}`;
    first = false;
  }
  yield tail;
}

/** RFC 8785: members in order of their names, no white space; JSON.stringify escapes as it asks. */
function fileText({ path, size, executable, mode, shards, crcs }: ArtifactFile): string {
  const list = shards.length === 0 ? "" : `"${shards.join('","')}"`;
  const sums = crcs === undefined ? "" : `"crcs":"${crcs}",`;
  const flag = executable === true ? '"executable":true,' : "";
  const bits = mode === undefined ? "" : `"mode":${mode},`;
  return `{${sums}${flag}${bits}"path":${JSON.stringify(path)},"shards":[${list}],"size":${size}}`;
}

function* encoded(texts: Iterable<string>): Generator<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  let waiting: string[] = [];
  let chars = 0;
  for (const text of texts) {
    waiting.push(text);
    chars += text.length;
    if (chars < PIECE_CHARS) continue;
    yield encoder.encode(waiting.join(""));
    waiting = [];
    chars = 0;
  }
  if (chars > 0) yield encoder.encode(waiting.join(""));
}
