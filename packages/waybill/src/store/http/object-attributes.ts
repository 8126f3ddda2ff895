/** GetObjectAttributes */
import { checksumElement } from "../checksums/checksum.ts";
import type { StoreCore } from "../core.ts";
import type { StoredObject } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import { checksumFields } from "./checksum-fields.ts";
import type { Call } from "./operation.ts";
import { checkVersion } from "./version-id.ts";
import { element, text, xmlDocument } from "./xml-writer.ts";

const known = new Set(["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]);
/** S3's page size. */
const MAX_PARTS = 1000;

export function getObjectAttributes({ request, response, core }: Call): void {
  const bucket = core.buckets.get(request.bucket);
  const wanted = readWanted(request);
  const page = limits(request);
  checkVersion(request.query.get("versionId"));
  const object = core.objects.get(bucket.id, request.key);
  const { checksum } = object.attributes;
  const document = xmlDocument(
    "GetObjectAttributesResponse",
    wanted.has("ETag") ? text("ETag", object.etag) : "",
    wanted.has("Checksum") && checksum ? element("Checksum", checksumFields(checksum)) : "",
    wanted.has("ObjectParts") ? objectParts(core, object, page) : "",
    wanted.has("StorageClass") ? text("StorageClass", "STANDARD") : "",
    wanted.has("ObjectSize") ? text("ObjectSize", object.bytes) : "",
  );
  response.xml(200, document, { "last-modified": new Date(object.modified).toUTCString() });
}

function readWanted(request: Call["request"]): ReadonlySet<string> {
  const header = request.header("x-amz-object-attributes")?.trim();
  if (!header) {
    throw new S3Error("InvalidRequest", {
      message:
        "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
    });
  }
  const wanted = header.split(",").map((name) => name.trim());
  const unknown = wanted.find((name) => !known.has(name));
  if (unknown === undefined) return new Set(wanted);
  throw new S3Error("InvalidArgument", {
    message: "Invalid attribute name specified.",
    details: { ArgumentName: "x-amz-object-attributes", ArgumentValue: unknown },
  });
}

interface PartPage {
  readonly limit: number;
  readonly after: number;
}

function limits(request: Call["request"]): PartPage {
  const read = (name: string, fallback: number): number => {
    const value = request.header(name);
    if (value === undefined) return fallback;
    if (/^\d{1,9}$/.test(value)) return Number(value);
    throw new S3Error("InvalidArgument", {
      details: { ArgumentName: name, ArgumentValue: value },
    });
  };
  return {
    limit: Math.min(read("x-amz-max-parts", MAX_PARTS), MAX_PARTS),
    after: read("x-amz-part-number-marker", 0),
  };
}

function objectParts(core: StoreCore, object: StoredObject, { limit, after }: PartPage): string {
  const { checksum, partCount } = object.attributes;
  if (partCount === undefined) return "";
  // S3 lists parts one by one only for uploads with per-part checksums.
  const found = checksum ? core.contents.parts(object.content, after, limit + 1) : [];
  const page = found.slice(0, limit);
  return element(
    "ObjectParts",
    text("PartsCount", partCount),
    ...(checksum
      ? [
          text("PartNumberMarker", after),
          text("NextPartNumberMarker", page.at(-1)?.number ?? 0),
          text("MaxParts", limit),
          text("IsTruncated", found.length > limit),
        ]
      : []),
    ...page.map((part) =>
      element(
        "Part",
        text("PartNumber", part.number),
        text("Size", part.bytes),
        checksum ? text(checksumElement(checksum.algorithm), part.checksum) : "",
      ),
    ),
  );
}
