// A client's push against a hub in memory, as small as it can be: what the tests of uploads drive.
import { artifactId, manifestPieces } from "@waybill/sdk/artifact";
import type { HubClient } from "@waybill/sdk/hub-client";
import {
  type ArtifactManifest,
  ArtifactManifest as ManifestSchema,
  type ArtifactRecord,
  LIMITS,
  MANIFEST_KEY,
  type ModelId,
  type PartToSign,
  type RoomId,
  UploadPlan,
  type UploadStatus,
} from "@waybill/sdk/protocol";
import { createHash } from "node:crypto";
import * as zlib from "node:zlib";
import * as v from "valibot";
import type { MemoryStorage } from "../storage/memory-storage.ts";

export type Tree = ReadonlyMap<string, Uint8Array>;

export type PushOptions = {
  readonly purpose?: v.InferInput<typeof UploadPlan>["purpose"];
  readonly name?: string;
  /** Tells pushes of the same tree apart. */
  readonly salt?: string;
  /** Bytes of a part; a multiple of the unit. */
  readonly partBytes?: number;
  /** Called before each body is sent. */
  readonly beforePut?: (key: string, part: number) => void;
};

export const UNIT_BYTES = LIMITS.unitBytes;
/** Objects larger than this are sent in parts. */
export const AT_ONCE_BYTES = LIMITS.atOnceBytes;
/** What this pusher cuts its parts to; part numbers count units. */
export const PART_BYTES = 5 * UNIT_BYTES;

/** Files of a few bytes: name → text. */
export function tinyTree(files: Readonly<Record<string, string>>): Tree {
  const sorted = Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(sorted.map(([key, text]) => [key, new TextEncoder().encode(text)]));
}

/** Bytes that differ from page to page. */
export function patterned(bytes: number, seed = 1): Uint8Array {
  const body = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 4096) {
    const page = at / 4096 + seed * 31;
    body[at] = page & 255;
    body[at + 1] = page >> 8;
  }
  return body;
}

export function crcOf(body: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(zlib.crc32(body));
  return sum.toString("base64");
}

export function manifestOf(tree: Tree, name = "tree"): ArtifactManifest {
  const hex = (body: Uint8Array) => createHash("sha256").update(body).digest("hex");
  const shards = (body: Uint8Array) =>
    Array.from({ length: Math.ceil(body.length / LIMITS.shardBytes) }, (_, i) =>
      hex(body.subarray(i * LIMITS.shardBytes, (i + 1) * LIMITS.shardBytes)),
    );
  return v.parse(ManifestSchema, {
    format: 1,
    name,
    layout: "plain",
    shardBytes: LIMITS.shardBytes,
    files: [...tree].map(([path, body]) => ({ path, size: body.length, shards: shards(body) })),
  });
}

export function planOf(tree: Tree, options: PushOptions = {}): UploadPlan {
  const objects = [...tree].map(([key, body]) => ({ key, size: body.length }));
  const purpose = options.purpose ?? { kind: "dataset", keep: false };
  const identity = JSON.stringify([objects, purpose, options.salt]);
  return v.parse(UploadPlan, {
    fingerprint: createHash("sha256").update(identity).digest("hex"),
    name: options.name ?? "tree",
    purpose,
    layout: "plain",
    bytes: objects.reduce((sum, object) => sum + object.size, 0),
    shardBytes: LIMITS.shardBytes,
    unitBytes: UNIT_BYTES,
    objects,
  });
}

/** Takes the id that is the first 8 digits of `digits` for a model of type `net`. */
export async function reserve(
  client: HubClient,
  room: RoomId,
  digits = "00c0ffee",
  owner = "push",
): Promise<ModelId> {
  const body = { digest: digits.padEnd(64, "0"), owner, modelType: "net" };
  return (await client.call("reserveModel", { params: { room }, body })).model;
}

export type Pushed = { readonly record: ArtifactRecord; readonly sent: string[] };

