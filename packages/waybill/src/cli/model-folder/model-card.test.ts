import type { Lineage, ModelDetails, RoomId } from "@waybill/sdk/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cardFacts, cardsIn, modelCard } from "./model-card.ts";
import { folderOf } from "./sample-folder.fixture.ts";

const ROOM = "lab" as RoomId;
const LINEAGE: Lineage = {
  root: "model:3fa94c01",
  nodes: [{ key: "model:3fa94c01", kind: "model", id: "3fa94c01" as never, aliases: [] }],
  edges: [],
};

function detailsOf(over: object = {}, training: object = {}): ModelDetails {
  return {
    model: {
      id: "3fa94c01",
      model_type: "centroid",
      tags: ["license:mit", "baseline"],
      artifact: "ab".repeat(32),
      storage: { s3_path: "rooms/lab/x/", size_bytes: 2048, files: ["a", "b"] },
      training: {
        trained_by: "ada",
        trained_at: "2026-01-02T03:04:05.678Z",
        dataset_name: "flies | wasps",
        metrics: { val_loss: 0.02 },
        config: { lr: 0.1 },
        seed: 7,
        ...training,
      },
      availability: { in_s3: true, cached_on_workers: [] },
      ...over,
    },
    aliases: ["prod"],
    protected_aliases: [],
    alias_history: [],
    children: [],
    part_of: [],
  } as unknown as ModelDetails;
}

const cardOf = (details: ModelDetails) => modelCard({ room: ROOM, details, lineage: LINEAGE });

describe("a model's card", () => {
  it("says for people what the model is, where it comes from, and how to get and verify it", () => {
    const card = cardOf(detailsOf());
    expect(card).toMatch(/^---\nlicense: mit\n/);
    expect(card).toContain("# centroid 3fa94c01");
    expect(card).toContain("| Aliases | `prod` |");
    expect(card).toContain("| Licence | mit |");
    expect(card).toContain(String.raw`| Data set | flies \| wasps |`);
    expect(card).toContain("| val_loss | 0.02000 |");
    expect(card).toContain("waybill model pull 3fa94c01 ./centroid_3fa94c01 --room lab");
    expect(card).toContain(`--artifact ${"ab".repeat(32)}`);
  });

  it("says the same to programs, whatever texts there are", () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.constant("---\n# x: |\n"));
    fc.assert(
      fc.property(fc.dictionary(text, fc.jsonValue()), text, (config, notes) => {
        const kept = JSON.parse(JSON.stringify(config)) as Record<string, unknown>;
        delete kept["__proto__"];
        const facts = cardFacts(cardOf(detailsOf({ notes }, { config: kept, metrics: kept })));
        expect(facts).toMatchObject({ model: "3fa94c01", room: "lab", notes, seed: 7 });
        expect(JSON.parse(JSON.stringify(facts?.config))).toEqual(kept);
        expect(facts?.metrics).toEqual(facts?.config);
      }),
    );
  });

  it("is told from pages that are none", async () => {
    await using made = await folderOf({
      "README.md": "---\nlicense: mit\n---\n# theirs\n",
      "MODEL_CARD.md": cardOf(detailsOf()),
      "deep/README.md": cardOf(detailsOf()),
      "NOTES.md": cardOf(detailsOf()),
    });
    expect([...(await cardsIn(made.folder)).keys()]).toEqual(["MODEL_CARD.md"]);
    for (const page of ["", "---\nwaybill: 1\n---\n", "---\n: {\n---\n"])
      expect(cardFacts(page)).toBeUndefined();
  });
});
