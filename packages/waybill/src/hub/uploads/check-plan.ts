// What a schema cannot say of an upload plan.
import { assertSafePath } from "@waybill/sdk/artifact";
import {
  LIMITS,
  MANIFEST_KEY,
  PACK_KEY,
  type UploadPlan,
  WaybillError,
} from "@waybill/sdk/protocol";

/** S3's largest object: 5 TiB. */
const MAX_OBJECT_BYTES = 5 * 1024 ** 4;

/** Throws `invalid_request` or `unsafe_path` naming the object that is wrong. */
export function checkPlan(plan: UploadPlan): void {
  const keys = new Set<string>();
  let bytes = 0;
  for (const { key, size } of plan.objects) {
    assertSafePath(key, "the upload plan");
    if (key === MANIFEST_KEY) {
      throw invalid(`${MANIFEST_KEY} is the manifest's own place; no object may have this key`);
    }
    if (keys.has(key)) throw invalid(`object ${key} is planned twice`);
    keys.add(key);
    if (size > MAX_OBJECT_BYTES) throw invalid(`object ${key} is larger than 5 TiB`);
    if (Math.ceil(size / plan.partBytes) > LIMITS.s3Parts) {
      throw invalid(
        `object ${key} would have more than ${LIMITS.s3Parts} parts of ${plan.partBytes} bytes`,
        "plan larger parts",
      );
    }
    bytes += size;
  }
  if (bytes !== plan.bytes) {
    throw invalid(`the plan says ${plan.bytes} bytes, its objects add up to ${bytes}`);
  }
  if (plan.layout === "packed" && (keys.size !== 1 || !keys.has(PACK_KEY))) {
    throw invalid(`a packed artifact has exactly one object, ${PACK_KEY}`);
  }
}

function invalid(message: string, hint?: string): WaybillError {
  return new WaybillError("invalid_request", message, hint === undefined ? {} : { hint });
}
