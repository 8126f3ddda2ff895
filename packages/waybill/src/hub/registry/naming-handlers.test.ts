import { type Alias, type ModelId, Registry, type Tag } from "@waybill/sdk/protocol";
import { addModel, emptyRegistry } from "@waybill/sdk/registry";
import { describe, expect, it } from "vitest";
import { Documents } from "../bucket/documents.ts";
import { MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB, callOf, callerOf } from "../jobs/call.fixture.ts";
import { namingHandlers } from "./naming-handlers.ts";
import { RegistryWriter, registryKey } from "./room-registry.ts";

const WHEN = "2026-01-02T03:04:05.678Z";
const prod = "prod" as Alias;
const member = callerOf("member");
const owner = callerOf("owner");
const idOf = (n: number) => n.toString(16).padStart(8, "0") as ModelId;

/** A hub whose room has so many models, model `n` with `val_loss` n. */
async function setUp(models: number, configBytes = 0) {
  const documents = new Documents({ bucket: new MemoryBucket(), sleep: async () => {} });
  let registry = emptyRegistry(LAB);
  for (let n = 1; n <= models; n++) {
    const id = idOf(n);
    registry = addModel(
      registry,
      {
        id,
        model_type: "unet",
        tags: [],
        artifact: id.padEnd(64, "0"),
        storage: { s3_path: `rooms/lab/models/unet_${id}/`, size_bytes: n, files: [] },
        training: {
          trained_by: "ada",
          trained_at: WHEN,
          metrics: { val_loss: n },
          config: { text: "x".repeat(configBytes) },
        },
        availability: { in_s3: true, cached_on_workers: [] },
      } as never,
      { who: "ada", owner: true, when: WHEN },
    ).registry;
  }
  await documents.create(Registry, registryKey(LAB), registry);
  const writer = new RegistryWriter(documents);
  return namingHandlers({ documents, writer, clock: () => Date.parse(WHEN) });
}

describe("naming models", () => {
  it("moves, rolls back and removes an alias under the caller's name, and shows its history", async () => {
    const hub = await setUp(2);
    const params = { alias: prod };
    const set = (model: string, over = {}, caller = member) =>
      hub.setAlias(callOf(caller, { params, body: { model, ...over } }));
    expect(await set(idOf(2), { why: "first", by: "ada@desk" })).toEqual({
      alias: prod,
      model: idOf(2),
    });
    await expect(set(idOf(1), { expect: "none" })).rejects.toMatchObject({ code: "conflict" });
    const moved = await set("latest-unet", {});
    expect(moved).toEqual({ alias: prod, model: idOf(2), from: idOf(2) });
    expect(await set(idOf(1), { if: "val_loss < current" })).toMatchObject({
      gate: "val_loss < current: val_loss is 1, < 2",
    });
    const body = { expect: idOf(1), to: idOf(2) };
    await hub.rollbackAlias(callOf(owner, { params, body }));
    await hub.removeAlias(callOf(member, { params, query: { expect: idOf(2), why: "over" } }));
    const { moves } = await hub.aliasHistory(callOf(member, { params }));
    expect(moves.map(({ n, who, by, to, why }) => [n, who, by, to, why])).toEqual([
      [4, member.subject, undefined, undefined, "over"],
      [3, owner.subject, undefined, idOf(2), expect.stringMatching(/^rollback of the move of/)],
      [2, member.subject, undefined, idOf(1), "val_loss < current"],
      [1, member.subject, "ada@desk", idOf(2), "first"],
    ]);
  });

  it("leaves protected aliases to the owner", async () => {
    const hub = await setUp(1);
    const params = { alias: prod };
    await hub.protectAlias(callOf(owner, { params, body: { protected: true } }));
    const body = { model: idOf(1), why: "mine" };
    const refused = hub.setAlias(callOf(member, { params, body }));
    await expect(refused).rejects.toMatchObject({ code: "forbidden" });
    await hub.setAlias(callOf(owner, { params, body }));
    const { aliases } = await hub.listAliases(callOf(member, { query: { alias: "pr*" } }));
    expect(aliases).toMatchObject([{ alias: prod, model: idOf(1), protected: true }]);
  });

  it("edits tags of several models and notes", async () => {
    const hub = await setUp(3);
    const body = { models: [idOf(1), idOf(3)], add: ["good" as Tag], remove: [] };
    const { models } = await hub.tagModels(callOf(member, { body }));
    expect(models).toMatchObject([{ changed: true }, { changed: true }]);
    const params = { model: idOf(2) };
    await hub.setNote(callOf(member, { params, body: { text: "blurred", by: "ada" } }));
    const query = { tags: ["good" as Tag], sort: "id" };
    const listed = await hub.listModels(callOf(member, { query }));
    expect(listed.models.map(({ model }) => model.id)).toEqual([idOf(1), idOf(3)]);
    const noted = await hub.listModels(callOf(member, { query: { sort: "id" } }));
    expect(noted.models[1]?.model).toMatchObject({
      notes: "blurred",
      noted: { who: member.subject, by: "ada", when: WHEN },
    });
  });
});

describe("listing models", () => {
  it("sends the rows that are wanted and no more than a mebibyte at once", async () => {
    const hub = await setUp(300, 10_000);
    const query = { metrics: "val_loss <= 280", sort: "val_loss", limit: 1000 };
    const page = await hub.listModels(callOf(member, { query }));
    expect(page.total).toBe(280);
    expect(JSON.stringify(page).length).toBeLessThan(1024 * 1024 + 1000);
    const ids = page.models.map(({ model }) => model.id);
    let { next } = page;
    while (next !== undefined) {
      const more = await hub.listModels(callOf(member, { query: { ...query, cursor: next } }));
      ids.push(...more.models.map(({ model }) => model.id));
      next = more.next;
    }
    expect(ids).toEqual(Array.from({ length: 280 }, (_, i) => idOf(i + 1)));
    const few = await hub.listModels(callOf(member, { query: { limit: 20 } }));
    expect(few.models).toHaveLength(20);
  });
});
