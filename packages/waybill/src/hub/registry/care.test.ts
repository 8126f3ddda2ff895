import type { Alias, ArtifactRecord, ModelId, ModelType, RoomId } from "@waybill/sdk/protocol";
import { WaybillError } from "@waybill/sdk/protocol";
import { moveAlias, removeAlias } from "@waybill/sdk/registry";
import { describe, expect, it } from "vitest";
import type { BucketOperation, MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB } from "../jobs/call.fixture.ts";
import { silentLog } from "../log.ts";
import { RegistryCare } from "./care.ts";
import { reserveModelId } from "./model-ids.ts";
import { registryKey } from "./registry-keys.ts";
import { by, ids, setUp } from "./registry.fixture.ts";

const KEY = registryKey(LAB);
const NOW_MS = Date.parse("2026-02-03T04:05:06.789Z");
type Hub = ReturnType<ReturnType<typeof setUp>["hub"]>;

const careOf = (hub: Hub, filled: readonly ArtifactRecord[] = []) =>
  new RegistryCare({
    documents: hub.documents,
    filledBy: async (_: RoomId, model: ModelId) =>
      filled.find(({ s3Path }) => s3Path.includes(model)),
    clock: () => NOW_MS,
    log: silentLog,
  });

/** Puts a model's objects where its entry says. */
const fill = async (bucket: MemoryBucket, id: string) => {
  await bucket.put(`lab/models/unet_${id}/model.bin`, "m");
  await bucket.put(
    `lab/models/unet_${id}/artifact.json`,
    JSON.stringify({ files: [{ path: "model.bin" }] }),
  );
};
/** A room with three models, two aliases that moved and one that is gone. */
async function room(before?: (operation: BucketOperation, key: string) => void) {
  const made = setUp(before);
  const hub = made.hub();
  for (const id of ids(3)) {
    await fill(made.bucket, id);
    await hub.add(id, "prod");
  }
  await hub.edit((registry) =>
    moveAlias(registry, { alias: "best" as Alias, model: "prod", why: "it is" }, by),
  );
  await hub.edit((registry) => removeAlias(registry, { alias: "best" as Alias }, by));
  await hub.edit((registry) => ({
    registry: {
      ...registry,
      protected_aliases: ["prod" as Alias],
      retention: { ...registry.retention, keep_per_type: 5 },
    },
    result: undefined,
  }));
  return { ...made, one: hub };
}

const journalOf = (bucket: MemoryBucket) =>
  bucket.keys.filter((key) => key.startsWith("lab/registry/journal/"));

