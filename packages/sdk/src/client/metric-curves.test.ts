import { describe, expect, it } from "vitest";
import type { JobEvent, JobId, RoomId } from "../protocol/index.ts";
import type { HubCalls } from "./push.ts";
import { MetricCurves, readCurves } from "./metric-curves.ts";

const metric = (seq: number, data: Record<string, unknown>, attempt = 1): JobEvent => ({
  type: "metric",
  seq,
  time: "2026-01-02T03:04:05.678Z",
  attempt,
  data,
});

function curvesOf(events: readonly JobEvent[]) {
  const curves = new MetricCurves();
  for (const event of events) curves.add(event);
  return Object.fromEntries(curves.result());
}

describe("a job's curves", () => {
  it("count by the trainer's own counter, and leave out what is no number", () => {
    const lines = [
      { epoch: 1, epochs: 9, loss: 3, note: "x" },
      { step: 5, lr: 0.1 },
      { epoch: 2, loss: "NaN" },
      { epoch: 3, loss: 1 },
      { acc: 0.5 },
    ];
    expect(curvesOf(lines.map((data, i) => metric(i + 1, data)))).toEqual({
      loss: {
        axis: "epoch",
        points: [
          [1, 3],
          [3, 1],
        ],
      },
      lr: { axis: "step", points: [[5, 0.1]] },
      acc: { axis: "line", points: [[5, 0.5]] },
    });
  });

  it("follow a later attempt where it goes over something again", () => {
    const events = [
      metric(1, { epoch: 1, loss: 3 }),
      metric(2, { epoch: 2, loss: 2 }),
      metric(3, { epoch: 3, loss: 1.5 }),
      metric(9, { epoch: 2, loss: 1.9 }, 2),
      metric(10, { epoch: 3, loss: 1 }, 2),
    ];
    expect(curvesOf(events)["loss"]?.points).toEqual([
      [1, 3],
      [2, 1.9],
      [3, 1],
    ]);
  });

  it("stay small however long the training was", () => {
    const events = Array.from({ length: 20_000 }, (_, i) => metric(i + 1, { step: i, loss: i }));
    const points = curvesOf(events)["loss"]?.points ?? [];
    expect(points.length).toBeLessThanOrEqual(4098);
    for (const [x, y] of points) expect(y).toBeCloseTo(x);
    expect([points[0], points.at(-1)]).toEqual([
      [0, 0],
      [19_999, 19_999],
    ]);
    const steps = points.slice(2).map(([x], i) => x - (points[i + 1]?.[0] ?? 0));
    expect(Math.max(...steps)).toBeLessThanOrEqual(8);
  });

  it("are read from the stored events, a page at a time", async () => {
    const asked: unknown[] = [];
    const call = async (_name: string, input: { query: { since: string } }) => {
      asked.push(input.query.since);
      const since = Number(input.query.since);
      const events = [metric(since + 1, { epoch: since + 1, loss: 1 / (since + 1) })];
      return { events, more: since < 2, lastSeq: 3, state: "completed" };
    };
    const hub = { call } as unknown as HubCalls;
    const where = { room: "lab" as RoomId, job: "j_01h2xcejqtf2nbrx" as JobId };
    expect((await readCurves(hub, where)).get("loss")?.points).toHaveLength(3);
    expect(asked).toEqual(["0", "1", "2"]);
  });
});
