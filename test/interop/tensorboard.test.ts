// What a job writes for TensorBoard, read by TensorBoard.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { openPython } from "./python.ts";

const python = await openPython(["tensorboard"]);

const READ = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
tags = events.Tags()["scalars"]
print(json.dumps({tag: [[one.step, one.value] for one in events.Scalars(tag)] for tag in tags}))
`;
const TRAINER = `
import { appendFileSync, writeFileSync } from "node:fs";
const log = "training_log.csv";
writeFileSync(log, "epoch,loss,val_loss\\n");
for (let epoch = 0; epoch < 4; epoch++) {
  console.log(JSON.stringify({ epoch, batch: 7, speed: 1.5 }));
  appendFileSync(log, \`\${epoch},\${1 / 2 ** epoch},\${epoch === 2 ? "" : 8 + epoch}\\n\`);
}
writeFileSync(process.env.WAYBILL_OUTPUT + "/model.bin", "weights");
`;

describe.skipIf(python === undefined)("TensorBoard", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    await python?.[Symbol.asyncDispose]();
  });

  it("reads the scalars of a job in its model's folder", async () => {
    const script = await lab.write("train.mjs", TRAINER);
    const words = ["--progress", "csv", "--tensorboard", "--alias", "curves"];
    await lab.ask(["train", ...words, "--", process.execPath, script]);
    await lab.ask(["model", "pull", "curves", lab.path("model")]);
    const scalars: unknown = JSON.parse(
      (await python?.run(READ, lab.path("model/tensorboard"))) ?? "",
    );
    expect(scalars).toMatchObject({
      loss: [
        [0, 1],
        [1, 0.5],
        [2, 0.25],
        [3, 0.125],
      ],
      val_loss: [
        [0, 8],
        [1, 9],
        [3, 11],
      ],
      "batch/speed": [expect.anything(), expect.anything(), expect.anything(), expect.anything()],
    });
  });
});
