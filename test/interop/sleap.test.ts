// SLEAP's side of its two ports, played with the ZeroMQ and the jsonpickle it uses.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fileURLToPath } from "node:url";
import { Lab } from "../support/lab.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";
import { openPython } from "./python.ts";

const python = await openPython(["pyzmq", "jsonpickle", "numpy"]);
const SCRIPT = fileURLToPath(new URL("sleap_trainer.py", import.meta.url));

describe.skipIf(python === undefined)("a trainer of SLEAP's", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    await python?.[Symbol.asyncDispose]();
  });

  const command = (epochs: number) => [
    ...["train", "--progress", "sleap", "--"],
    ...[python?.program ?? "", SCRIPT, "{controller_port}", "{publish_port}", String(epochs)],
  ];
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
    let job = "";
    for (;;) {
      const line = await watched.next();
      if (line["type"] === "submitted") job = String(line["job"]);
      if (line["line"] === "first epoch") break;
    }
    await lab.ask(["job", "stop", job]);
    const rest: Line[] = [];
    for (
      let line = await watched.next();
      line["state"] !== "completed";
      line = await watched.next()
    )
      rest.push(line);
    const logs = rest.filter((line) => line["type"] === "log").map((line) => line["line"]);
    expect(logs).toContain("heard {'command': 'stop'}");
    expect(logs).not.toContain("SIGTERM");
    expect(rest.find((line) => line["type"] === "result")).toMatchObject({ stoppedEarly: true });
  });
});
