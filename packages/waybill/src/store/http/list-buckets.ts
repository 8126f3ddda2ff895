/** ListBuckets */
import { ownerElement } from "./list-common.ts";
import type { Call } from "./operation.ts";
import { element, isoTime, text, xmlDocument } from "./xml-writer.ts";

/** S3's page size; without `max-buckets` everything is listed. */
const MAX_BUCKETS = 10_000;

export function listBuckets({ request, response, core }: Call): void {
  const prefix = request.query.get("prefix") ?? "";
  const after = Buffer.from(request.query.get("continuation-token") ?? "", "base64url").toString();
  const limit = request.wholeNumber("max-buckets", MAX_BUCKETS, 1, MAX_BUCKETS);
  const found = core.buckets.list({ prefix, after, limit: limit + 1 });
  const page = found.slice(0, limit);
  const last = page.at(-1)?.name ?? "";
  const buckets = page.map((bucket) =>
    element("Bucket", text("Name", bucket.name), text("CreationDate", isoTime(bucket.created))),
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
