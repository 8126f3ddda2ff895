import { writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { JobEvent } from "@waybill/sdk/protocol";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

const WAIT = { timeout: 15_000, interval: 5 };
const PNG = `Buffer.from("89504e470d0a1a0a0000", "hex")`;
let lab: WorkerLab;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(() => lab[Symbol.asyncDispose]());

const types = (events: readonly JobEvent[]) => events.map(({ type }) => type);

describe("what a training came to", () => {
  it("is told before a byte of the model is on its way: id, alias, metrics, predictions", async () => {
    await lab.start();
    const gate = Promise.withResolvers<void>();
    lab.transfer.gate = gate.promise;
    const job = lab.offer(
      trainer(
        `say({loss: 0.5}); say({predictions: [{x: 1}, {x: 2}]}); save();
         say({type: "predictions", predictions: [{x: 3}]})`,
        { alias: "prod" },
      ),
    );
    const shown = async () => (await lab.feed.readers.get(job)?.read(0, 1000)) ?? [];
    await vi.waitFor(async () => expect(types(await shown())).toContain("result"), WAIT);
    const result = (await shown()).find(({ type }) => type === "result");
    expect(result).toMatchObject({
      data: { loss: 0.5 },
      files: 1,
      bytes: 7,
      modelType: "model",
      alias: "prod",
      predictions: { rows: 3, leftOut: 0, more: false },
    });
    expect(result).toHaveProperty("model", expect.stringMatching(/^[0-9a-f]{8}$/));
    gate.resolve();
    expect((await lab.outcome(job))?.state).toBe("completed");
    const order = types(lab.hub.events(job)).filter((type) => type !== "system" && type !== "log");
    expect(order.slice(-5)).toEqual(["result", "predictions", "transfer", "published", "state"]);
    expect(lab.ofType(job, "predictions")).toMatchObject([
      { first: 0, rows: [{ x: 1 }, { x: 2 }, { x: 3 }] },
    ]);
  });

  it("shows thumbnails and predictions that were left in the output, once each", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(
        `const out = env.WAYBILL_OUTPUT; save(); fs.mkdirSync(out + "/thumbnails");
         for (const i of [2, 10]) fs.writeFileSync(out + "/thumbnails/" + i + ".png",
           Buffer.concat([${PNG}, Buffer.from([i])]));
         fs.writeFileSync(out + "/predictions.jsonl", '{"x": 1}\\n{"x": 2}\\n');`,
      ),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "predictions")).toMatchObject([{ rows: [{ x: 1 }, { x: 2 }] }]);
    expect(lab.ofType(job, "result")).toMatchObject([{ files: 4, thumbnails: 2 }]);
    expect(lab.ofType(job, "sample").map(({ data }) => data)).toEqual([
      { type: "thumbnail", file: "thumbnails/2.png" },
      { type: "thumbnail", file: "thumbnails/10.png" },
    ]);
    expect(lab.feed.images.map(({ series }) => series).toSorted()).toEqual([
      "thumbnails/10.png",
      "thumbnails/2.png",
    ]);
  });

  it("comes after the samples that the trainer printed before it", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(
        `save(); for (let i = 0; i < 8; i++) {
           fs.writeFileSync(env.WAYBILL_OUTPUT + "/" + i + ".png", Buffer.concat([${PNG}, Buffer.from([i])]));
           say({type: "sample", file: i + ".png"}); }`,
      ),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    const order = types(lab.hub.events(job));
    expect(order.lastIndexOf("sample")).toBeLessThan(order.indexOf("result"));
  });

  it("waits for no sample that cannot be stored: the hub may be away", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(
        `save(); fs.writeFileSync(env.WAYBILL_OUTPUT + "/a.png", ${PNG}); say({ready: 1});
         setInterval(() => { if (!fs.existsSync(${JSON.stringify(lab.path("go"))})) return;
           say({type: "sample", file: "a.png"}); process.exit(0); }, 5);`,
      ),
    );
    await vi.waitFor(() => expect(lab.ofType(job, "metric")).toHaveLength(1), WAIT);
    lab.hub.down = true;
    await writeFile(lab.path("go"), "");
    const shown = async () => (await lab.feed.readers.get(job)?.read(0, 1000)) ?? [];
    await vi.waitFor(async () => expect(types(await shown())).toContain("result"), WAIT);
    expect(types(await shown())).not.toContain("sample");
    lab.hub.down = false;
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "sample")).toHaveLength(1);
  });

  it("is not undone by a long log: a job whose model is published runs until its end is stored", async () => {
    await lab.start();
    const states: string[] = [];
    const gate = Promise.withResolvers<void>();
    const call = lab.hub.call.bind(lab.hub);
    vi.spyOn(lab.hub, "call").mockImplementation(async (name, input, options) => {
      if (name === "endJob") await gate.promise;
      if (name === "renewLease") states.push(String(Object(input.body)["state"]));
      return call(name, input, options);
    });
    const job = lab.offer(trainer(`save()`));
    await vi.waitFor(() => expect(lab.hub.publications).toHaveLength(1), WAIT);
    const before = states.length;
    await vi.waitFor(() => expect(states.length).toBeGreaterThan(before + 1), WAIT);
    gate.resolve();
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(new Set(states)).toEqual(new Set(["running"]));
  });

  it("says what cannot be shown and publishes the model all the same", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(`save(); fs.writeFileSync(env.WAYBILL_OUTPUT + "/predictions.json", "{}")`),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    await lab.logged(
      job,
      "predictions are not shown: predictions.json is no array of rows, nor an object with one under `predictions`",
    );
  });
});
