/** CreateMultipartUpload */
import { randomBytes } from "node:crypto";
import {
  allowsChecksumType,
  defaultChecksumType,
  parseChecksumAlgorithm,
  UNSUPPORTED_ALGORITHM,
  type ChecksumType,
} from "../checksums/checksum.ts";
import type { UploadAttributes } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import { readAttributes } from "./object-headers.ts";
import type { Call } from "./operation.ts";
import type { S3Request } from "./s3-request.ts";
import { text, xmlDocument } from "./xml-writer.ts";

export async function createUpload({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const checksum = readUploadChecksum(request);
  const initiated = core.now();
  const upload = {
    id: uploadId(initiated),
    key: request.key,
    initiated,
    attributes: { ...readAttributes(request), ...(checksum ? { checksum } : {}) },
  };
  await core.db.transact(() => core.uploads.create(core.buckets.get(bucket.name).id, upload));
  const document = xmlDocument(
    "InitiateMultipartUploadResult",
    text("Bucket", bucket.name),
    text("Key", request.key),
    text("UploadId", upload.id),
  );
  response.xml(200, document, {
    "x-amz-checksum-algorithm": checksum?.algorithm,
    "x-amz-checksum-type": checksum?.type,
  });
}

/** Time first, so that uploads of one key sort by initiation; then 96 bits nobody can guess. */
function uploadId(initiated: number): string {
  return initiated.toString(16).padStart(12, "0") + randomBytes(12).toString("hex");
}

function readUploadChecksum(request: S3Request): UploadAttributes["checksum"] {
  const name = request.header("x-amz-checksum-algorithm");
  const wantedType = readChecksumType(request);
  if (name === undefined) {
    if (wantedType === undefined) return undefined;
    throw new S3Error("InvalidRequest", {
      message:
        "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
    });
  }
  const algorithm = parseChecksumAlgorithm(name);
  if (!algorithm) throw new S3Error("InvalidRequest", { message: UNSUPPORTED_ALGORITHM });
  const type = wantedType ?? defaultChecksumType(algorithm);
  if (!allowsChecksumType(algorithm, type)) {
    throw new S3Error("InvalidRequest", {
      message: `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    });
  }
  return { algorithm, type };
}

/** Reads `x-amz-checksum-type`. */
export function readChecksumType(request: S3Request): ChecksumType | undefined {
  const type = request.header("x-amz-checksum-type")?.toUpperCase();
  if (type === undefined || type === "COMPOSITE" || type === "FULL_OBJECT") return type;
  throw new S3Error("InvalidRequest", {
    message: "Value for x-amz-checksum-type header is invalid.",
  });
}
