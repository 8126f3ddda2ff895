import { appendFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { NewJobEvent } from "@waybill/sdk/protocol";
import type { ToldMetric } from "../progress-adapter.ts";
import { CsvAdapter } from "./csv-adapter.ts";

const WAIT = { timeout: 5000, interval: 5 };
let dir = "";
let output = "";
let log = "";
let told: NewJobEvent[] = [];
let said: string[] = [];
const adapters: CsvAdapter[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-csv-"));
  output = join(dir, "output");
  log = join(output, "training_log.csv");
  await mkdir(output);
  await mkdir(join(dir, "work"));
  told = [];
  said = [];
});

afterEach(async () => {
  for (const one of adapters.splice(0)) await one.stop();
  await rm(dir, { recursive: true });
});

function adapter(path = "training_log.csv"): CsvAdapter {
  const before = told.flatMap((event, i): ToldMetric[] =>
    event.type === "metric" ? [{ ...event, seq: i + 1, time: "", attempt: 1 }] : [],
  );
  const one = new CsvAdapter({
    path,
    roots: [output, join(dir, "work")],
    pollMs: 2,
    emit: async (events) => {
      await Promise.resolve();
      told.push(...events);
    },
    told: () => before,
    say: (line) => said.push(line),
  });
  adapters.push(one);
  return one;
}

const data = () => told.map((event) => (event.type === "metric" ? event.data : undefined));
const rows = () => told.map((event) => (event.type === "metric" ? event.row : undefined));
const length = async (count: number) => vi.waitFor(() => expect(told).toHaveLength(count), WAIT);

describe("a CSV log", () => {
  it("is read as Keras writes it, from when it appears, a row a metric", async () => {
    const csv = adapter();
    await csv.start("new");
    await writeFile(log, "epoch,accuracy,loss,lr,val_loss\n");
    await appendFile(log, "0,0.5,1.25,0.001,nan\n");
    await length(1);
    await appendFile(log, "1,0.75,inf,1e-4,-inf\n2,0.9,");
    await length(2);
    await appendFile(log, "0.1,0.0001,0.2");
    await csv.finish();
    expect(data()).toEqual([
      { epoch: 0, accuracy: 0.5, loss: 1.25, lr: 0.001, val_loss: "NaN" },
      { epoch: 1, accuracy: 0.75, loss: "Infinity", lr: 0.0001, val_loss: "-Infinity" },
      { epoch: 2, accuracy: 0.9, loss: 0.1, lr: 0.0001, val_loss: 0.2 },
    ]);
    expect(told[0]).toMatchObject({ type: "metric", source: "csv", row: 1 });
  });

  it("is read as Lightning writes it: empty cells are not there, and a new column makes a new file", async () => {
    const csv = adapter("metrics.csv");
    const path = join(dir, "work", "metrics.csv");
    await csv.start("new");
    await writeFile(path, "epoch,step,train_loss\n0,9,0.5\n0,19,0.25\n");
    await length(2);
    const again = "epoch,step,train_loss,val_loss\n0,9,0.5,\n0,19,0.25,\n0,19,,0.3\n";
    await writeFile(path, again);
    await length(3);
    await appendFile(path, "1,29,0.2,\n");
    await csv.finish();
    expect(data()).toEqual([
      { epoch: 0, step: 9, train_loss: 0.5 },
      { epoch: 0, step: 19, train_loss: 0.25 },
      { epoch: 0, step: 19, val_loss: 0.3 },
      { epoch: 1, step: 29, train_loss: 0.2 },
    ]);
    expect(rows()).toEqual([1, 2, 3, 4]);
  });

  it("that is written anew by another training is told anew, one that is replaced by a longer self goes on", async () => {
    const csv = adapter();
    await csv.start("new");
    await writeFile(log, "epoch,loss\n0,3\n1,2\n");
    await length(2);
    await writeFile(`${log}.new`, "epoch,loss\n0,3\n1,2\n2,1\n");
    await rename(`${log}.new`, log);
    await length(3);
    await writeFile(log, "epoch,loss\n0,9\n");
    await length(4);
    await appendFile(log, "1,8\n");
    await csv.finish();
    expect(data().slice(2)).toEqual([
      { epoch: 2, loss: 1 },
      { epoch: 0, loss: 9 },
      { epoch: 1, loss: 8 },
    ]);
    expect(rows()).toEqual([1, 2, 3, 1, 2]);
  });

  it("repeats and loses no row when another daemon goes on with it", async () => {
    await writeFile(log, "epoch,loss\n0,3\n");
    const first = adapter();
    await first.start("new");
    await length(1);
    await writeFile(log, "epoch,loss\n0,9\n1,8\n");
    await length(3);
    await first.stop();
    await appendFile(log, "2,7\n");
    const second = adapter();
    await second.start("running");
    await length(4);
    await second.stop();
    await appendFile(log, "3,6");
    const third = adapter();
    await third.start("over");
    await third.finish();
    expect(data().map((row) => row?.["loss"])).toEqual([3, 9, 8, 7, 6]);
  });

  it("may lead out of the job's folders neither by its path nor by a link", async () => {
    await writeFile(join(dir, "secret.csv"), "a\n1\n");
    await symlink(join(dir, "secret.csv"), log);
    for (const path of ["training_log.csv", "../secret.csv", join(dir, "secret.csv")]) {
      const csv = adapter(path);
      await csv.start("new");
      await csv.finish();
    }
    expect(told).toEqual([]);
    expect(said).toHaveLength(3);
    for (const line of said) expect(line).toMatch(/ lies outside of .* and was not read$/);
  });

  it("that never was there is told of at the trainer's end, one that has told rows is not", async () => {
    const csv = adapter("nothere.csv");
    await csv.start("new");
    await csv.finish();
    const missing =
      "no CSV log was found at nothere.csv in WAYBILL_OUTPUT or the working directory";
    expect(said).toEqual([missing]);
    await writeFile(log, "a\n1\n");
    const there = adapter();
    await there.start("new");
    await length(1);
    await rm(log);
    await there.finish();
    const again = adapter();
    await again.start("over");
    await again.finish();
    expect(said).toEqual([missing]);
  });

  it("that is none is told once and left alone", async () => {
    await writeFile(log, "x".repeat(1024 * 1024 + 9));
    const csv = adapter();
    await csv.start("new");
    await vi.waitFor(() => expect(said).toHaveLength(1), WAIT);
    await csv.finish();
    expect(said[0]).toContain("training_log.csv is not read");
  });
});
