/** CreateMultipartUpload */
import { randomBytes } from "node:crypto";
import {
  allowsChecksumType,
  defaultChecksumType,
  parseChecksumAlgorithm,
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
  const wantedType = request.header("x-amz-checksum-type")?.toUpperCase();
  if (name === undefined) {
    if (wantedType === undefined) return undefined;
    throw new S3Error("InvalidRequest", {
      message:
        "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
    });
  }
  const algorithm = parseChecksumAlgorithm(name);
  if (!algorithm) {
    throw new S3Error("InvalidRequest", {
      message:
        "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
    });
  }
  const type = wantedType ?? defaultChecksumType(algorithm);
  if (type !== "COMPOSITE" && type !== "FULL_OBJECT") {
    throw new S3Error("InvalidRequest", {
      message: "Value for x-amz-checksum-type header is invalid.",
    });
  }
  if (!allowsChecksumType(algorithm, type)) {
    throw new S3Error("InvalidRequest", {
      message: `The ${type} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    });
  }
  return { algorithm, type };
}