/** Pushes a tree, sending only what the store does not confirm. `sent` names each body as `key#part`. */
export async function push(
  client: HubClient,
  storage: MemoryStorage,
  room: RoomId,
  tree: Tree,
  options: PushOptions = {},
): Promise<Pushed> {
  const manifest = manifestOf(tree, options.name);
  const artifact = artifactId(manifest);
  const plan = planOf(tree, options);
  const { status } = await client.call("beginUpload", { params: { room }, body: plan });
  const params = { room, upload: status.upload };
  const sent: string[] = [];
  const bodies = new Map([...tree, [MANIFEST_KEY, manifestBytes(tree, options.name)]]);
  const pieces = [...bodies].flatMap(([key, body]) =>
    piecesOf(key, body, status, options.partBytes ?? PART_BYTES),
  );
  if (status.state === "open") {
    for (const piece of pieces.filter((candidate) => !isHeld(status, candidate))) {
      const { key, part, size, crc32 } = piece;
      const replaces = status.objects.find((object) => object.key === key)?.etag;
      const toSign: PartToSign = {
        key,
        part,
        size,
        crc32,
        ...(part === 0 && replaces !== undefined ? { replaces } : {}),
      };
      const signed = await client.call("signParts", { params, body: { parts: [toSign] } });
      for (const { url, headers } of signed.parts) {
        options.beforePut?.(key, part);
        storage.put(url, headers, piece.body);
        sent.push(`${key}#${part}`);
      }
    }
  }
  const objects = [...bodies.keys()].map((key) => ({
    key,
    parts: pieces.filter((piece) => piece.key === key).map(({ part, crc32 }) => ({ part, crc32 })),
  }));
  const body = { artifact, objects, name: plan.name };
  const record = await client.call("completeUpload", { params, body });
  return { record, sent };
}

/** Puts one body at once by a URL of its own. */
export async function putAtOnce(
  client: HubClient,
  storage: MemoryStorage,
  params: { readonly room: RoomId; readonly upload: string },
  key: string,
  body: Uint8Array,
): Promise<void> {
  const part = { key, part: 0, size: body.length, crc32: crcOf(body) };
  const signed = await client.call("signParts", { params, body: { parts: [part] } });
  for (const { url, headers } of signed.parts) storage.put(url, headers, body);
}

/** `artifact.json` of a tree. */
export function manifestBytes(tree: Tree, name?: string): Uint8Array {
  return Buffer.concat([...manifestPieces(manifestOf(tree, name))]);
}

export type Piece = PartToSign & { readonly body: Uint8Array };

/** The bodies of an object: one, or parts of `partBytes` that say by their numbers where they lie. */
export function piecesOf(
  key: string,
  body: Uint8Array,
  { unitBytes, equalPartBytes }: Pick<UploadStatus, "unitBytes" | "equalPartBytes">,
  partBytes: number,
): Piece[] {
  const piece = (part: number, bytes: Uint8Array): Piece => ({
    key,
    part,
    size: bytes.length,
    crc32: crcOf(bytes),
    body: bytes,
  });
  if (body.length <= AT_ONCE_BYTES) return [piece(0, body)];
  const step = equalPartBytes ?? partBytes;
  return Array.from({ length: Math.ceil(body.length / step) }, (_, at) =>
    piece((at * step) / unitBytes + 1, body.subarray(at * step, (at + 1) * step)),
  );
}

/** Whether the store confirms a body. */
function isHeld(status: UploadStatus, { key, part, size, crc32 }: Piece): boolean {
  const progress = status.objects.find((object) => object.key === key);
  if (progress === undefined) return false;
  if (part === 0) return progress.done && (progress.crc32 ?? crc32) === crc32;
  if (progress.done) return true;
  return progress.parts.some(
    (known) => known.part === part && known.size === size && known.crc32 === crc32,
  );
}
