import type { Alias, JobEventOf, ModelId, ModelType } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { predictionLines, resultLines } from "./result-lines.ts";

const result = (over: Partial<JobEventOf<"result">> = {}): JobEventOf<"result"> => ({
  seq: 9,
  time: "2026-01-01T00:00:00.000Z",
  attempt: 1,
  type: "result",
  data: { val_loss: 0.25 },
  files: 3,
  bytes: 2048,
  stoppedEarly: false,
  ...over,
});

describe("a result", () => {
  it("names the model that is on its way, its alias, metrics, and what is shown of it", () => {
    const event = result({
      model: "3f9a12cc" as ModelId,
      modelType: "unet" as ModelType,
      alias: "prod-v1" as Alias,
      predictions: { rows: 7, leftOut: 1, more: true },
      thumbnails: 4,
    });
    const rows = Array.from({ length: 7 }, (_, frame) => ({ frame }));
    expect(resultLines(event)).toEqual([
      "result   model 3f9a12cc (unet), to be prod-v1: 3 files, 2.00 KiB",
      "         val_loss=0.2500",
      "         4 thumbnails follow",
    ]);
    const counts = { rows: 7, leftOut: 1, more: true };
    expect(predictionLines(counts, rows)).toEqual([
      "predictions 7 of more, 1 too large to show",
      '           {"frame":0}',
      '           {"frame":1}',
      '           {"frame":2}',
      '           {"frame":3}',
      '           {"frame":4}',
      "           … 2 others (--json has them)",
    ]);
  });

  it("fits 80 columns whatever the trainer printed", () => {
    const data = Object.fromEntries(
      Array.from({ length: 30 }, (_, i) => [`a_rather_long_metric_name_${i}`, i / 7]),
    );
    const long = { ...data, note: "x".repeat(300), nested: { a: 1 } };
    const rows = [{ points: Array.from({ length: 99 }, () => 1.5) }];
    const shown = predictionLines({ rows: 1, leftOut: 0, more: false }, rows);
    for (const line of [...resultLines(result({ data: long })), ...shown]) {
      expect(line.length).toBeLessThanOrEqual(80);
    }
  });

  it("of a hub that does not know the model yet says what was written", () => {
    const [line] = resultLines(result({ files: 1, stoppedEarly: true }));
    expect(line).toBe("result   1 file, 2.00 KiB, stopped early");
  });
});
