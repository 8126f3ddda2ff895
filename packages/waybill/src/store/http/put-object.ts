/** PutObject */
import type { StoredChecksum } from "../checksums/checksum.ts";
import { checkWrite, writeCondition } from "./conditions.ts";
import { planIntegrity } from "./integrity.ts";
import { checksumHeaders, readAttributes } from "./object-headers.ts";
import type { Call } from "./operation.ts";
import { storeBody } from "./store-body.ts";

export async function putObject({ request, response, core }: Call): Promise<void> {
  const { key } = request;
  const bucket = core.buckets.get(request.bucket);
  const attributes = readAttributes(request);
  const condition = writeCondition(request);
  // Refuse before the body comes where the outcome is certain; the transaction decides for good.
  const before = core.objects.find(bucket.id, key);
  checkWrite(condition, key, before);
  // S3's default checksum for bodies that come without one.
  const integrity = await planIntegrity(request, { etag: "always-md5", fallback: "CRC64NVME" });
  const stored = await storeBody(core, request, integrity, (body, transaction) => {
    const { id } = core.buckets.get(bucket.name);
    const existing = core.objects.find(id, key);
    checkWrite(condition, key, existing, before !== undefined);
    const checksum: StoredChecksum | undefined =
      integrity.algorithm && body.checksum !== undefined
        ? { algorithm: integrity.algorithm, type: "FULL_OBJECT", value: body.checksum }
        : undefined;
    const object = {
      key,
      content: core.contents.createFromBlob(body.blob),
      etag: body.etag,
      bytes: body.bytes,
      modified: core.now(),
      attributes: { ...attributes, ...(checksum ? { checksum } : {}) },
    };
    core.objects.put(id, object, transaction);
    return object;
  });
  response.empty(200, {
    etag: `"${stored.etag}"`,
    "x-amz-object-size": stored.bytes,
    ...checksumHeaders(stored.attributes.checksum),
  });
}
