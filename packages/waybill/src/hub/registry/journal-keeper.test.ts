import { describe, expect, it } from "vitest";
import { Documents } from "../bucket/documents.ts";
import { MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB } from "../jobs/call.fixture.ts";
import { keepJournal } from "./journal-keeper.ts";
import { journalPrefix, recordKey, registryKey, snapshotPrefix } from "./registry-keys.ts";
import { ids } from "./registry.fixture.ts";
import { reconstruct } from "./remains.ts";
import { RegistryWriter, readRegistry } from "./room-registry.ts";

const DAY_MS = 86_400_000;

function setUp() {
  let nowMs = Date.parse("2026-01-02T03:04:05.678Z");
  const bucket = new MemoryBucket({ now: () => nowMs });
  const documents = new Documents({ bucket, now: () => nowMs });
  const writer = new RegistryWriter(documents);
  const write = async (count: number) => {
    for (const _ of ids(count)) {
      await writer.edit(LAB, (registry) => ({ registry: { ...registry }, result: undefined }));
    }
  };
  return {
    bucket,
    write,
    keep: () => keepJournal({ bucket, clock: () => nowMs }, LAB),
    pass: (ms: number) => (nowMs += ms),
    read: () => readRegistry(documents, LAB),
    names: (prefix: string) => bucket.keys.filter((key) => key.startsWith(prefix)),
  };
}

describe("keeping a journal", () => {
  it("takes a snapshot when 256 writes have come since the last", async () => {
    const { bucket, write, keep, names, read } = setUp();
    await write(255);
    await keep();
    expect(names(snapshotPrefix(LAB))).toEqual([]);
    await write(1);
    await keep();
    await keep();
    const [only, ...others] = names(snapshotPrefix(LAB));
    expect(others).toEqual([]);
    expect(bucket.peek(only ?? "")).toEqual(bucket.peek(registryKey(LAB)));
    await write(3);
    const { registry, plan } = await reconstruct(bucket, LAB, undefined);
    expect(registry).toEqual(await read());
    expect(plan).toMatchObject({ base: { revision: 256 }, holes: [] });
  });

  it("removes records whose write lost its race, after a day, and no others", async () => {
    const { bucket, write, keep, names, pass } = setUp();
    await write(4);
    const kept = names(journalPrefix(LAB));
    for (const revision of [2, 4, 5]) {
      const record = { revision, write: "lostlostlostlost" };
      await bucket.put(recordKey(LAB, record), "{}");
    }
    await keep();
    expect(names(journalPrefix(LAB))).toHaveLength(7);
    pass(DAY_MS + 1);
    await keep();
    expect(names(journalPrefix(LAB))).toEqual(kept);
  });

  it("removes what two snapshots cover, after a month", async () => {
    const { bucket, write, keep, names, pass, read } = setUp();
    for (const _ of ids(3)) {
      await write(256);
      await keep();
    }
    pass(31 * DAY_MS);
    const [, second = ""] = names(snapshotPrefix(LAB));
    const whole = await bucket.get(second);
    await bucket.put(second, "{");
    await keep();
    expect(names(snapshotPrefix(LAB))).toHaveLength(3);
    const { body = "", writeId = "", metadata = {} } = whole ?? {};
    bucket.store(second, body, { writeId, metadata });
    pass(31 * DAY_MS);
    await keep();
    expect(names(snapshotPrefix(LAB))).toHaveLength(2);
    expect(names(journalPrefix(LAB))).toHaveLength(257);
    expect((await reconstruct(bucket, LAB, undefined)).registry).toEqual(await read());
  });
});
