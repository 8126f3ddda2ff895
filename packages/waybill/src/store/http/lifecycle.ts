/** GetBucketLifecycleConfiguration, PutBucketLifecycleConfiguration, DeleteBucketLifecycle */
import { randomUUID } from "node:crypto";
import { parseLifecycle } from "../lifecycle/rules.ts";
import { S3Error } from "../s3-error.ts";
import type { Call } from "./operation.ts";
import { planIntegrity } from "./integrity.ts";
import { childText, parseXml, type XmlElement } from "./xml-reader.ts";
import { element, text, xmlDocument } from "./xml-writer.ts";

export function getLifecycle({ request, response, core }: Call): void {
  const body = core.buckets.getSetting(core.buckets.get(request.bucket), "lifecycle");
  if (body === undefined) throw new S3Error("NoSuchLifecycleConfiguration");
  response.xml(200, body);
}

export async function putLifecycle({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const integrity = await planIntegrity(request, { etag: "always-md5" });
  const body = await request.readText((chunk) => {
    for (const digest of integrity.digests) digest.update(chunk);
  });
  integrity.verify();
  parseLifecycle(body, randomUUID);
  // Stored as it will be answered: the client's rules, each with an id.
  const rules = parseXml(body, "LifecycleConfiguration").children.map(withId);
  const document = xmlDocument("LifecycleConfiguration", ...rules);
  await core.db.transact(() => core.buckets.putSetting(bucket, "lifecycle", document));
  response.empty(200);
}

export async function deleteLifecycle({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  await core.db.transact(() => core.buckets.deleteSetting(bucket, "lifecycle"));
  response.empty(204);
}

function withId(rule: XmlElement): string {
  const id = childText(rule, "ID")?.trim() || randomUUID();
  const rest = rule.children.filter((one) => one.name !== "ID").map(write);
  return element(rule.name, text("ID", id), ...rest);
}

function write({ name, children, text: content }: XmlElement): string {
  return children.length > 0 ? element(name, ...children.map(write)) : text(name, content);
}
