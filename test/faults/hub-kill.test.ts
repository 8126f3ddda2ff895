import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { digestOf, writeRandomFile } from "../support/random-file.ts";
import { HELD_TRAINER } from "../support/scripts.ts";
import type { Line } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;

describe("a hub that is SIGKILLed", () => {
  let lab: Lab;
  beforeEach(async () => {
    lab = await Lab.open();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  /** Starts a job whose trainer runs until `release` exists; gives its id and a viewer that sees it train, without the hub. */
  async function startHeldJob() {
    await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", HELD_TRAINER);
    const release = lab.path("release");
    const words = [
      "train",
      "--code",
      lab.path("code"),
      "--alias",
      "held",
      "--config",
      `release=${release}`,
      "--detach",
      "--",
      "node",
      "train.mjs",
    ];
    const { job } = await lab.ask(words);
    const viewer = lab.start(["job", "watch", String(job)], "owner");
    const seen = await viewer.until(
      (line) => line["type"] === "metric" && line["via"] === "webrtc",
    );
    return { job: String(job), viewer, seen, release: () => writeFile(release, "") };
  }

  function expectWholeLog(lines: Line[]): void {
    const numbers = lines
      .filter((line) => typeof line["seq"] === "number")
      .map((line) => line["seq"]);
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    expect(lines.findLast((line) => line["type"] === "state")).toMatchObject({
      state: "completed",
    });
  }

  it("during a push: the push ends well by itself", async () => {
    const file = lab.path("big.bin");
    const digest = await writeRandomFile(file, 256 * MIB);
    const client = lab.start(["push", file, "--name", "big"], "owner");
    await client.until((line) => line["type"] === "progress" && Number(line["bytes"]) > 32 * MIB);
    await lab.crashHub();
    const lines = await Array.fromAsync(client.rest());
    expect(await client.exit(), client.errors).toBe(0);
    expect(lines.at(-1)).toMatchObject({ type: "done", bytes: 256 * MIB });
    await lab.ask(["pull", "big", lab.path("out")]);
    expect(await digestOf(lab.path("out", "big.bin"))).toBe(digest);
  });

  it("during a job: trainer, worker and viewer go on, and the log has no gap", async () => {
    const { viewer, seen, release } = await startHeldJob();
    await lab.hub.kill();
    seen.push(...(await viewer.until((line) => line["type"] === "metric")));
    await lab.startHub();
    await release();
    seen.push(...(await Array.fromAsync(viewer.rest())));
    expect(await viewer.exit(), viewer.errors).toBe(0);
    expectWholeLog(seen);
    expect(await lab.ask(["model", "show", "held"])).toMatchObject({
      availability: { in_s3: true },
    });
  });

  it("while the trainer ends: the model is published once the hub is back", async () => {
    const { job, viewer, seen, release } = await startHeldJob();
    await lab.hub.kill();
    await release();
    await lab.startHub();
    seen.push(...(await Array.fromAsync(viewer.rest())));
    expect(await viewer.exit(), viewer.errors).toBe(0);
    expectWholeLog(seen);
    expect(await lab.ask(["job", "show", job])).toMatchObject({ state: "completed" });
    const stored = await lab.ask(["model", "pull", "held", lab.path("out")]);
    expect(stored).toMatchObject({ bytes: 1_000_000 });
  });

  it("right after the result, in the middle of publishing", async () => {
    const { viewer, seen, release } = await startHeldJob();
    await release();
    seen.push(...(await viewer.until((line) => line["type"] === "result")));
    await lab.crashHub();
    seen.push(...(await Array.fromAsync(viewer.rest())));
    expect(await viewer.exit(), viewer.errors).toBe(0);
    expectWholeLog(seen);
    await lab.ask(["model", "pull", "held", lab.path("out")]);
  });
});
