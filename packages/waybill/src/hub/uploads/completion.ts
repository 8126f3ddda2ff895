// Completing an upload: the manifest is read and its id computed again, every object is compared with it, and parts
// become objects. Every step may be repeated after a crash; nothing is visible before the session document says
// `completed`.
import { decodeManifest } from "@waybill/sdk/artifact";
import {
  type ArtifactId,
  type ArtifactManifest,
  type ArtifactRecord,
  LIMITS,
  MANIFEST_KEY,
  type RouteBody,
  WaybillError,
} from "@waybill/sdk/protocol";
import { mapLimited } from "../bucket/map-limited.ts";
import { type NamedPart, changed, checkParts } from "./joining.ts";
import { ObjectSizes } from "./object-sizes.ts";
import { incomplete, isInParts } from "./part-rule.ts";
import type { Etags } from "./session-edits.ts";
import { type Places, sizesBelow } from "./store-truth.ts";
import { type UploadDoc, placeAtOnce } from "./upload-doc.ts";

export type Completion = RouteBody<"completeUpload">;

export type Joined = {
  readonly manifest: ArtifactManifest;
  readonly manifestBytes: number;
  /** Of what was put at once, as it was when it was checked. */
  readonly etags: Etags;
};

/** Requests to the store at once for one completion. */
const PARALLEL = 32;

/**
 * Makes the objects of an open upload whole and checks them against plan and manifest. Throws `conflict`
 * naming what is missing, `digest_mismatch` for parts or a manifest that are not what the client has.
 * Joined objects that are wrong are added to `spoiled` with their etags: they must be sent anew.
 */
export async function joinUpload(
  doc: UploadDoc,
  places: Places,
  completion: Completion,
  spoiled: Map<string, string>,
): Promise<Joined> {
  const named = new Map(completion.objects.map((object) => [object.key, object.parts]));
  const partsOf = (key: string) => named.get(key) ?? [];
  const deps = { doc, place: places(doc), spoiled };
  const atOnce = placeAtOnce(doc);
  // An earlier run may have begun to send a manifest in parts that has become smaller since.
  const manifestInParts =
    isInParts(doc, MANIFEST_KEY) && partsOf(MANIFEST_KEY).every(({ part }) => part > 0);
  const [sizes] = await Promise.all([
    sizesBelow(places(atOnce), atOnce.prefix),
    manifestInParts
      ? checkParts(deps, MANIFEST_KEY, partsOf(MANIFEST_KEY)).then(({ join }) => join())
      : undefined,
  ]);
  checkPlainAtOnce(doc, sizes);
  const stored = await storedManifest(
    places,
    manifestInParts ? doc : atOnce,
    manifestInParts ? undefined : sizes.get(MANIFEST_KEY),
  );
  const { manifest, objects } = readManifest(doc, stored.body, completion.artifact, () => {
    if (manifestInParts) spoiled.set(MANIFEST_KEY, stored.etag);
  });

  const planned = doc.plan.objects;
  const inParts = planned.filter(({ key }) => isInParts(doc, key));
  const [joinable, atOnceEtags] = await Promise.all([
    mapLimited(inParts, PARALLEL, (object) =>
      checkParts(deps, object.key, partsOf(object.key), {
        bytes: objects.storedBytes(object.key),
        between: (start, end) => objects.between(object, start, end),
      }),
    ),
    checkAtOnce(doc, places, { sizes, objects, partsOf }),
  ]);
  await Promise.all([
    mapLimited(joinable, PARALLEL, ({ join }) => join()),
    copyAtOnce(doc, places, manifestInParts),
  ]);
  const etags = new Map(atOnceEtags);
  if (!manifestInParts) etags.set(MANIFEST_KEY, stored.etag);
  return { manifest, manifestBytes: stored.body.length, etags };
}

function readManifest(
  doc: UploadDoc,
  bytes: Uint8Array,
  artifact: ArtifactId,
  onWrong: () => void,
): { readonly manifest: ArtifactManifest; readonly objects: ObjectSizes } {
  try {
    const manifest = decodeManifest(new TextDecoder().decode(bytes), artifact);
    return { manifest, objects: new ObjectSizes(doc.plan, manifest) };
  } catch (error) {
    onWrong();
    throw error;
  }
}

