import { describe, expect, it } from "vitest";
import { Documents } from "../bucket/documents.ts";
import { MemoryBucket } from "../bucket/memory-bucket.ts";
import { SigningKeys } from "./signing-keys.ts";

describe("the keys that sign receipts", () => {
  const bucket = () => new MemoryBucket({ name: "rooms" });
  const keysOf = (shared: MemoryBucket, secret: string) =>
    new SigningKeys({
      documents: new Documents({ bucket: shared }),
      secret: new TextEncoder().encode(secret),
      clock: () => 0,
    });

  it("are one for hubs that start at once on one bucket with one secret", async () => {
    const shared = bucket();
    const hubs = Array.from({ length: 5 }, () => keysOf(shared, "one secret"));
    const own = await Promise.all(hubs.map((hub) => hub.own()));
    expect(new Set(own.map(({ thumbprint }) => thumbprint)).size).toBe(1);
    expect(await hubs[0]?.all()).toHaveLength(1);
  });

  it("are added to, and never removed, by a hub with another secret", async () => {
    const shared = bucket();
    const first = await keysOf(shared, "one secret").own();
    const other = keysOf(shared, "another secret");
    const second = await other.own();
    expect((await other.all()).map(({ kid }) => kid)).toEqual([
      first.thumbprint,
      second.thumbprint,
    ]);
    expect((await keysOf(shared, "one secret").own()).thumbprint).toBe(first.thumbprint);
  });

  it("cannot be read from the bucket", async () => {
    const shared = bucket();
    await keysOf(shared, "one secret").own();
    const stored = await shared.get("_receipts/keys.json");
    const [key] = (JSON.parse(new TextDecoder().decode(stored?.body)) as { keys: object[] }).keys;
    expect(Object.keys(key ?? {}).sort()).toEqual(["createdAt", "kid", "sealed", "x"]);
  });
});
