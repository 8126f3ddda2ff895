import { describe, expect, it } from "vitest";
import type { ModelDetails } from "@waybill/sdk/protocol";
import { modelLines } from "./model-view.ts";

const DETAILS = {
  model: {
    id: "3fa94c01",
    model_type: "centroid",
    tags: ["baseline", "validated"],
    notes: "trained on the first half of the recordings only, so that the second half can be used",
    pinned: {
      who: "4f1c2a9b".padEnd(43, "x"),
      by: "ada@desk",
      when: "2026-01-03T00:00:00.000Z",
      why: "in the paper",
    },
    artifact: "ab".repeat(32),
    storage: {
      s3_path: "rooms/lab/models/centroid_3fa94c01/",
      size_bytes: 2048,
      files: ["a", "b"],
    },
    training: {
      job: "j_01h2xcejqtf2nbrx",
      worker: "p_AAAAAAAAAAAAAAAA_w1",
      dataset: "cd".repeat(32),
      dataset_name: "digits",
      parent_model: "99e1d0aa",
      code: "ef".repeat(32),
      run_name: "run-1",
      seed: 0,
      trained_by: "ada@desk",
      trained_at: "2026-01-02T03:04:05.678Z",
      stopped_early: true,
      metrics: { val_loss: 0.021, confusion: [[1, 2]] },
      config: { lr: 0.1, model: { backbone: "unet" } },
      config_digest: "12".repeat(32),
    },
    availability: { in_s3: true, cached_on_workers: [] },
  },
  aliases: ["latest-centroid", "prod"],
  protected_aliases: ["prod"],
  alias_history: [
    {
      alias: "prod",
      from: "99e1d0aa",
      to: "3fa94c01",
      who: "4f1c2a9b".padEnd(43, "x"),
      by: "ada@desk",
      when: "2026-01-02T03:04:06.000Z",
      why: "better",
      gate: { condition: "val_loss < current", candidate: 0.1, current: 0.2 },
    },
  ],
  children: ["55555555"],
  part_of: ["77777777"],
} as unknown as ModelDetails;

describe("a model on the screen", () => {
  const options = { width: 80, cachedOn: ["desk", "pod"], worker: "desk" };

  it("has everything the registry says, on lines that fit", () => {
    const lines = modelLines(DETAILS, options);
    expect(lines).toEqual([
      "model      3fa94c01",
      "type       centroid",
      "aliases    latest-centroid, prod (protected)",
      "tags       baseline, validated",
      "notes      trained on the first half of the recordings only, so that the second",
      "           half can be used",
      "pinned     by ada@desk (4f1c2a9b), 2026-01-03 00:00:00 UTC: in the paper",
      "part of    77777777",
      `artifact   ${"ab".repeat(32)}`,
      "stored     2 files, 2.00 KiB, in rooms/lab/models/centroid_3fa94c01/",
      "cached on  desk, pod",
      "trained    2026-01-02 03:04:05 UTC by ada@desk, stopped early",
      "run        run-1",
      "seed       0",
      "job        j_01h2xcejqtf2nbrx",
      "worker     desk  p_AAAAAAAAAAAAAAAA_w1",
      "dataset    digits",
      `           ${"cd".repeat(32)}`,
      `code       ${"ef".repeat(32)}`,
      "parent     99e1d0aa",
      "children   55555555",
      `config id  ${"12".repeat(32)}`,
      "",
      "metrics",
      "  val_loss   0.02100",
      "  confusion  [[1,2]]",
      "",
      "config",
      "  lr              0.1",
      "  model.backbone  unet",
      "",
      "history",
      "  2026-01-02 03:04:06  prod 99e1d0aa → 3fa94c01 by ada@desk (4f1c2a9b): better",
      "                       [val_loss < current: 0.1000 against 0.2000]",
    ]);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it("begins with how it went when it was removed", () => {
    const tombstone = {
      who: "owner",
      by: "ada@desk",
      when: "2026-02-01T00:00:00.000Z",
      why: "3 newer of its type",
      bytes_until: "2026-02-08T00:00:00.000Z",
      state: "held" as const,
    };
    const lines = modelLines({ ...DETAILS, tombstone }, options);
    expect(lines.slice(0, 2)).toEqual([
      "removed    2026-02-01 00:00:00 UTC by ada@desk (owner): 3 newer of its type; its",
      "           files are kept until 2026-02-08 00:00:00 UTC",
    ]);
  });

  it("tells protection as what it is, and a reason of several lines in one", () => {
    const [move] = DETAILS.alias_history;
    if (move === undefined) throw new Error("no move");
    const { gate: _, ...plain } = {
      ...move,
      from: move.to,
      why: "release\nof May",
      protection: true,
    };
    const lines = modelLines({ ...DETAILS, alias_history: [plain] }, options);
    expect(lines.at(-1)).toBe(
      "  2026-01-02 03:04:06  prod protected by ada@desk (4f1c2a9b): release of May",
    );
  });

  it("shows the latest moves of a long history, and how many there were before", () => {
    const [move] = DETAILS.alias_history;
    if (move === undefined) throw new Error("no move");
    const alias_history = Array.from({ length: 15 }, () => move);
    const lines = modelLines({ ...DETAILS, alias_history }, options);
    expect(lines.filter((line) => line.includes("→"))).toHaveLength(12);
    expect(lines.join("\n")).toContain("3 earlier");
  });
});
