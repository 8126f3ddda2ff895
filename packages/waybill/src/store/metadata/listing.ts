/**
 * S3's listing: keys and common prefixes as one sequence in byte order. At a common prefix the
 * scan jumps past everything below it, so a listing of a "folder" costs what it returns, not what
 * lies underneath.
 */
import { successor } from "./objects.ts";

/** Rows to list: anything with a key, in key order. */
export interface Keyed {
  readonly key: Uint8Array;
}

export interface ListingQuery {
  readonly prefix: string;
  /** Empty for none. */
  readonly delimiter: string;
  /** Entries (keys and common prefixes) at or before this one are left out. */
  readonly after: string;
  readonly limit: number;
}

export type ListingEntry<Row> =
  | { readonly kind: "row"; readonly row: Row }
  | { readonly kind: "prefix"; readonly prefix: string };

export interface ListingPage<Row> {
  readonly entries: readonly ListingEntry<Row>[];
  /** True when entries are left; then `last` names the page's last one. */
  readonly truncated: boolean;
  readonly last: string;
}

/**
 * One page of a listing.
 *
 * @param scan yields rows whose key starts with `prefix` and is at or after `from`, in order
 */
export function listPage<Row extends Keyed>(
  query: ListingQuery,
  scan: (prefix: Uint8Array, from: Uint8Array) => Iterable<Row>,
): ListingPage<Row> {
  const prefix = Buffer.from(query.prefix);
  const delimiter = Buffer.from(query.delimiter);
  const after = Buffer.from(query.after);
  const entries: ListingEntry<Row>[] = [];
  if (query.limit === 0) return { entries, truncated: false, last: "" };
  let from: Buffer | undefined = query.after === "" ? prefix : firstAfter(after, prefix, delimiter);
  let last = "";
  while (from) {
    let next: Buffer | undefined;
    for (const row of scan(prefix, from)) {
      const common = commonPrefix(row.key, prefix, delimiter);
      if (entries.length === query.limit) return { entries, truncated: true, last };
      if (common) {
        last = common.toString("utf8");
        entries.push({ kind: "prefix", prefix: last });
        next = successor(common);
        break;
      }
      last = Buffer.from(row.key).toString("utf8");
      entries.push({ kind: "row", row });
    }
    from = next;
  }
  return { entries, truncated: false, last };
}

/** The first key that can belong to an entry after `after`. */
function firstAfter(after: Buffer, prefix: Buffer, delimiter: Buffer): Buffer | undefined {
  const common = startsWith(after, prefix) ? commonPrefix(after, prefix, delimiter) : undefined;
  // Everything that rolls up into this prefix is an entry at or before `after`.
  if (common) return successor(common);
  return Buffer.concat([after, Buffer.of(0)]);
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(0, prefix.length), prefix) === 0;
}

function commonPrefix(key: Uint8Array, prefix: Buffer, delimiter: Buffer): Buffer | undefined {
  if (delimiter.length === 0) return undefined;
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  const at = bytes.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : bytes.subarray(0, at + delimiter.length);
}
