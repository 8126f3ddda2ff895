import { addModel, editTags, emptyRegistry } from "@waybill/sdk/registry";
import { describe, expect, it } from "vitest";
import type { MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB } from "../jobs/call.fixture.ts";
import { by, entryOf, ids, setUp } from "./registry.fixture.ts";
import { registryKey } from "./registry-keys.ts";

const KEY = registryKey(LAB);
const stored = (bucket: MemoryBucket) => new TextDecoder().decode(bucket.peek(KEY));

describe("a room's registry in the bucket", () => {
  it("is written with one PUT after the record of what changes", async () => {
    const { hub, operations } = setUp();
    const one = hub();
    await one.add("aaaaaaaa");
    operations.length = 0;
    await one.add("bbbbbbbb");
    expect(operations).toEqual(["put lab/registry/journal/0000000002", `put ${KEY}`]);
  });

  it("is not read again when it is what this hub knows", async () => {
    const { hub, operations } = setUp();
    const one = hub();
    await one.add("aaaaaaaa");
    operations.length = 0;
    await one.read();
    expect(operations).toEqual([`head ${KEY}`]);
  });

  it("shows another hub's writes at once, by the records of them alone", async () => {
    const { hub, operations } = setUp();
    const [one, two] = [hub(), hub()];
    await one.add("aaaaaaaa");
    await two.read();
    for (const id of ids(5)) await one.add(id, `of-${id}`);
    operations.length = 0;
    const seen = await two.read();
    expect(operations).toHaveLength(6);
    expect(operations).not.toContain(`get ${KEY}`);
    expect(seen).toEqual(await hub().read());
    expect(seen).toMatchObject({ revision: 6 });
  });

  it("is read whole once by many who ask at the same time", async () => {
    const { hub, operations } = setUp();
    await hub().add("aaaaaaaa");
    operations.length = 0;
    const two = hub();
    await Promise.all(Array.from({ length: 16 }, two.read));
    expect(operations.filter((each) => each === `get ${KEY}`)).toHaveLength(1);
  });

  it("upgrades a document of format 1 at its next write, and keeps what was there", async () => {
    const { bucket, hub } = setUp();
    const {
      format: _,
      revision: __,
      write: ___,
      ...old
    } = addModel(emptyRegistry(LAB), entryOf("aaaaaaaa"), by).registry;
    await bucket.put(KEY, JSON.stringify({ ...old, format: 1 }));
    const one = hub();
    expect((await one.read()).models).toHaveProperty("aaaaaaaa");
    await one.add("bbbbbbbb");
    expect(JSON.parse(stored(bucket))).toMatchObject({ format: 2, revision: 1 });
    const snapshot = bucket.keys.find((key) =>
      key.startsWith("lab/registry/snapshots/0000000001-"),
    );
    expect(new TextDecoder().decode(bucket.peek(snapshot ?? ""))).toBe(stored(bucket));
  });

  it("of a newer format is neither used nor written over", async () => {
    const { bucket, hub } = setUp();
    await bucket.put(KEY, JSON.stringify({ ...emptyRegistry(LAB), format: 3 }));
    const newer = { code: "unsupported_version" };
    await expect(hub().add("aaaaaaaa")).rejects.toMatchObject(newer);
    await expect(hub().read()).rejects.toMatchObject(newer);
    expect(stored(bucket)).toContain('"format":3');
  });
});

describe("a damaged registry", () => {
  const damages: Record<string, (bucket: MemoryBucket) => Promise<unknown>> = {
    "that is not JSON": (bucket) => bucket.put(KEY, "<html>"),
    "that was cut off": (bucket) => bucket.put(KEY, stored(bucket).slice(0, -10)),
    "that was changed by other means": (bucket) =>
      bucket.put(KEY, stored(bucket).replace('"tags":[]', '"tags":["best"]')),
    "with a bit turned": async (bucket) => {
      const { writeId = "", metadata = {} } = (await bucket.get(KEY)) ?? {};
      const text = stored(bucket).replace('"size_bytes":1', '"size_bytes":3');
      await bucket.put(KEY, text, { writeId, metadata });
    },
    "that is gone": (bucket) => bucket.delete([KEY]),
  };

  it.each(Object.entries(damages))("%s is never written over", async (_, damage) => {
    const { bucket, hub } = setUp();
    const warm = hub();
    await warm.add("aaaaaaaa");
    await warm.add("bbbbbbbb");
    await damage(bucket);
    const before = bucket.peek(KEY);
    const damaged = { code: "registry_damaged", hint: expect.stringContaining("rebuild") };
    for (const each of [warm, hub()]) {
      await expect(each.read()).rejects.toMatchObject(damaged);
      await expect(each.add("cccccccc")).rejects.toMatchObject(damaged);
      const tagged = each.edit((registry) =>
        editTags(registry, "aaaaaaaa", { add: [], remove: [] }),
      );
      await expect(tagged).rejects.toMatchObject(damaged);
    }
    expect(bucket.peek(KEY)).toEqual(before);
  });
});

describe("many writers", () => {
  it("64 at once through two hubs lose nothing (I4)", async () => {
    const { hub } = setUp();
    const hubs = [hub(), hub()] as const;
    const all = ids(64);
    await Promise.all(all.map((id, i) => hubs[i % 2 === 0 ? 0 : 1].add(id, `of-${id}`)));
    const registry = await hub().read();
    expect(Object.keys(registry.models).toSorted()).toEqual(all);
    expect(Object.keys(registry.aliases)).toHaveLength(65);
    expect(registry.alias_history).toHaveLength(64);
    for (const each of hubs) expect(await each.read()).toEqual(registry);
  });
});
