/** CreateBucket, HeadBucket, DeleteBucket and GetBucketLocation */
import { S3Error } from "../s3-error.ts";
import { isBucketName } from "./bucket-name.ts";
import { refuseUnsupported } from "./object-headers.ts";
import type { Call } from "./operation.ts";
import type { S3Request } from "./s3-request.ts";
import { MAX_BUCKET_TAGS, readTags, type Tags } from "./tags.ts";
import { child, childText, parseXml } from "./xml-reader.ts";
import { xmlDocument } from "./xml-writer.ts";

/** S3's default region, which `GetBucketLocation` writes as nothing. */
const UNNAMED_REGION = "us-east-1";

export async function createBucket({ request, response, core }: Call): Promise<void> {
  const name = request.bucket;
  if (!isBucketName(name)) {
    throw new S3Error("InvalidBucketName", { details: { BucketName: name } });
  }
  if (/^(?:public|authenticated)-/.test(request.header("x-amz-acl") ?? "")) {
    throw new S3Error("InvalidBucketAclWithObjectOwnership");
  }
  refuseUnsupported(request);
  checkOwnership(request);
  if (request.header("x-amz-bucket-object-lock-enabled")?.toLowerCase() === "true") {
    throw new S3Error("NotImplemented", { message: "Object Lock is not implemented." });
  }
  const body = await request.readText();
  const { location, tags } = readConfiguration(body);
  if (location !== "" && location !== core.region) {
    throw new S3Error("InvalidLocationConstraint", { details: { LocationConstraint: location } });
  }
  await core.db.transact(() => {
    core.buckets.create(name, core.now());
    if (!tags) return;
    core.buckets.putSetting(core.buckets.get(name), "tagging", JSON.stringify(tags));
  });
  response.empty(200, {
    location: `/${name}`,
    "x-amz-bucket-arn": `arn:aws:s3:::${name}`,
  });
}

interface BucketConfiguration {
  readonly location: string;
  readonly tags: Tags | undefined;
}

function readConfiguration(body: string): BucketConfiguration {
  if (body.trim() === "") return { location: "", tags: undefined };
  const configuration = parseXml(body, "CreateBucketConfiguration");
  const tags = child(configuration, "Tags");
  return {
    location: childText(configuration, "LocationConstraint")?.trim() ?? "",
    tags: tags && readTags(tags, MAX_BUCKET_TAGS),
  };
}

/** There are no ACLs, so `BucketOwnerEnforced` is the one ownership a bucket can have. */
function checkOwnership(request: S3Request): void {
  const ownership = request.header("x-amz-object-ownership");
  if (ownership === undefined || ownership === "BucketOwnerEnforced") return;
  if (ownership === "BucketOwnerPreferred" || ownership === "ObjectWriter") {
    throw new S3Error("AccessControlListNotSupported");
  }
  throw new S3Error("InvalidArgument", {
    message: `Invalid x-amz-object-ownership header: ${ownership}`,
    details: { ArgumentName: "x-amz-object-ownership" },
  });
}

export function headBucket({ request, response, core }: Call): void {
  core.buckets.get(request.bucket);
  response.empty(200, {
    "x-amz-bucket-region": core.region,
    "x-amz-bucket-arn": `arn:aws:s3:::${request.bucket}`,
  });
}

export async function deleteBucket({ request, response, core }: Call): Promise<void> {
  await core.db.transact((transaction) => {
    const bucket = core.buckets.get(request.bucket);
    const uploads = [...core.uploads.scan(bucket.id, Buffer.alloc(0), Buffer.alloc(0))];
    core.buckets.delete(bucket);
    for (const row of uploads) {
      const upload = core.uploads.get(bucket.id, Buffer.from(row.key).toString("utf8"), row.id);
      core.uploads.delete(bucket.id, upload, transaction);
    }
  });
  response.empty(204);
}

export function getBucketLocation({ request, response, core }: Call): void {
  core.buckets.get(request.bucket);
  const region = core.region === UNNAMED_REGION ? "" : core.region;
  response.xml(200, xmlDocument("LocationConstraint", region));
}
