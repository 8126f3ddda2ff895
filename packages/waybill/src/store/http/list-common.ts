/** What all listings share. */
import { encodePath } from "../auth/canonical.ts";
import { S3Error } from "../s3-error.ts";
import type { S3Request } from "./s3-request.ts";
import { element, text } from "./xml-writer.ts";

export type KeyEncoder = (key: string) => string;

/**
 * How a listing writes keys: as they are, or percent-encoded for `encoding-type=url`, which is
 * the only way to carry characters XML 1.0 does not have.
 */
export function keyEncoder(request: S3Request): KeyEncoder {
  const encoding = request.query.get("encoding-type");
  if (encoding === undefined) return (key) => key;
  if (encoding.toLowerCase() === "url") return encodePath;
  throw new S3Error("InvalidArgument", {
    message: "Invalid Encoding Method specified in Request",
    details: { ArgumentName: "encoding-type", ArgumentValue: encoding },
  });
}

/** The one account everything belongs to. */
export function ownerElement(ownerId: string, name = "Owner"): string {
  return element(name, text("ID", ownerId), text("DisplayName", ownerId));
}
