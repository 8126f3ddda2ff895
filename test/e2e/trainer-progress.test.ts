// A CSV log and TensorBoard's files across a worker that is killed while its trainer writes on.
import { readFile, readdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { countRecords } from "../../packages/waybill/src/worker/tensorboard/records.ts";
import { Lab } from "../support/lab.ts";
import type { Line } from "../support/waybill-process.ts";

/** A row every 10 ms; every 40th time the whole log is written anew with another column, as Lightning does. */
const TRAINER = `
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
const log = "metrics.csv";
let columns = ["step"];
const rows = [];
const line = (row) => columns.map((name) => row[name] ?? "").join(",") + "\\n";
writeFileSync(log, "step\\n");
setInterval(() => {
  const row = { step: rows.length, ["loss" + Math.floor(rows.length / 40)]: 1 / (rows.length + 1) };
  rows.push(row);
  const added = Object.keys(row).filter((name) => !columns.includes(name));
  columns = [...columns, ...added];
  if (added.length > 0) writeFileSync(log, columns.join(",") + "\\n" + rows.map(line).join(""));
  else appendFileSync(log, line(row));
  if (!existsSync(process.argv[2])) return;
  writeFileSync(process.env.WAYBILL_OUTPUT + "/model.bin", "weights");
  process.exit(0);
}, 10);
`;

describe("the rows of a trainer's CSV log", () => {
  let lab: Lab;
  beforeEach(async () => {
    lab = await Lab.open();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  it("are told once each, and are once each in TensorBoard's files, however often the worker is killed (I6)", async () => {
    let { worker } = await lab.startWorker("desk");
    const script = await lab.write("train.mjs", TRAINER);
    const release = lab.path("release");
    const words = ["--progress", "csv:metrics.csv", "--tensorboard", "--alias", "rows"];
    const command = [process.execPath, script, release];
    const { job } = await lab.ask(["train", ...words, "--detach", "--", ...command]);
    const viewer = lab.start(["job", "watch", String(job)], "owner");
    const seen: Line[] = [];
    const rows = () => seen.filter((line) => line["source"] === "csv");
    for (let round = 0; round < 3; round++) {
      const enough = rows().length + 60;
      while (rows().length < enough) seen.push(await viewer.next());
      await worker.kill();
      worker = lab.start(["worker", "--name", "desk"], "desk");
      await worker.until((line) => line["type"] === "ready");
      worker.drain();
    }
    await writeFile(release, "");
    seen.push(...(await Array.fromAsync(viewer.rest())));
    const steps = rows().map(({ data }) => (data as Line)["step"]);
    expect(steps.length).toBeGreaterThan(180);
    expect(steps).toEqual(steps.map((_, i) => i));
    expect(rows().map(({ row }) => row)).toEqual(steps.map((_, i) => i + 1));
    await lab.ask(["model", "pull", "rows", lab.path("model")]);
    const names = await readdir(lab.path("model/tensorboard"));
    const files = await Promise.all(
      names.map((name) => readFile(lab.path("model/tensorboard", name))),
    );
    const counted = files.map((bytes) => countRecords(bytes).records - 1);
    expect(counted.reduce((sum, one) => sum + one, 0)).toBe(steps.length);
  });
});
