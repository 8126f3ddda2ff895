import { describe, expect, it } from "vitest";
import type { Alias, Registry } from "../protocol/index.ts";
import { moveAlias } from "./alias-moves.ts";
import { emptyRegistry } from "./edits.ts";
import { encodeRegistry } from "./encode.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";
import { editTags } from "./tags-and-notes.ts";
import { decodeRegistry } from "./migrate.ts";

const by = { who: "ada", owner: false, when: "2026-01-02T03:04:05.678Z" };
const encoded = (registry: Registry) => new TextDecoder().decode(encodeRegistry(registry));
const registry = () =>
  addModel(emptyRegistry(LAB), entryOf("aaaaaaaa", { alias: "prod" as Alias }), by).registry;

const text = (change: (doc: Record<string, unknown>) => unknown) =>
  JSON.stringify(change(JSON.parse(encoded(registry())) as Record<string, unknown>));

describe("reading a registry", () => {
  it("gives back what was written", async () => {
    expect(await decodeRegistry(encoded(registry()), LAB)).toEqual(registry());
  });

  it("brings a document of format 1 to the newest one", async () => {
    const old = text(({ room, models, aliases, protected_aliases, alias_history }) => {
      return { format: 1, room, models, aliases, protected_aliases, alias_history };
    });
    expect(await decodeRegistry(old, LAB)).toEqual(registry());
  });

  it("refuses a newer format, and says what to do", async () => {
    const newer = text((doc) => ({ ...doc, format: 3, models: "elsewhere" }));
    await expect(decodeRegistry(newer, LAB)).rejects.toMatchObject({
      code: "unsupported_version",
      hint: expect.stringContaining("upgrade this hub"),
    });
  });

  it("keeps members of its own format that it does not know, through edits", async () => {
    const later = text((doc) => ({
      ...doc,
      sponsors: ["eve"],
      retention: { grace_hours: 1, exceptions: { unet: 3 } },
      models: { aaaaaaaa: { ...entryOf("aaaaaaaa"), licence: { name: "MIT" } } },
      alias_history: [{ alias: "prod", to: "aaaaaaaa", who: "a", when: by.when, ticket: 7 }],
    }));
    const read = await decodeRegistry(later, LAB);
    const edited = moveAlias(read, { alias: "best" as Alias, model: "prod" }, by).registry;
    const written = JSON.parse(encoded(edited)) as Record<string, unknown>;
    expect(written).toMatchObject({
      sponsors: ["eve"],
      retention: { grace_hours: 1, exceptions: { unet: 3 }, per_type: {} },
      models: { aaaaaaaa: { licence: { name: "MIT" }, alias: "best" } },
      alias_history: [{ ticket: 7 }, { alias: "best" }],
    });
  });

  const damaged: Record<string, string> = {
    "half a document": encoded(registry()).slice(0, 200),
    "another document": '{"format":2}',
    "a wrong entry": text((doc) => ({ ...doc, models: { aaaaaaaa: { id: "aaaaaaaa" } } })),
    "an entry under another id": text((doc) => ({
      ...doc,
      models: { bbbbbbbb: entryOf("aaaaaaaa"), aaaaaaaa: entryOf("aaaaaaaa") },
    })),
    "an alias of no model": text((doc) => ({ ...doc, aliases: { prod: "cccccccc" } })),
    "another room's registry": text((doc) => ({ ...doc, room: "attic" })),
  };
  it.each(Object.entries(damaged))("finds %s damaged, and names the remedy", async (_, stored) => {
    await expect(decodeRegistry(stored, LAB)).rejects.toMatchObject({
      code: "registry_damaged",
      message: expect.stringContaining("the registry of room lab is damaged: "),
      hint: expect.stringContaining("waybill registry rebuild"),
    });
  });

  it("writes the text that JSON.stringify writes, changed or not", () => {
    let now: Registry = registry();
    const revisions: [string, string][] = [];
    for (let i = 0; i < 700; i++) {
      const id = (i % 3 === 0 ? 20_000_000 + i : 0xa0000000 + i).toString(i % 3 === 0 ? 10 : 16);
      now = addModel(now, entryOf(id, { alias: `of-${id}` as Alias }), by).registry;
      if (i % 7 === 0) now = editTags(now, id, { add: ["ü" as never], remove: [] }).registry;
      if (i % 20 === 0) revisions.push([encoded(now), JSON.stringify(now)]);
    }
    for (const [ours, plain] of revisions) expect(ours).toBe(plain);
    const { [Object.keys(now.models)[9] ?? ""]: _, ...models } = now.models;
    now = { ...now, models };
    expect(encoded(now)).toBe(JSON.stringify(now));
  });
});
