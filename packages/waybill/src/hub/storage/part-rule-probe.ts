// Which parts a store joins. AWS S3 wants the numbers of parts with checksums to be 1, 2, 3, … (CompletedPart in its API
// reference), R2 wants equal sizes; most others take parts of any size and numbers with gaps. That is tried out with
// three parts of 11 MiB together, once in a bucket's life: the outcome is kept in `_store/parts.json` of the
// rooms bucket.
import { WaybillError, decodeJson } from "@waybill/sdk/protocol";
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import * as v from "valibot";
import type { Place } from "./storage.ts";

export type ProbePart = {
  readonly key: string;
  readonly uploadId: string;
  readonly part: number;
  readonly body: Uint8Array;
  readonly crc32: string;
};

export type ProbeDeps = {
  readonly place: Place;
  /** What the outcome is true of. */
  readonly endpoint: string;
  /** Puts a part; answers whether the store took it. */
  readonly put: (part: ProbePart) => Promise<boolean>;
};

const Outcome = v.object({ endpoint: v.string(), equal: v.boolean() });
const OUTCOME_KEY = "_store/parts.json";
const MAX_OUTCOME_BYTES = 4096;

const MIB = 1024 * 1024;
/** As parts of a real upload lie that were cut by a growing link. */
const PARTS = [
  { part: 1, size: 6 * MIB },
  { part: 7, size: 5 * MIB },
  { part: 12, size: 1024 },
] as const;

/** Stores whose rule is known: `true` wants equal parts; `undefined` for others. */
export function knownToWantEqualParts(endpoint: string | undefined): true | undefined {
  if (endpoint === undefined) return true;
  const { hostname } = new URL(endpoint);
  return /\.(?:r2\.cloudflarestorage\.com|amazonaws\.com(?:\.cn)?)$/i.test(hostname)
    ? true
    : undefined;
}

/** Whether the store wants equal parts: what was learned before, or what a trial shows. Throws `storage_failed`. */
export async function learnPartRule({ place, endpoint, put }: ProbeDeps): Promise<boolean> {
  const { bucket } = place;
  const known = await bucket.get(OUTCOME_KEY);
  if (known !== undefined) {
    const text = new TextDecoder().decode(known.body);
    const outcome = decodeJson(Outcome, text, OUTCOME_KEY, MAX_OUTCOME_BYTES);
    if (outcome.endpoint === endpoint) return outcome.equal;
  }
  const equal = !(await takesAnyParts(place, put));
  await bucket.put(OUTCOME_KEY, JSON.stringify({ endpoint, equal }));
  return equal;
}

async function takesAnyParts(place: Place, put: ProbeDeps["put"]): Promise<boolean> {
  const key = `_store/probe-${randomBytes(8).toString("hex")}`;
  const { multipart, bucket } = place;
  const uploadId = await multipart.create(key);
  try {
    for (const { part, size } of PARTS) {
      const body = Buffer.alloc(size, part);
      if (!(await put({ key, uploadId, part, body, crc32: crcOf(body) }))) return false;
    }
    const listed = (await multipart.listParts(key, uploadId)) ?? [];
    await multipart.complete(key, uploadId, listed);
    const wanted = PARTS.reduce((sum, { size }) => sum + size, 0);
    return (await bucket.head(key))?.size === wanted;
  } catch (error) {
    // It took the parts and does not join them; anything else may be another day's trouble.
    if (error instanceof WaybillError && error.code === "conflict") return false;
    throw error;
  } finally {
    await multipart.abort(key, uploadId).catch(() => {});
    await bucket.delete([key]).catch(() => {});
  }
}

function crcOf(body: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return sum.toString("base64");
}
