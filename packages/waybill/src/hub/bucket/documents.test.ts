import { WaybillError } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { Documents } from "./documents.ts";
import { type BucketOperation, MemoryBucket } from "./memory-bucket.ts";

const Counter = v.object({ count: v.number(), by: v.optional(v.string()) });
const add = (doc: v.InferOutput<typeof Counter> | undefined) => ({ count: (doc?.count ?? 0) + 1 });

function setup() {
  const operations: BucketOperation[] = [];
  const bucket = new MemoryBucket({
    before: async (operation) => {
      operations.push(operation);
      await Promise.resolve();
    },
  });
  const documents = () => new Documents({ bucket, sleep: () => Promise.resolve() });
  return { operations, bucket, documents };
}

describe("Documents", () => {
  it("creates a document once and refuses a second creation", async () => {
    const documents = setup().documents();
    await documents.create(Counter, "a", { count: 1 });
    await expect(documents.create(Counter, "a", { count: 2 })).rejects.toMatchObject({
      code: "conflict",
    });
    expect((await documents.read(Counter, "a"))?.doc).toEqual({ count: 1 });
  });

  it("edits what it has just written with one PUT and no GET", async () => {
    const { documents, operations } = setup();
    const hub = documents();
    await hub.create(Counter, "a", { count: 1 });
    operations.length = 0;
    await hub.update(Counter, "a", add);
    await hub.update(Counter, "a", add);
    expect(operations).toEqual(["put", "put"]);
  });

  it("loses no edit of many writers in several hubs (I4)", async () => {
    const { documents } = setup();
    const hubs = Array.from({ length: 8 }, documents);
    await Promise.all(
      hubs.flatMap((hub) => Array.from({ length: 8 }, () => hub.update(Counter, "a", add))),
    );
    expect((await documents().read(Counter, "a"))?.doc.count).toBe(64);
  });

  it("does not refuse or skip an edit because of a memory that another hub has outdated", async () => {
    const { documents } = setup();
    const [one, two] = [documents(), documents()];
    await one.create(Counter, "a", { count: 0 });
    await two.update(Counter, "a", add);
    const seen: (number | undefined)[] = [];
    const updated = await one.update(Counter, "a", (doc) => {
      seen.push(doc?.count);
      if (doc?.count === 0) throw new WaybillError("conflict", "not yet");
      return add(doc);
    });
    expect(seen).toEqual([0, 1]);
    expect(updated).toMatchObject({ doc: { count: 2 }, changed: true });
    await two.update(Counter, "a", add);
    const kept = await one.update(Counter, "a", (doc) => (doc?.count === 2 ? undefined : add(doc)));
    expect(kept).toMatchObject({ doc: { count: 4 }, changed: true });
  });

  it("passes on what an edit throws and leaves the document alone", async () => {
    const documents = setup().documents();
    await documents.create(Counter, "a", { count: 7 });
    const refusal = new WaybillError("forbidden", "no");
    const failing = documents.update(Counter, "a", () => {
      throw refusal;
    });
    await expect(failing).rejects.toBe(refusal);
    expect(await documents.update(Counter, "a", () => undefined)).toMatchObject({
      doc: { count: 7 },
      changed: false,
    });
    expect(await documents.update(Counter, "none", () => undefined)).toBeUndefined();
  });

  it("knows its own write when the store refuses the repetition of a lost answer", async () => {
    let lose = true;
    const inner = new MemoryBucket();
    const bucket = new Proxy(inner, {
      get: (target, name) => {
        if (name !== "put") {
          const member: unknown = Reflect.get(target, name);
          return typeof member === "function" ? member.bind(target) : member;
        }
        const put: MemoryBucket["put"] = async (key, body, options) => {
          if (lose) {
            lose = false;
            await target.put(key, body, options);
          }
          return target.put(key, body, options);
        };
        return put;
      },
    });
    const documents = new Documents({ bucket });
    const updated = await documents.update(Counter, "a", add);
    expect(updated).toMatchObject({ doc: { count: 1 }, changed: true });
    await documents.update(Counter, "a", add);
    expect((await documents.read(Counter, "a"))?.doc.count).toBe(2);
  });

  it("forgets what it knew when a write's fate is unknown", async () => {
    let fail = false;
    const bucket = new MemoryBucket({
      before: (operation) => {
        if (operation === "put" && fail) throw new WaybillError("storage_failed", "gone");
      },
    });
    const documents = new Documents({ bucket });
    await documents.create(Counter, "a", { count: 1 });
    fail = true;
    await expect(documents.update(Counter, "a", add)).rejects.toMatchObject({
      code: "storage_failed",
    });
    fail = false;
    await bucket.put("a", JSON.stringify({ count: 10 }));
    await documents.update(Counter, "a", add);
    expect((await documents.read(Counter, "a"))?.doc.count).toBe(11);
  });

  it("serves a memory that is young enough and asks the store otherwise", async () => {
    let nowMs = 1000;
    const { bucket, operations } = setup();
    const documents = new Documents({ bucket, now: () => nowMs });
    await documents.create(Counter, "a", { count: 1 });
    operations.length = 0;
    nowMs += 5000;
    await documents.read(Counter, "a", { maxAgeMs: 5000 });
    expect(operations).toEqual([]);
    nowMs += 1;
    await documents.read(Counter, "a", { maxAgeMs: 5000 });
    await documents.read(Counter, "a", { maxAgeMs: 5000 });
    expect(operations).toEqual(["get"]);
  });

  it("names a damaged document instead of passing it on", async () => {
    const { bucket, documents } = setup();
    await bucket.put("room/job.json", '{"count":"many"}');
    await expect(documents().read(Counter, "room/job.json")).rejects.toMatchObject({
      code: "storage_failed",
      message: expect.stringContaining("room/job.json"),
    });
  });
});
