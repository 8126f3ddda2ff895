import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Alias, JournalRecord, type Registry, decodeValue } from "../protocol/index.ts";
import { moveAlias, removeAlias } from "./alias-moves.ts";
import { emptyRegistry } from "./edits.ts";
import { addModel } from "./publications.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { UNRECORDED, recordOf, revised } from "./journal.ts";
import { applyRecords } from "./migrate.ts";
import { editTags } from "./tags-and-notes.ts";

const when = "2026-01-02T03:04:05.678Z";
const by = { who: "ada", owner: true, when };
const IDS = ["aaaaaaaa", "bbbbbbbb", "cccccccc"] as const;

/** One random change; what cannot be done changes nothing. */
function change(registry: Registry, kind: number, id: string): Registry {
  const alias = `alias-${kind % 2}` as Alias;
  const ref = id as Alias;
  try {
    switch (kind) {
      case 0:
      case 1:
        return addModel(registry, entryOf(id, { alias }), by).registry;
      case 2:
        return moveAlias(registry, { alias, model: ref }, by).registry;
      case 3:
        return removeAlias(registry, { alias }, by).registry;
      case 4:
        return editTags(registry, ref, { add: [`t${id}` as never], remove: [] }).registry;
      case 5: {
        const { [id]: gone, ...models } = registry.models;
        if (gone === undefined || Object.values(registry.aliases).includes(gone.id))
          return registry;
        const tombstone = { who: "a", when, why: "", bytes_until: when, state: "held" } as const;
        const tombstones = { ...registry.tombstones, [id]: { ...tombstone, entry: gone } };
        return { ...registry, models, tombstones };
      }
      case 6:
        return {
          ...registry,
          protected_aliases: [alias],
          retention: { per_type: { unet: 3 }, grace_hours: 1 },
        };
      default:
        return Object.assign({}, registry, { [`later-${kind}`]: { kind } });
    }
  } catch {
    return registry;
  }
}

describe("the journal", () => {
  it("leads from any revision to the newest, through its text", () => {
    const step = fc.tuple(fc.nat({ max: 8 }), fc.constantFrom(...IDS));
    fc.assert(
      fc.property(fc.array(step, { minLength: 1 }), fc.nat(), (steps, from) => {
        const revisions = [emptyRegistry(LAB)];
        const records: JournalRecord[] = [];
        for (const [kind, id] of steps) {
          const before = revisions.at(-1) ?? emptyRegistry(LAB);
          const after = revised(change(before, kind, id), `w${revisions.length}`);
          const text = JSON.stringify(recordOf(before, after, when));
          records.push(decodeValue(JournalRecord, JSON.parse(text), "record"));
          revisions.push(after);
        }
        const start = from % revisions.length;
        const known = revisions[start] ?? emptyRegistry(LAB);
        expect(applyRecords(known, records.slice(start))).toEqual(revisions.at(-1));
        expect(records.map(({ parent }) => parent)).toEqual(
          revisions.slice(0, -1).map((r) => r.write),
        );
      }),
    );
  });

  it("says of the first record on a document without a journal that something came before", () => {
    const old = addModel(emptyRegistry(LAB), entryOf("aaaaaaaa"), by).registry;
    expect(recordOf(old, revised(old, "w"), when).parent).toBe(UNRECORDED);
    const none = emptyRegistry(LAB);
    expect(recordOf(none, revised(none, "w"), when).parent).toBe("");
  });

  it("tells only of what changed", () => {
    let registry = emptyRegistry(LAB);
    for (const id of IDS) registry = addModel(registry, entryOf(id), by).registry;
    const after = revised(
      editTags(registry, IDS[0], { add: ["x" as never], remove: [] }).registry,
      "w",
    );
    const { changes } = recordOf(registry, after, when);
    expect(Object.keys(changes.models)).toEqual([IDS[0]]);
    expect([changes.aliases, changes.tombstones, changes.history, changes.fields]).toEqual([
      {},
      {},
      [],
      {},
    ]);
  });
});
