import { describe, expect, it } from "vitest";
import type { HubClient } from "../hub-client/http.ts";
import type { Alias, ModelId, Registry } from "../protocol/index.ts";
import { aliasHistory, emptyRegistry, moveAlias, queryModels } from "../registry/index.ts";
import { LAB, entryOf } from "../registry/entry.fixture.ts";
import { addModel } from "../registry/publications.ts";
import { rollbackAlias } from "./alias-rollback.ts";
import { listModels, modelPages } from "./model-list.ts";

const by = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const idOf = (n: number) => n.toString(16).padStart(8, "0") as ModelId;
const roomOf = (models: number) =>
  Array.from({ length: models }, (_, n) => entryOf(idOf(n))).reduce(
    (registry, entry) => addModel(registry, entry, by).registry,
    emptyRegistry(LAB),
  );

type Asked = { readonly query?: Record<string, string>; readonly body?: unknown };

/** A hub that answers from a registry; `asked` is every request. */
function hubOf(registry: Registry) {
  const asked: { name: string; query: Record<string, string>; body?: unknown }[] = [];
  const call = async (name: string, { query = {}, body }: Asked) => {
    asked.push({ name, query, ...(body === undefined ? {} : { body }) });
    const limit = Number(query["limit"]);
    if (name === "aliasHistory") return aliasHistory(registry, "prod" as Alias, { limit });
    return name === "listModels" ? queryModels(registry, query, { ...query, limit }) : body;
  };
  return { asked, call: call as unknown as HubClient["call"] };
}

describe("listing models", () => {
  it("asks for one page after another until there are no more", async () => {
    const hub = hubOf(roomOf(600));
    const rows = await Array.fromAsync(listModels(hub, LAB, { sort: "id" }));
    expect(rows.map(({ model }) => model.id)).toEqual(
      Array.from({ length: 600 }, (_, n) => idOf(n)),
    );
    expect(hub.asked).toHaveLength(3);
  });

  it("asks for no more rows than are wanted", async () => {
    const hub = hubOf(roomOf(600));
    expect(await Array.fromAsync(listModels(hub, LAB, { limit: 251 }))).toHaveLength(251);
    expect(hub.asked.map(({ query }) => query["limit"])).toEqual(["250", "1"]);
    const [page] = await Array.fromAsync(modelPages(hub, LAB, { limit: 20 }));
    expect(page).toMatchObject({ total: 600 });
  });

  it("says what cannot be asked before it asks", async () => {
    const hub = hubOf(roomOf(1));
    for (const query of [{ limit: 0 }, { metrics: "loss" }, { tags: ["a,b"] }, { type: "A" }]) {
      const refused = Array.fromAsync(listModels(hub, LAB, query));
      await expect(refused).rejects.toMatchObject({ code: "invalid_request" });
    }
    expect(hub.asked).toEqual([]);
  });
});

describe("rolling an alias back", () => {
  const alias = "prod" as Alias;
  const room = LAB;
  const moved = [idOf(0), idOf(1)].reduce(
    (registry, model) => moveAlias(registry, { alias, model }, by).registry,
    roomOf(2),
  );

  it("asks for exactly the move that the history shows", async () => {
    const hub = hubOf(moved);
    await rollbackAlias(hub, { room, alias, why: "worse" });
    expect(hub.asked.at(-1)).toMatchObject({
      name: "rollbackAlias",
      body: { expect: idOf(1), to: idOf(0), why: "worse" },
    });
  });

  it("is refused when there is nothing to go back to", async () => {
    const once = moveAlias(roomOf(1), { alias, model: idOf(0) }, by).registry;
    const refused = rollbackAlias(hubOf(once), { room, alias });
    await expect(refused).rejects.toMatchObject({ code: "conflict" });
    await expect(refused).rejects.toThrow(/pointed at nothing before its last move/);
  });
});
