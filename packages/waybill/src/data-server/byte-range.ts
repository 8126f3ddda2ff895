// The `Range` header of one request (RFC 9110 §14): a single range of bytes, or none.

/** Bytes `start` … `end - 1`. */
export type ByteRange = { readonly start: number; readonly end: number };

const SINGLE = /^bytes=(?:(\d+)-(\d*)|-(\d+))$/;

/**
 * The range asked for, clipped to `size`; `undefined` when there is no header or it is none a server must heed (other
 * units, several ranges, malformed): the whole is answered then. `unsatisfiable` begins behind the end.
 */
export function parseRange(
  header: string | undefined,
  size: number,
): ByteRange | "unsatisfiable" | undefined {
  const match = SINGLE.exec(header?.replaceAll(" ", "") ?? "");
  if (match === null) return undefined;
  const [, first, last = "", suffix] = match;
  if (suffix !== undefined) {
    const length = Math.min(Number(suffix), size);
    return length === 0 ? "unsatisfiable" : { start: size - length, end: size };
  }
  const start = Number(first);
  const end = last === "" ? size : Math.min(Number(last) + 1, size);
  // A last byte before the first makes the header malformed, not the range unsatisfiable.
  if (last !== "" && Number(last) < start) return undefined;
  return start >= size ? "unsatisfiable" : { start, end };
}
