import { describe, expect, it } from "vitest";
import type { Tag } from "../protocol/index.ts";
import { type Editor, emptyRegistry } from "./edits.ts";
import { LAB, entryOf } from "./entry.fixture.ts";
import { addModel } from "./publications.ts";
import { editTags, setNote, tagModels } from "./tags-and-notes.ts";

const by: Editor = { who: "ada", by: "ada@desk", owner: false, when: "2026-01-02T03:04:05.678Z" };
const tags = (...names: string[]) => names as Tag[];
const room = [
  entryOf("aaaaaaaa", { tags: tags("a", "b"), notes: "from the job" }),
  entryOf("bbbbbbbb", { tags: tags("c") }),
].reduce((registry, entry) => addModel(registry, entry, by).registry, emptyRegistry(LAB));

describe("tags", () => {
  it("are added once, then removed, in order", () => {
    const edited = editTags(room, "aaaaaaaa", { add: tags("c", "b"), remove: tags("a") });
    expect(edited.result.tags).toEqual(["b", "c"]);
    const same = editTags(edited.registry, "aaaaaaaa", { add: tags("b"), remove: [] });
    expect(same.registry).toBe(edited.registry);
  });

  it("are edited on several models at once, each model once", () => {
    const edit = { add: tags("c"), remove: tags("a") };
    const { registry, result } = tagModels(room, ["bbbbbbbb", "aaaaaaaa", "latest-unet"], edit);
    expect(result).toEqual([
      { id: "bbbbbbbb", tags: ["c"], changed: false },
      { id: "aaaaaaaa", tags: ["b", "c"], changed: true },
    ]);
    expect(registry.models["aaaaaaaa"]?.tags).toEqual(["b", "c"]);
    expect(tagModels(registry, ["aaaaaaaa"], edit).registry).toBe(registry);
  });

  it("are edited on none when one of the models is not there", () => {
    const edit = { add: tags("x"), remove: [] };
    expect(() => tagModels(room, ["aaaaaaaa", "nothing"], edit)).toThrow(/no model nothing/);
  });

  it("that Waybill gives by itself are not people's to add or to remove", () => {
    const edit = { add: [], remove: tags("best-of-sweep") };
    expect(() => editTags(room, "aaaaaaaa", edit)).toThrow(/given and taken by Waybill/);
    expect(() => tagModels(room, ["aaaaaaaa"], edit)).toThrow(/given and taken by Waybill/);
  });

  it("are 256 at most", () => {
    const add = tags(...Array.from({ length: 256 }, (_, i) => `t${i}`));
    expect(() => editTags(room, "aaaaaaaa", { add, remove: [] })).toThrow(/would have 258 tags/);
  });
});

describe("notes", () => {
  it("are replaced, saying by whom, when, and what they were", () => {
    const { registry, result } = setNote(room, "aaaaaaaa", "fine on night videos", by);
    expect(result).toMatchObject({
      before: "from the job",
      model: {
        notes: "fine on night videos",
        noted: { who: "ada", by: "ada@desk", when: by.when },
      },
    });
    expect(registry.models["aaaaaaaa"]).toEqual(result.model);
    expect(setNote(registry, "aaaaaaaa", "fine on night videos", by).registry).toBe(registry);
  });

  it("are cleared with an empty text", () => {
    const { result } = setNote(room, "aaaaaaaa", "", by);
    expect(result.model).not.toHaveProperty("notes");
    expect(result.model.noted?.who).toBe("ada");
    expect(setNote(room, "bbbbbbbb", "", by).registry).toBe(room);
  });
});
