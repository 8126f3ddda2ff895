/** Byte ranges: `Range` of a read and `x-amz-copy-source-range` of a part copy. */
import { S3Error } from "../s3-error.ts";

export interface ByteRange {
  readonly start: number;
  readonly bytes: number;
}

/**
 * Resolves a Range header against an object's size.
 *
 * @returns undefined when the whole object is meant: no header, several ranges, or a header that
 *   does not parse (RFC 9110 §14.2 lets a server ignore it, and S3 does)
 * @throws S3Error `InvalidRange` when nothing of the object lies in it
 */
export function resolveRange(header: string | undefined, size: number): ByteRange | undefined {
  const match = /^bytes=(\d*)-(\d*)$/i.exec(header ?? "");
  if (!match) return undefined;
  const [, first, last] = match;
  if (first === "" && last === "") return undefined;
  if (first === "") {
    if (Number(last) === 0) throw unsatisfiable(header ?? "", size);
    const bytes = Math.min(Number(last), size);
    // The last bytes of nothing are nothing: answered as the whole, empty object.
    return bytes === 0 ? undefined : { start: size - bytes, bytes };
  }
  const start = Number(first);
  const end = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== "" && Number(last) < start) return undefined;
  if (start >= size) throw unsatisfiable(header ?? "", size);
  return { start, bytes: end - start + 1 };
}

/**
 * Resolves `x-amz-copy-source-range`, which must be `bytes=first-last` within the source.
 *
 * @throws S3Error `InvalidArgument` for its form, or when it reaches beyond the end
 */
export function resolveCopyRange(header: string, size: number): ByteRange {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header);
  const start = Number(match?.[1]);
  const end = Number(match?.[2]);
  if (!match || end < start) {
    throw new S3Error("InvalidArgument", {
      message:
        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
      details: { ArgumentName: "x-amz-copy-source-range", ArgumentValue: header },
    });
  }
  if (end >= size) {
    throw new S3Error("InvalidArgument", {
      message: `Range specified is not valid for source object of size: ${size}`,
      details: { ArgumentName: "x-amz-copy-source-range", ArgumentValue: header },
    });
  }
  return { start, bytes: end - start + 1 };
}

function unsatisfiable(header: string, size: number): S3Error {
  return new S3Error("InvalidRange", {
    details: { RangeRequested: header, ActualObjectSize: String(size) },
    headers: { "content-range": `bytes */${size}` },
  });
}
