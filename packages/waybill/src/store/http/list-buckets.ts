/** ListBuckets */
import { S3Error } from "../s3-error.ts";
import { ownerElement } from "./list-common.ts";
import type { Call } from "./operation.ts";
import { element, isoTime, text, xmlDocument } from "./xml-writer.ts";

/** S3's page size; without `max-buckets` everything is listed. */
const MAX_BUCKETS = 10_000;

export function listBuckets({ request, response, core }: Call): void {
  const prefix = request.query.get("prefix") ?? "";
  const after = Buffer.from(request.query.get("continuation-token") ?? "", "base64url").toString();
  checkMaxBuckets(request.query.get("max-buckets"));
  const limit = request.wholeNumber("max-buckets", MAX_BUCKETS, 1, MAX_BUCKETS);
  const found = core.buckets.list({ prefix, after, limit: limit + 1 });
  const page = found.slice(0, limit);
  const last = page.at(-1)?.name ?? "";
  const buckets = page.map((bucket) =>
    element(
      "Bucket",
      text("Name", bucket.name),
      text("CreationDate", isoTime(bucket.created)),
      text("BucketRegion", core.region),
    ),
  );
  const document = xmlDocument(
    "ListAllMyBucketsResult",
    ownerElement(core.ownerId),
    element("Buckets", ...buckets),
    prefix === "" ? "" : text("Prefix", prefix),
    found.length > limit ? text("ContinuationToken", Buffer.from(last).toString("base64url")) : "",
  );
  response.xml(200, document);
}

function checkMaxBuckets(value: string | undefined): void {
  if (value === undefined || (/^\d{1,5}$/.test(value) && inRange(Number(value)))) return;
  throw new S3Error("InvalidArgument", {
    message: `Argument max-buckets must be an integer between 1 and ${MAX_BUCKETS}.`,
    details: { ArgumentName: "max-buckets", ArgumentValue: value },
  });
}

function inRange(count: number): boolean {
  return count >= 1 && count <= MAX_BUCKETS;
}
