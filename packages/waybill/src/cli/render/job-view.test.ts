import { ArtifactId, type JobEvent, type NewJobEvent } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { JobView, sparkline } from "./job-view.ts";

const event = (body: NewJobEvent): JobEvent => ({
  seq: 1,
  time: "2026-01-01T00:00:00.000Z",
  attempt: 1,
  ...body,
});

const isNumber = (value: unknown) => typeof value === "number";

describe("job view", () => {
  it("says who adjusted what, and when", () => {
    const view = new JobView("j_x", () => 0);
    const line = view.feed({
      ...event({
        type: "command",
        id: "c1",
        name: "adjust",
        stage: "applied",
        by: "ada (member 1bC4x9Zq)",
        values: { lr: 0.01, batch: 32 },
      }),
      time: "2026-01-02T03:04:05.678Z",
    });
    expect(line).toBe(
      "command  03:04:05 adjust lr=0.01000 batch=32 applied, by ada (member 1bC4x9Zq)",
    );
  });

  it("tells a transfer under way every ten seconds, and its end", () => {
    let nowMs = 0;
    const view = new JobView("j_x", () => nowMs);
    const moved = (bytes: number, done = false) =>
      event({
        type: "transfer",
        what: "dataset",
        direction: "down",
        bytes,
        total: 2048,
        seconds: 2,
        sources: done ? { s3: bytes } : {},
        done,
      });
    const told: (string | undefined)[] = [];
    for (nowMs = 0; nowMs <= 12_000; nowMs += 1000) told.push(view.feed(moved(nowMs / 10)));
    expect(told.map((line, s) => (line === undefined ? undefined : s)).filter(isNumber)).toEqual([
      0, 10,
    ]);
    expect(told[10]).toMatch(/^transfer dataset ↓ .* of 2\.00 KiB$/);
    expect(view.feed(moved(2048, true))).toMatch(
      /^transfer dataset ↓ 2.00 KiB of 2.00 KiB via s3, /,
    );
  });

  it("calls a sample what its trainer called it", () => {
    const view = new JobView("j_x", () => 0);
    const sample = { type: "sample", file: `${"a".repeat(64)}.png`, mime: "image/png" } as const;
    const line = view.feed(event({ ...sample, bytes: 5, data: { file: "epoch3.png" } }));
    expect(line).toBe("sample   epoch3.png (image/png, 5 B)");
  });

  it("tells a checkpoint that was written from one that is safe", () => {
    const view = new JobView("j_x", () => 0);
    const data = { type: "checkpoint", epoch: 54 };
    expect(view.feed(event({ type: "checkpoint", data }))).toBe("checkpoint epoch=54");
    const artifact = v.parse(ArtifactId, "a".repeat(64));
    expect(view.feed(event({ type: "checkpoint", data, artifact, bytes: 2 }))).toBe(
      "checkpoint epoch=54 is safe in the room (2 B)",
    );
  });

  it("shows counters with their totals, metrics, and a curve of the loss", () => {
    const view = new JobView("j_x", () => 0);
    view.feed(event({ type: "state", state: "running" }));
    for (const [batch, loss] of [
      [1, 2],
      [2, 1],
    ])
      view.feed(
        event({
          type: "metric",
          data: { epoch: 1, epochs: 4, batch, batches: 2, loss, accuracy: 0.5 },
        }),
      );
    const block = view.lines().join("\n");
    expect(block).toContain("running");
    expect(block).toContain("epoch 1/4");
    expect(block).toContain("batch 2/2");
    expect(block).toContain("accuracy 0.5000");
    expect(block).toContain("loss █▁");
  });

  it("says how long it will take, by the totals printed or configured", () => {
    let nowMs = Date.parse("2026-01-01T00:00:20.000Z");
    const view = new JobView(
      "j_x",
      () => 0,
      () => nowMs,
    );
    view.configured({ epochs: 10 });
    const epoch = (seconds: number, value: number) =>
      view.feed({
        ...event({ type: "metric", data: { epoch: value } }),
        time: `2026-01-01T00:00:${seconds}.000Z`,
      });
    epoch(10, 1);
    expect(view.lines().join("\n")).not.toContain("left");
    epoch(20, 2);
    expect(view.lines().join("\n")).toContain("about 1m left");
    nowMs += 5000;
    expect(view.lines().join("\n")).toContain("about 1m left");
  });

  it("shows what the machine reads, writes, receives and sends", () => {
    const view = new JobView("j_x");
    const rates = { diskReadBytesPerSecond: 1024, diskWriteBytesPerSecond: 2048 };
    const system = { cpu: 0.5, memoryBytes: 1, memoryTotalBytes: 2, gpus: [], ...rates };
    view.feed(event({ type: "system", system }));
    expect(view.lines().join("\n")).toContain("disk ↓ 2.00 KiB/s ↑ 1.00 KiB/s");
  });

  it("prints metrics now and then where there is no terminal, and states always", () => {
    let nowMs = 0;
    const view = new JobView("j_x", () => nowMs);
    const metric = (step: number) => view.feed(event({ type: "metric", data: { step } }));
    expect(metric(1)).toContain("step=1");
    nowMs = 500;
    expect(metric(2)).toBeUndefined();
    nowMs = 2500;
    expect(metric(3)).toContain("step=3");
    expect(view.feed(event({ type: "state", state: "failed", reason: "no GPU" }))).toContain(
      "failed: no GPU",
    );
  });

  it("draws a flat curve for a constant and survives values that are no numbers", () => {
    expect(sparkline([1, 1, 1])).toBe("▁▁▁");
    expect(sparkline([Number.NaN, 1, 2])).toBe("▁█");
  });
});