/** Objects that are put at once, but for the manifest. */
function plannedAtOnce(doc: UploadDoc): UploadDoc["plan"]["objects"] {
  return doc.plan.objects.filter(({ key }) => !isInParts(doc, key));
}

/** Before the manifest is looked for: what the plan alone says is missing. */
function checkPlainAtOnce(doc: UploadDoc, sizes: ReadonlyMap<string, number>): void {
  const missing = plannedAtOnce(doc).filter(({ key, size, encoding }) =>
    encoding === undefined ? sizes.get(key) !== size : !sizes.has(key),
  );
  const first = missing[0];
  if (first === undefined) return;
  const rest = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
  throw incomplete(`object ${first.key} (${first.size} bytes)${rest} is not stored`);
}

/** Objects put at once have the sizes of the manifest and, where the client names them, its checksums. Their etags. */
async function checkAtOnce(
  doc: UploadDoc,
  places: Places,
  facts: {
    readonly sizes: ReadonlyMap<string, number>;
    readonly objects: ObjectSizes;
    readonly partsOf: (key: string) => readonly NamedPart[];
  },
): Promise<[key: string, etag: string | undefined][]> {
  const at = placeAtOnce(doc);
  const { bucket } = places(at);
  return mapLimited(plannedAtOnce(doc), PARALLEL, async ({ key }) => {
    if (facts.sizes.get(key) !== facts.objects.storedBytes(key)) throw changed(key);
    const wanted = facts.partsOf(key).find(({ part }) => part === 0)?.crc32;
    if (wanted === undefined) return [key, undefined];
    const head = await bucket.head(at.prefix + key);
    if (head === undefined) throw incomplete(`object ${key} is not stored`);
    if (head.crc32 !== undefined && head.crc32 !== wanted) throw changed(key);
    return [key, head.etag];
  });
}

/** Copies what a model's upload has put aside to its place. */
async function copyAtOnce(doc: UploadDoc, places: Places, manifestInParts: boolean): Promise<void> {
  const from = placeAtOnce(doc);
  if (from === doc) return;
  const keys = plannedAtOnce(doc).map(({ key }) => key);
  if (!manifestInParts) keys.push(MANIFEST_KEY);
  const source = places(from).bucket;
  const { bucket } = places(doc);
  await mapLimited(keys, PARALLEL, async (key) => {
    const copied = await bucket.copyFrom(source, from.prefix + key, doc.prefix + key);
    if (copied === undefined) throw incomplete(`object ${key} is not stored`);
  });
}

async function storedManifest(
  places: Places,
  at: Pick<UploadDoc, "place" | "prefix">,
  listedSize: number | undefined,
): Promise<{ readonly body: Uint8Array; readonly etag: string }> {
  const { bucket } = places(at);
  const key = at.prefix + MANIFEST_KEY;
  const size = listedSize ?? (await bucket.head(key))?.size;
  if (size === undefined) throw incomplete(`${MANIFEST_KEY} is not stored`);
  if (size > LIMITS.manifestBytes) {
    throw new WaybillError(
      "too_large",
      `${MANIFEST_KEY} has ${size} bytes; at most ${LIMITS.manifestBytes} are allowed`,
    );
  }
  const object = await bucket.get(key);
  if (object === undefined) throw incomplete(`${MANIFEST_KEY} is not stored`);
  return object;
}

/** The record of a joined upload. */
export function recordOf(
  doc: UploadDoc,
  bucket: string,
  artifact: ArtifactId,
  { manifest, manifestBytes }: Joined,
  facts: {
    readonly name: ArtifactRecord["name"];
    readonly nowMs: number;
    readonly expiresMs: number | undefined;
  },
): ArtifactRecord {
  return {
    artifact,
    name: facts.name,
    kind: doc.plan.purpose.kind,
    layout: manifest.layout,
    files: manifest.files.length,
    bytes: doc.plan.bytes,
    manifestBytes,
    s3Path: `${bucket}/${doc.prefix}`,
    createdAt: new Date(facts.nowMs).toISOString(),
    ...(facts.expiresMs === undefined
      ? {}
      : { expiresAt: new Date(facts.expiresMs).toISOString() }),
  };
}
