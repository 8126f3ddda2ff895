import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { WAITING_TRAINER } from "../support/scripts.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";

const WORKERS = 4;
const SLOTS = 8;
const JOBS = WORKERS * SLOTS;

describe("32 jobs that end at once in one room", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", WAITING_TRAINER);
    for (let i = 0; i < WORKERS; i++) {
      await lab.startWorker(`desk-${i}`, ["--slots", String(SLOTS)]);
    }
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("all publish: 32 entries, 32 aliases, none lost (I4, I5)", async () => {
    const release = lab.path("release");
    const jobs: string[] = [];
    for (let i = 0; i < JOBS; i++) {
      const words = [
        "train",
        "--code",
        lab.path("code"),
        "--alias",
        `model-${i}`,
        "--config",
        `release=${release}`,
      ];
      const { job } = await lab.ask([...words, "--detach", "--", "node", "train.mjs"]);
      jobs.push(String(job));
    }
    const viewers = jobs.map((job) => lab.start(["job", "watch", job], "owner"));
    await Promise.all(viewers.map((viewer) => viewer.until((line) => line["type"] === "metric")));
    await writeFile(release, "");
    const seen = await Promise.all(viewers.map((viewer) => Array.fromAsync(viewer.rest())));
    for (const [i, viewer] of viewers.entries()) {
      expect(await viewer.exit(), viewer.errors).toBe(0);
      expect(seen[i]?.find((line) => line["type"] === "published")).toMatchObject({
        alias: `model-${i}`,
      });
    }

    const { lines } = await runWaybill(["model", "ls"], lab.machine("owner"));
    expect(lines).toHaveLength(JOBS);
    const aliases = lines
      .flatMap((line) => line["aliases"] as string[])
      .filter((alias) => alias.startsWith("model-"));
    expect(new Set(aliases)).toEqual(new Set(jobs.map((_, i) => `model-${i}`)));
    const places = lines.map((line) => (line["storage"] as Line)["s3_path"]);
    expect(new Set(places).size).toBe(JOBS);
    expect(
      lines.filter((line) => (line["aliases"] as string[]).includes("latest-model")),
    ).toHaveLength(1);
    const pulled = await lab.ask(["model", "pull", "model-17", lab.path("out")]);
    expect(pulled).toMatchObject({ bytes: 10_000 });
  });
});
