// SLEAP's side of its two ports, played with the ZeroMQ and the jsonpickle it uses.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fileURLToPath } from "node:url";
import { Lab } from "../support/lab.ts";
import { type Line, type WaybillProcess, runWaybill } from "../support/waybill-process.ts";
import { openPython } from "./python.ts";

const python = await openPython(["pyzmq", "jsonpickle", "numpy"]);
const SCRIPT = fileURLToPath(new URL("sleap_trainer.py", import.meta.url));

const BY_ITSELF = { heard: true, signalled: false, stoppedEarly: true };

describe.skipIf(python === undefined)("a trainer of SLEAP's", () => {
  let lab: Lab;
  let worker: WaybillProcess;
  beforeAll(async () => {
    lab = await Lab.open();
    ({ worker } = await lab.startWorker("desk"));
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    await python?.[Symbol.asyncDispose]();
  });

  const command = (epochs: number) => {
    const args = [SCRIPT, "{controller_port}", "{publish_port}", String(epochs)];
    return ["train", "--progress", "sleap", "--", python?.program ?? "", ...args];
  };
  const dataOf = (lines: readonly Line[], type: string) =>
    lines.filter((line) => line["type"] === type).map((line) => line["data"]);

  it("is heard: epochs and batches with its own names and numbers", async () => {
    const { code, lines, errors } = await runWaybill(command(3), lab.machine("owner"));
    expect(code, errors).toBe(0);
    const metrics = dataOf(lines, "metric");
    for (const epoch of [0, 1, 2]) {
      const values = { what: "centroid", epoch, loss: 0.5, val_loss: 0.25, lr: "NaN" };
      expect(metrics).toContainEqual(values);
    }
    expect(metrics).toContainEqual({ what: "centroid", epoch: 0, batch: 0, loss: 1 });
    expect(dataOf(lines, "result")).toMatchObject([{ val_loss: 0.25 }]);
  });

  it("hears stop, and ends by itself with its model kept", async () => {
    const watched = lab.start(command(100_000), "owner");
    const first = await watched.until((line) => line["line"] === "first epoch");
    expect(await stop(watched, first)).toEqual(BY_ITSELF);
  });

  it("is heard and stopped by a worker that was killed and came back meanwhile", async () => {
    const watched = lab.start(command(100_000), "owner");
    const first = await watched.until((line) => line["line"] === "first epoch");
    await worker.kill();
    worker = lab.start(["worker", "--name", "desk"], "desk");
    await worker.until((line) => line["type"] === "ready");
    worker.drain();
    // What it printed meanwhile is read from its file; what comes after is heard on the same ports again.
    const epochs = (lines: readonly Line[]) =>
      lines.filter((line) => line["source"] === "sleap").length;
    const before = epochs(first);
    let after = 0;
    await watched.until((line) => (after += epochs([line])) > before + 5);
    expect(await stop(watched, first)).toEqual(BY_ITSELF);
  });

  /** Stops a job; what its trainer said of it, and whether its model was kept. */
  async function stop(watched: WaybillProcess, first: readonly Line[]): Promise<unknown> {
    const job = first.find((line) => line["type"] === "submitted")?.["job"];
    await lab.ask(["job", "stop", String(job)]);
    const rest = await watched.until((line) => line["state"] === "completed");
    const said = (text: string) => rest.some((line) => line["line"] === text);
    const result = rest.find((line) => line["type"] === "result");
    return {
      heard: said("heard {'command': 'stop'}"),
      signalled: said("SIGTERM"),
      stoppedEarly: result?.["stoppedEarly"],
    };
  }
});