describe("a rebuild of a registry", () => {
  it("brings everything back, keeps the damaged object, and counts as a write", async () => {
    const { bucket, hub, one } = await room();
    const before = await one.read();
    await bucket.put(KEY, "{");
    const made = await careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    expect(made).toMatchObject({ written: true, adopted: [], report: { holes: [], models: 3 } });
    const kept = (made.kept ?? "").slice(bucket.name.length + 1);
    expect(new TextDecoder().decode(bucket.peek(kept))).toBe("{");
    for (const each of [one, hub()]) {
      const after = await each.read();
      expect(after).toEqual({ ...before, revision: before.revision + 1, write: after.write });
    }
    await hub().add("bbbbbbbb");
    const checked = await careOf(hub()).check(LAB);
    expect(checked).toMatchObject({ holes: [], unreadable: [], models: 4 });
    expect(checked.damage).toBeUndefined();
  });

  it("does not take an edit over that was refused because of the damage", async () => {
    const { bucket, one } = await room();
    const before = await one.read();
    await bucket.put(KEY, '{"other": "content"}');
    const refused = one.edit((registry) =>
      moveAlias(registry, { alias: "late" as Alias, model: "prod", why: "x" }, by),
    );
    await expect(refused).rejects.toMatchObject({ code: "registry_damaged" });
    await careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    const after = await one.read();
    expect(after.aliases).toEqual(before.aliases);
    expect(after.alias_history).toEqual(before.alias_history);
  });

  it("changes nothing when only asked what would come of it", async () => {
    const { bucket, one } = await room();
    await bucket.put(KEY, "{");
    const keys = bucket.keys;
    const made = await careOf(one).rebuild(LAB, { dryRun: true, adopt: true }, "ada");
    expect(made).toMatchObject({ written: false, report: { models: 3, alias_moves: 5 } });
    expect(made.report.damage).toContain("JSON");
    expect(bucket.keys).toEqual(keys);
  });

  it("makes a registry that is gone, and one that an older one was put in place of", async () => {
    const { bucket, one } = await room();
    const before = await one.read();
    const old = await bucket.get(KEY);
    await one.add("bbbbbbbb");
    await one.add("cccccccc");
    await one.add("dddddddd");
    await bucket.put(KEY, old?.body ?? "", {
      writeId: old?.writeId ?? "",
      metadata: old?.metadata ?? {},
    });
    const { damage } = await careOf(one).check(LAB);
    expect(damage).toContain(`it is of revision ${before.revision}, and its journal goes on`);
    await bucket.delete([KEY]);
    expect((await careOf(one).check(LAB)).damage).toContain("it is gone");
    await careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    expect(Object.keys((await one.read()).models)).toHaveLength(6);
  });

  it("says which revisions are lost, and which aliases with them", async () => {
    const { bucket, one } = await room();
    const [first = "", second = "", third = ""] = journalOf(bucket);
    await bucket.delete([second]);
    await bucket.put(third, "not a record");
    await bucket.put(KEY, "{");
    const { report } = await careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    expect(report.holes).toEqual([[2, 3]]);
    expect(report.unreadable).toEqual([third]);
    expect(first).toContain("0000000001");
    const registry = await one.read();
    // The third model is known from the record of its last alias, which tells the whole entry.
    const [a, , c] = ids(3);
    expect(Object.keys(registry.models)).toEqual([a, c]);
    expect(registry.protected_aliases).toEqual(["prod"]);
  });

  it("uses an older snapshot when the newest is not whole", async () => {
    const { bucket, one } = await room();
    const before = await one.read();
    const broken = `lab/registry/snapshots/${String(before.revision).padStart(10, "0")}-${before.write}.json`;
    await bucket.put(broken, "{");
    await bucket.put(KEY, "{");
    const { report } = await careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    expect(report).toMatchObject({ holes: [], unreadable: [broken], models: 3 });
  });

  it("marks entries whose bytes are gone, and names bytes that no entry has", async () => {
    const { bucket, one } = await room();
    const [lost = "", ...kept] = ids(3);
    await bucket.delete([`lab/models/unet_${lost}/model.bin`]);
    await fill(bucket, "eeeeeeee");
    const checked = await careOf(one).check(LAB);
    const place = `${bucket.name}/lab/models/unet_eeeeeeee/`;
    expect(checked).toMatchObject({
      without_bytes: [lost],
      without_entry: [{ place, model: "eeeeeeee" }],
    });
    await careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    const { models } = await one.read();
    expect(models[lost]?.availability.in_s3).toBe(false);
    for (const id of kept) expect(models[id]?.availability.in_s3).toBe(true);
    const again = await careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    expect(again.written).toBe(false);
  });

  it("adopts models that nothing names, when it is asked to", async () => {
    const { bucket, one, hub } = await room();
    const digest = "eeeeeeee".padEnd(64, "0");
    const modelType = "unet" as ModelType;
    const id = await reserveModelId(one.documents, LAB, { digest, owner: "push", modelType }, 0);
    await fill(bucket, id);
    const record = {
      artifact: digest,
      name: "m",
      kind: "model",
      layout: "plain",
      files: 1,
      bytes: 1,
      manifestBytes: 1,
      s3Path: `${bucket.name}/lab/models/unet_${id}/`,
      createdAt: "2026-01-01T00:00:00.000Z",
    } as unknown as ArtifactRecord;
    await bucket.delete([KEY, ...bucket.keys.filter((key) => key.startsWith("lab/registry/"))]);
    const care = careOf(hub(), [record]);
    const { adopted } = await care.rebuild(LAB, { dryRun: false, adopt: true }, "ada");
    expect(adopted).toEqual([id]);
    const { models, aliases } = await hub().read();
    expect(models[id]).toMatchObject({ tags: ["recovered"], storage: { files: ["model.bin"] } });
    expect(aliases).toEqual({ "latest-unet": id });
  });

  it("does not write over a document of a newer format", async () => {
    const { bucket, one } = await room();
    await bucket.put(KEY, JSON.stringify({ format: 3 }));
    const rebuilding = careOf(one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    await expect(rebuilding).rejects.toMatchObject({ code: "unsupported_version" });
  });

  it("gives way when somebody else makes the registry good first", async () => {
    const made = await room((operation, key) => {
      if (operation === "put" && key.includes("/registry/snapshots/")) {
        void made.bucket.store(KEY, "made good");
      }
    });
    await made.bucket.put(KEY, "{");
    const rebuilding = careOf(made.one).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    await expect(rebuilding).rejects.toMatchObject({ code: "conflict" });
    expect(new TextDecoder().decode(made.bucket.peek(KEY))).toBe("made good");
  });
});

describe("a writer that is killed", () => {
  /** Fails every operation from the `n`th of an edit on, before it or after it was done. */
  async function killedAt(step: number, after: boolean) {
    let left = Number.POSITIVE_INFINITY;
    const made = await room(() => {
      if (left <= 0) throw new WaybillError("storage_failed", "killed");
      left -= 1;
    });
    left = after ? step + 1 : step;
    if (after) {
      // Done, and the answer lost: the operation counts, what follows does not happen.
      const put = made.bucket.put.bind(made.bucket);
      made.bucket.put = async (key, body, options) => {
        const stored = await put(key, body, options);
        if (left <= 0) throw new WaybillError("storage_failed", "killed");
        return stored;
      };
    }
    const outcome = await made.one.add("bbbbbbbb", "prod").then(
      () => "answered",
      () => "killed",
    );
    left = Number.POSITIVE_INFINITY;
    return { ...made, outcome };
  }

  it.each([
    ["before the record", 0, false, false],
    ["after the record", 0, true, false],
    ["before the document", 1, false, false],
    ["after the document", 1, true, true],
  ] as const)("%s leaves no half entry", async (_, step, after, entered) => {
    const { bucket, hub, outcome } = await killedAt(step, after);
    expect(outcome).toBe("killed");
    const next = hub();
    const registry = await next.read();
    expect(Object.hasOwn(registry.models, "bbbbbbbb")).toBe(entered);
    expect(registry.aliases["prod"]).toBe(entered ? "bbbbbbbb" : ids(3)[2]);
    expect(registry.alias_history).toHaveLength(entered ? 6 : 5);
    // The publisher comes again, and the registry is as if nothing had happened.
    await next.add("bbbbbbbb", "prod");
    const done = await next.read();
    expect(done.alias_history).toHaveLength(6);
    await fill(bucket, "bbbbbbbb");
    await bucket.put(KEY, "{");
    await careOf(next).rebuild(LAB, { dryRun: false, adopt: false }, "ada");
    const rebuilt = await next.read();
    expect({ ...rebuilt, revision: 0, write: "" }).toEqual({ ...done, revision: 0, write: "" });
  });
});
