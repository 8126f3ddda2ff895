/** Tags of objects and buckets: S3's limits, its header form and its XML. */
import { S3Error } from "../s3-error.ts";
import { parseQuery } from "./target.ts";
import {
  child,
  childText,
  childrenNamed,
  malformed,
  parseXml,
  type XmlElement,
} from "./xml-reader.ts";
import { element, text, xmlDocument } from "./xml-writer.ts";

export type Tags = Readonly<Record<string, string>>;

/** Letters, spaces, numbers and these marks, as S3 has it. */
const allowed = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;
const MAX_KEY_LENGTH = 128;
const MAX_VALUE_LENGTH = 256;
export const MAX_OBJECT_TAGS = 10;
export const MAX_BUCKET_TAGS = 50;

/** Reads `x-amz-tagging`: `a=1&b=2`, URL-encoded. */
export function parseTagHeader(header: string): Tags {
  const pairs = decodePairs(header);
  const names = new Set(pairs.map(([key]) => key));
  if (names.size < pairs.length || names.has("")) throw badHeader(header);
  return checkTags(pairs, MAX_OBJECT_TAGS);
}

function decodePairs(header: string): [string, string][] {
  try {
    return parseQuery(header);
  } catch (error) {
    throw badHeader(header, error);
  }
}

function badHeader(header: string, cause?: unknown): S3Error {
  return new S3Error("InvalidArgument", {
    message:
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    details: { ArgumentName: "x-amz-tagging", ArgumentValue: header },
    cause,
  });
}

/** Reads a `Tagging` document. */
export function parseTagDocument(source: string, limit: number): Tags {
  const set = child(parseXml(source, "Tagging"), "TagSet");
  if (!set) throw malformed();
  return readTags(set, limit);
}

/** Tags from the `Tag` elements inside an element. */
export function readTags(set: XmlElement, limit: number): Tags {
  const pairs = childrenNamed(set, "Tag").map((tag): [string, string] => {
    const key = childText(tag, "Key");
    const value = childText(tag, "Value");
    if (key === undefined || value === undefined) throw malformed();
    return [key, value];
  });
  return checkTags(pairs, limit);
}

/** Writes a `Tagging` document. */
export function tagDocument(tags: Tags): string {
  const set = Object.entries(tags).map(([key, value]) =>
    element("Tag", text("Key", key), text("Value", value)),
  );
  return xmlDocument("Tagging", element("TagSet", ...set));
}

function checkTags(pairs: readonly (readonly [string, string])[], limit: number): Tags {
  if (pairs.length > limit) {
    throw new S3Error("BadRequest", {
      message:
        limit === MAX_BUCKET_TAGS
          ? `Bucket tag count cannot be greater than ${limit}`
          : `Object tags cannot be greater than ${limit}`,
    });
  }
  const tags: Record<string, string> = {};
  for (const [key, value] of pairs) {
    if (key === "" || key.length > MAX_KEY_LENGTH || !allowed.test(key)) {
      throw new S3Error("InvalidTag", { message: "The TagKey you have provided is invalid" });
    }
    if (value.length > MAX_VALUE_LENGTH || !allowed.test(value)) {
      throw new S3Error("InvalidTag", { message: "The TagValue you have provided is invalid" });
    }
    if (Object.hasOwn(tags, key)) {
      throw new S3Error("InvalidTag", {
        message: "Cannot provide multiple Tags with the same key",
        details: { TagKey: key },
      });
    }
    tags[key] = value;
  }
  return tags;
}
