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
import { crc32 } from "node:zlib";
import * as v from "valibot";
import type { MemoryStorage } from "../storage/memory-storage.ts";

export type Tree = ReadonlyMap<string, Uint8Array>;

export type PushOptions = {
  readonly purpose?: v.InferInput<typeof UploadPlan>["purpose"];
  readonly name?: string;
  /** Tells pushes of the same tree apart. */
  readonly salt?: string;
  /** Called before each body is sent. */
  readonly beforePut?: (key: string, part: number) => void;
};

export const PART_BYTES = LIMITS.s3MinPartBytes;

/** Files of a few bytes: name → text. */
export function tinyTree(files: Readonly<Record<string, string>>): Tree {
  const sorted = Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(sorted.map(([key, text]) => [key, new TextEncoder().encode(text)]));
}

/** Repeating bytes that differ from part to part. */
export function patterned(bytes: number, seed = 1): Uint8Array {
  const body = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 4096) body[at] = (at / 4096 + seed * 31) & 255;
  return body;
}

export function crcOf(body: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
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
    partBytes: PART_BYTES,
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
  const bodies = new Map([...tree, [MANIFEST_KEY, Buffer.concat([...manifestPieces(manifest)])]]);
  if (status.state === "open") {
    const parts = [...bodies].flatMap(([key, body]) => missingParts(status, key, body));
    for (const part of parts) {
      const signed = await client.call("signParts", { params, body: { parts: [part.toSign] } });
      for (const { url, headers } of signed.parts) {
        options.beforePut?.(part.toSign.key, part.toSign.part);
        storage.put(url, headers, part.body);
        sent.push(`${part.toSign.key}#${part.toSign.part}`);
      }
    }
  }
  const objects = [...tree]
    .filter(([, body]) => body.length > PART_BYTES)
    .map(([key, body]) => ({ key, parts: slices(body).map(crcOf) }));
  const record = await client.call("completeUpload", { params, body: { artifact, objects } });
  return { record, sent };
}

type Missing = { readonly toSign: PartToSign; readonly body: Uint8Array };

function missingParts(status: UploadStatus, key: string, body: Uint8Array): Missing[] {
  const progress = status.objects.find((object) => object.key === key);
  if (progress?.done === true && (progress.crc32 ?? crcOf(body)) === crcOf(body)) return [];
  const pieces = body.length > PART_BYTES ? slices(body) : [body];
  return pieces.flatMap((piece, at) => {
    const part = pieces.length === 1 && body.length <= PART_BYTES ? 0 : at + 1;
    const crc = crcOf(piece);
    const known = progress?.parts.find((confirmed) => confirmed.part === part);
    if (known?.crc32 === crc && known.size === piece.length) return [];
    return [{ toSign: { key, part, size: piece.length, crc32: crc }, body: piece }];
  });
}

function slices(body: Uint8Array): Uint8Array[] {
  return Array.from({ length: Math.ceil(body.length / PART_BYTES) }, (_, i) =>
    body.subarray(i * PART_BYTES, (i + 1) * PART_BYTES),
  );
}
