// A job is submitted with its data set still on the way, and trains as soon as the last byte has landed.
import { createHash, randomBytes } from "node:crypto";
import { appendFile, mkdir } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { writeRandomFile } from "../support/random-file.ts";
import { ARRIVAL_TRAINER } from "../support/scripts.ts";
import type { Line, WaybillProcess } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;
const BYTES = 24 * MIB;

describe("a data set on its way", () => {
  let lab: Lab;
  let digest: string;
  beforeEach(async () => {
    lab = await Lab.open({ counted: true });
    await mkdir(lab.path("data"));
    digest = await writeRandomFile(lab.path("data", "big.bin"), BYTES);
    await lab.write("data/small.txt", "small");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", ARRIVAL_TRAINER);
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  /** Pushes at 8 MiB/s unless told otherwise (submitting may take seconds, too); resolves when it is announced. */
  async function beginPush(...options: string[]) {
    const push = lab.start(
      ["push", lab.path("data"), "--announce", "--limit-up", "8M", ...options],
      "owner",
    );
    const seen = await push.until((line) => line["type"] === "announced");
    return { push, artifact: String(seen.at(-1)?.["artifact"]) };
  }

  /** A job on a data set; a viewer of its events. */
  async function submit(dataset: string, ...options: string[]): Promise<WaybillProcess> {
    const code = ["--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    const { job } = await lab.ask(["train", "-d", dataset, ...options, ...code]);
    return lab.start(["job", "watch", String(job)], "owner");
  }

  async function endOf(push: WaybillProcess): Promise<number> {
    await push.until((line) => line["type"] === "done");
    return Date.now();
  }

  type Outcome = {
    readonly state: unknown;
    readonly reason: unknown;
    readonly startedMs: number;
    readonly digest: string | undefined;
    readonly sources: Line;
  };

  async function outcomeOf(viewer: WaybillProcess): Promise<Outcome> {
    const lines = await Array.fromAsync(viewer.rest());
    const end = lines.findLast((line) => line["type"] === "state");
    const said = lines.map(({ line }) => (typeof line === "string" ? line : ""));
    const [, startedMs, found] = said.find((line) => line.startsWith("started "))?.split(" ") ?? [];
    const transfer = lines.findLast((one) => one["what"] === "dataset" && one["done"] === true);
    return {
      state: end?.["state"],
      reason: end?.["reason"],
      startedMs: Number(startedMs),
      digest: found,
      sources: (transfer?.["sources"] ?? {}) as Line,
    };
  }

  it.each([
    ["from the store's segments", ["--no-direct"], "s3"],
    ["from the machine that pushes it", [], "http"],
  ])(
    "is trained on about a second after its last byte at most, read %s",
    async (_, options, source) => {
      await lab.startWorker("desk");
      const { push, artifact } = await beginPush(...options);
      const viewer = await submit(artifact);
      const [pushedMs, outcome] = await Promise.all([endOf(push), outcomeOf(viewer)]);
      expect(outcome).toMatchObject({ state: "completed", digest });
      expect(outcome.startedMs - pushedMs).toBeLessThan(1500);
      expect(Number(outcome.sources[source])).toBeGreaterThan(MIB);
    },
  );

  it("arrives compressed where that pays", async () => {
    await lab.startWorker("desk");
    const text = Buffer.from(randomBytes(20 * MIB).toString("hex"));
    await lab.write("data/big.bin", text);
    const { push, artifact } = await beginPush("--no-direct", "--limit-up", "5M");
    const viewer = await submit(artifact);
    // Read before it was whole: the first bytes of the job's data set come before the push's last.
    let firstMs = Number.NaN;
    const watched = (async () => {
      const seen = await viewer.until(
        (one) => one["what"] === "dataset" && Number(one["bytes"]) > 0,
      );
      firstMs = Date.now();
      return seen;
    })();
    const [pushedMs] = await Promise.all([endOf(push), watched]);
    expect(firstMs).toBeLessThan(pushedMs);
    const outcome = await outcomeOf(viewer);
    expect(outcome).toMatchObject({
      state: "completed",
      digest: createHash("sha256").update(text).digest("hex"),
    });
    expect(lab.counts.up).toBeLessThan(text.length * 0.7);
  });

  it("is submitted, pushed and watched by one command", async () => {
    await lab.startWorker("desk");
    const code = ["--code", lab.path("code"), "--", "node", "train.mjs"];
    const train = lab.start(
      ["train", "-d", lab.path("data"), "--via", "s3", "--limit-up", "8M", ...code],
      "owner",
    );
    const lines = await Array.fromAsync(train.rest());
    expect(await train.exit()).toBe(0);
    const at = (type: string) => lines.findIndex((line) => line["type"] === type);
    expect(at("announced")).toBeLessThan(at("submitted"));
    expect(lines.findLast((line) => line["type"] === "state")).toMatchObject({
      state: "completed",
    });
    const found = await lab.ask(["pull", "data", lab.path("copy")]);
    expect(found).toMatchObject({ bytes: BYTES + 5 });
  });

  it("arrives at two workers at once", async () => {
    const desks = [await lab.startWorker("desk"), await lab.startWorker("bench")];
    const { push, artifact } = await beginPush("--no-direct");
    const viewers: WaybillProcess[] = [];
    for (const { workerId } of desks) viewers.push(await submit(artifact, "--worker", workerId));
    const [pushedMs, ...outcomes] = await Promise.all([endOf(push), ...viewers.map(outcomeOf)]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ state: "completed", digest });
      expect(outcome.startedMs - pushedMs).toBeLessThan(2000);
    }
  });

  it("goes on when its push was killed and is run again, and sends nothing twice (I2)", async () => {
    await lab.startWorker("desk");
    const { push, artifact } = await beginPush("--no-direct", "--limit-up", "2M");
    const viewer = await submit(artifact);
    await push.until((line) => Number(line["bytes"]) > 8 * MIB);
    await push.kill();
    const again = await beginPush("--no-direct");
    expect(again.artifact).toBe(artifact);
    await endOf(again.push);
    expect(await outcomeOf(viewer)).toMatchObject({ state: "completed", digest });
    // Three bodies of 5 MiB were on their way at most.
    expect(lab.counts.up).toBeLessThan(BYTES + 16 * MIB);
  });

  it("survives a crash of the hub", async () => {
    await lab.startWorker("desk");
    const { push, artifact } = await beginPush("--no-direct", "--limit-up", "3M");
    const viewer = await submit(artifact);
    await push.until((line) => Number(line["bytes"]) > 8 * MIB);
    await lab.crashHub();
    await endOf(push);
    expect(await outcomeOf(viewer)).toMatchObject({ state: "completed", digest });
  });

  it("fails the job with a clear reason when its upload is given up", async () => {
    await lab.startWorker("desk");
    const { push, artifact } = await beginPush("--no-direct", "--limit-up", "1M");
    const viewer = await submit(artifact);
    await push.until((line) => Number(line["bytes"]) > 2 * MIB);
    await push.kill();
    const { upload } = await lab.ask(["uploads", "ls"]);
    await lab.ask(["uploads", "rm", String(upload)]);
    const { state, reason } = await outcomeOf(viewer);
    expect(state).toBe("failed");
    expect(reason).toMatch(/data stopped arriving: its upload was given up/);
  });

  it("cancels the job that waits for it when its push fails", async () => {
    // More than is read ahead.
    await writeRandomFile(lab.path("data", "big.bin"), 192 * MIB);
    const code = ["--code", lab.path("code"), "--", "node", "train.mjs"];
    const train = lab.start(
      ["train", "-d", lab.path("data"), "--limit-up", "24M", ...code],
      "owner",
    );
    await train.until((line) => line["type"] === "submitted");
    await appendFile(lab.path("data", "big.bin"), "more");
    const lines = await Array.fromAsync(train.rest());
    expect(lines.findLast((line) => line["type"] === "state")).toMatchObject({
      state: "cancelled",
    });
    expect(await train.exit()).toBe(1);
    expect(train.errors).toMatch(/pushing dataset data failed, so job j_\w+ is cancelled/);
    expect(lines.at(-1)).toMatchObject({
      type: "error",
      message: expect.stringMatching(/big\.bin changed while it was being pushed/),
    });
  });
});
