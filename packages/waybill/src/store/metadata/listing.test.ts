import * as fc from "fast-check";
import { expect, test } from "vitest";
import { listPage, type Keyed, type ListingQuery } from "./listing.ts";

interface Row extends Keyed {
  readonly name: string;
}

/** A sorted table whose scans are counted. */
function table(keys: readonly string[]): {
  readonly scan: (prefix: Uint8Array, from: Uint8Array) => Generator<Row>;
  readonly read: () => number;
} {
  const rows = [...new Set(keys)]
    .map((name) => ({ name, key: Buffer.from(name) }))
    .toSorted((a, b) => Buffer.compare(a.key, b.key));
  let read = 0;
  return {
    read: () => read,
    *scan(prefix, from) {
      for (const row of rows) {
        if (Buffer.compare(row.key, from) < 0) continue;
        if (Buffer.compare(row.key.subarray(0, prefix.length), prefix) !== 0) continue;
        read += 1;
        yield row;
      }
    },
  };
}

/** What S3 documents, computed from everything at once. */
function naive(keys: readonly string[], query: ListingQuery): string[] {
  const entries = new Set<string>();
  for (const key of keys) {
    if (!key.startsWith(query.prefix)) continue;
    const at = query.delimiter === "" ? -1 : key.indexOf(query.delimiter, query.prefix.length);
    entries.add(at < 0 ? key : key.slice(0, at + query.delimiter.length));
  }
  return [...entries]
    .filter((entry) => Buffer.compare(Buffer.from(entry), Buffer.from(query.after)) > 0)
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

function entriesOf(keys: readonly string[], query: ListingQuery): string[] {
  const page = listPage(query, table(keys).scan);
  return page.entries.map((entry) => (entry.kind === "row" ? entry.row.name : entry.prefix));
}

const keyText = fc.string({
  unit: fc.constantFrom("a", "b", "/", "-", "é", "\u{1f600}", "\u{ff5e}"),
  minLength: 1,
  maxLength: 6,
});
const query = fc.record({
  prefix: fc.oneof(fc.constant(""), keyText),
  delimiter: fc.constantFrom("", "/", "a/", "é"),
  after: fc.oneof(fc.constant(""), keyText),
});

test("lists what the naive model lists, in UTF-8 byte order", () => {
  fc.assert(
    fc.property(fc.array(keyText, { maxLength: 25 }), query, (keys, options) => {
      const whole = { ...options, limit: 1000 };
      expect(entriesOf(keys, whole)).toEqual(naive(keys, whole));
    }),
  );
});

test("pages of any size add up to the whole listing, each entry once", () => {
  fc.assert(
    fc.property(
      fc.array(keyText, { maxLength: 25 }),
      query,
      fc.integer({ min: 1, max: 4 }),
      (keys, options, limit) => {
        const { scan } = table(keys);
        const collected: string[] = [];
        let after = options.after;
        for (;;) {
          const page = listPage({ ...options, after, limit }, scan);
          collected.push(
            ...page.entries.map((entry) => (entry.kind === "row" ? entry.row.name : entry.prefix)),
          );
          if (!page.truncated) break;
          expect(page.entries).toHaveLength(limit);
          after = page.last;
        }
        expect(collected).toEqual(naive(keys, { ...options, limit }));
      },
    ),
  );
});

test("jumps over everything below a common prefix", () => {
  const keys = Array.from({ length: 5000 }, (_, index) => `deep/${index}`);
  const rows = table([...keys, "a", "z"]);
  const page = listPage({ prefix: "", delimiter: "/", after: "", limit: 1000 }, rows.scan);
  expect(page.entries).toHaveLength(3);
  expect(rows.read()).toBeLessThan(10);
});

test("returns nothing and is complete when asked for no entries", () => {
  const page = listPage({ prefix: "", delimiter: "", after: "", limit: 0 }, table(["a"]).scan);
  expect(page).toMatchObject({ entries: [], truncated: false });
});

test("is truncated only when an entry is really left", () => {
  const options = { prefix: "", delimiter: "/", after: "", limit: 2 };
  expect(listPage(options, table(["a", "b/1", "b/2"]).scan).truncated).toBe(false);
  expect(listPage(options, table(["a", "b/1", "c"]).scan)).toMatchObject({
    truncated: true,
    last: "b/",
  });
});
