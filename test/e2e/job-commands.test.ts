import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { type WaybillProcess, runWaybill } from "../support/waybill-process.ts";

/** Reads what it is told, sets what it knows, and writes a checkpoint when asked. */
const ATTENTIVE_TRAINER = `
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
const out = process.env.WAYBILL_OUTPUT;
let step = 0;
setInterval(() => console.log(JSON.stringify({ step: (step += 1) })), 50);
createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.type === "adjust") {
    const { lr } = message.values;
    console.log(JSON.stringify({ adjusted: { lr }, id: message.id }));
  } else if (message.type === "checkpoint") {
    mkdirSync(path.join(out, "ckpt"), { recursive: true });
    writeFileSync(path.join(out, "ckpt", step + ".bin"), String(step));
    console.log(JSON.stringify({ type: "checkpoint", path: "ckpt/" + step + ".bin", step, id: message.id }));
  }
});
process.on("SIGTERM", () => process.exit(0));
`;

describe("commands to a job", () => {
  let lab: Lab;
  let job: string;
  let worker: WaybillProcess;
  beforeAll(async () => {
    lab = await Lab.open();
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", ATTENTIVE_TRAINER);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("are acknowledged twice; everybody sees who adjusted what", async () => {
    const started = await lab.startWorker("desk");
    ({ worker } = started);
    const words = ["train", "--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    job = String((await lab.ask(words))["job"]);
    const viewer = lab.start(["job", "watch", job], "owner");
    await viewer.until((line) => line["type"] === "metric");
    const { lines, code } = await runWaybill(
      ["job", "adjust", job, "lr=0.01", "batch=32"],
      lab.machine("owner"),
    );
    expect(code).toBe(0);
    expect(lines).toMatchObject([
      { type: "command", name: "adjust", stage: "received", worker: started.workerId },
      { type: "command", name: "adjust", stage: "applied", values: { lr: 0.01 } },
    ]);
    const seen = await viewer.until((line) => line["stage"] === "applied");
    const told = seen.filter((line) => line["name"] === "adjust");
    expect(told).toMatchObject([
      { stage: "received", values: { lr: 0.01, batch: 32 } },
      { stage: "applied", values: { lr: 0.01 } },
    ]);
    expect(told[0]?.["by"]).toMatch(/@.* \(owner/);
    viewer.drain();
    await lab.ask(["job", "checkpoint", job]);
  });

  it("find their job by the end of its id, and end it", async () => {
    const tail = job.slice(-7);
    expect(await lab.ask(["job", "show", tail])).toMatchObject({ job, state: "running" });
    expect(await lab.ask(["job", "cancel", tail])).toMatchObject({ stage: "applied" });
    const missing = await runWaybill(["job", "show", "zzzzzzz"], lab.machine("owner"));
    expect(missing.code).toBe(4);
  });

  it("that cancel a job whose worker is gone are noted, and done when it is back", async () => {
    const words = ["train", "--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    const other = String((await lab.ask(words))["job"]);
    const viewer = lab.start(["job", "watch", other], "owner");
    await viewer.until((line) => line["type"] === "metric");
    viewer.drain();
    await worker.kill();
    const noted = await lab.ask(["job", "cancel", other]);
    expect(noted).toMatchObject({ stage: "noted", until: expect.stringMatching(/^20/) });
    lab.start(["worker", "--name", "desk"], "desk").drain();
    expect(await viewer.exit()).toBe(7);
  });
});
