// What a schema cannot say of an upload plan.
import { assertSafePath } from "@waybill/sdk/artifact";
import {
  MANIFEST_KEY,
  PACK_KEY,
  type UploadPlan,
  WaybillError,
  isPutAtOnce,
  unitBytesFor,
} from "@waybill/sdk/protocol";
import { equalUnitBytesFor } from "./part-rule.ts";

/** S3's largest object: 5 TiB. */
const MAX_OBJECT_BYTES = 5 * 1024 ** 4;

/** What the key of an encoded object ends in. */
const ENCODED_SUFFIX = ".zst";

/** Throws `invalid_request` or `unsafe_path` naming the object that is wrong. */
export function checkPlan(plan: UploadPlan): void {
  const keys = new Set<string>();
  let bytes = 0;
  let biggest = 0;
  for (const { key, size, encoding } of plan.objects) {
    assertSafePath(key, "the upload plan");
    if (key === MANIFEST_KEY) {
      throw invalid(`${MANIFEST_KEY} is the manifest's own place; no object may have this key`);
    }
    if (keys.has(key)) throw invalid(`object ${key} is planned twice`);
    keys.add(key);
    if (size > MAX_OBJECT_BYTES) throw invalid(`object ${key} is larger than 5 TiB`);
    if (encoding !== undefined && (!key.endsWith(ENCODED_SUFFIX) || size === 0)) {
      throw invalid(`object ${key} cannot be encoded: its key must end in ${ENCODED_SUFFIX}`);
    }
    biggest = Math.max(biggest, size);
    bytes += size;
  }
  if (plan.unitBytes < unitBytesFor(biggest)) {
    throw invalid(
      `an object of ${biggest} bytes needs units of ${unitBytesFor(biggest)} bytes, not ${plan.unitBytes}`,
    );
  }
  if (bytes !== plan.bytes) {
    throw invalid(`the plan says ${plan.bytes} bytes, its objects add up to ${bytes}`);
  }
  if (plan.layout === "packed") checkPacked(plan);
}

function checkPacked({ objects: [only, ...others] }: UploadPlan): void {
  const key = only?.encoding === undefined ? PACK_KEY : PACK_KEY + ENCODED_SUFFIX;
  if (only?.key === key && others.length === 0) return;
  throw invalid(`a packed artifact has exactly one object, ${PACK_KEY} (encoded: with .zst)`);
}

/**
 * The plan where a store wants equal parts: a unit is a part, and multipart objects are not encoded, because frames are
 * of any length. Throws `invalid_request` when an object is planned twice then.
 */
export function withEqualParts(plan: UploadPlan): UploadPlan {
  const objects = plan.objects.map((object) =>
    object.encoding === undefined || isPutAtOnce(object.size)
      ? object
      : { key: object.key.slice(0, -ENCODED_SUFFIX.length), size: object.size },
  );
  if (new Set(objects.map(({ key }) => key)).size < objects.length) {
    throw invalid("an object is planned both encoded and plain");
  }
  const biggest = objects.reduce((most, { size }) => Math.max(most, size), 0);
  return { ...plan, objects, unitBytes: equalUnitBytesFor(biggest, plan.unitBytes) };
}

function invalid(message: string, hint?: string): WaybillError {
  return new WaybillError("invalid_request", message, hint === undefined ? {} : { hint });
}
