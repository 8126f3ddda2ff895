/** CreateBucket, HeadBucket, DeleteBucket and GetBucketLocation */
import { S3Error } from "../s3-error.ts";
import { refuseUnsupported } from "./object-headers.ts";
import type { Call } from "./operation.ts";
import { childText, parseXml } from "./xml-reader.ts";
import { xmlDocument } from "./xml-writer.ts";

/** S3's default region, which `GetBucketLocation` writes as nothing. */
const UNNAMED_REGION = "us-east-1";

export async function createBucket({ request, response, core }: Call): Promise<void> {
  const name = request.bucket;
  checkBucketName(name);
  refuseUnsupported(request);
  if (request.header("x-amz-bucket-object-lock-enabled")?.toLowerCase() === "true") {
    throw new S3Error("NotImplemented", { message: "Object Lock is not implemented." });
  }
  const body = await request.readText();
  const wanted = body.trim() === "" ? "" : readLocation(body);
  if (wanted !== "" && wanted !== core.region) {
    throw new S3Error("InvalidArgument", {
      message: `The specified location-constraint is not valid: this store is in ${core.region}.`,
      details: { ArgumentName: "LocationConstraint", ArgumentValue: wanted },
    });
  }
  await core.db.transact(() => core.buckets.create(name, core.now()));
  response.empty(200, { location: `/${name}` });
}

function readLocation(body: string): string {
  const configuration = parseXml(body, "CreateBucketConfiguration");
  return childText(configuration, "LocationConstraint")?.trim() ?? "";
}

export function headBucket({ request, response, core }: Call): void {
  core.buckets.get(request.bucket);
  response.empty(200, { "x-amz-bucket-region": core.region });
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

/** S3's rules for general purpose buckets. */
function checkBucketName(name: string): void {
  const valid =
    /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) &&
    !/\.\.|\.-|-\./.test(name) &&
    !/^\d+\.\d+\.\d+\.\d+$/.test(name) &&
    !/^xn--|^sthree-|-s3alias$|--ol-s3$/.test(name);
  if (!valid) throw new S3Error("InvalidBucketName", { details: { BucketName: name } });
}
