// The hub is gone when a training ends: its worker puts the model straight into the object store, and the hub records it when it
// is back (docs/protocol/hub-api.md §3). The store is a process of its own, as S3 is.
import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createS3Client, listKeys } from "../support/s3-lister.ts";
import { type InteropStore, credential, region, startInteropStore } from "../interop/s3-tools.ts";
import { Lab } from "../support/lab.ts";
import { HELD_TRAINER } from "../support/scripts.ts";
import type { Line } from "../support/waybill-process.ts";

const WAIT = { timeout: 30_000, interval: 50 };
const AWS = {
  AWS_ACCESS_KEY_ID: credential.accessKeyId,
  AWS_SECRET_ACCESS_KEY: credential.secretAccessKey,
  AWS_REGION: region,
};

describe("a worker with credentials of its own", () => {
  let s3: InteropStore;
  let lab: Lab;
  beforeEach(async () => {
    s3 = await startInteropStore();
    const hubOptions = ["--s3-endpoint", s3.endpoint, "--s3-bucket", "rooms"];
    lab = await Lab.open({ hubOptions, hubEnv: AWS });
  });
  afterEach(async () => {
    await lab[Symbol.asyncDispose]();
    await s3[Symbol.asyncDispose]();
  });

  it("finishes while the hub is away: the model is in the store, and completed when the hub is back", async () => {
    const own = ["--s3-bucket", "rooms", "--s3-endpoint", s3.endpoint, "--hub-lost", "2s"];
    await lab.startWorker("desk", own, AWS);
    await mkdir(lab.path("code"));
    const seeAws = `console.log("aws", Object.keys(process.env).filter((key) => key.startsWith("AWS_")).length);\n`;
    await lab.write("code/train.mjs", `${HELD_TRAINER}\n${seeAws}`);
    const release = lab.path("release");
    const config = ["--config", `release=${release}`, "--alias", "alone"];
    const code = ["--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    const { job } = await lab.ask(["train", ...config, ...code]);
    const viewer = lab.start(["job", "watch", String(job)], "owner");
    const seen: Line[] = await viewer.until(({ type }) => type === "metric");
    await lab.hub.kill();
    await writeFile(release, "");
    await using client = createS3Client(s3.endpoint, region, credential);
    await vi.waitFor(async () => {
      const keys = await listKeys(client, "rooms", "lab/models/");
      expect(keys.filter((key) => key.endsWith("artifact.json"))).toHaveLength(1);
    }, WAIT);
    await lab.startHub();
    seen.push(...(await Array.fromAsync(viewer.rest())));
    expect(await viewer.exit()).toBe(0);
    expect(seen.find(({ type }) => type === "published")?.["s3Path"]).toMatch(
      /^rooms\/lab\/models\/model_[0-9a-f]{8}\.1\/$/,
    );
    expect(seen.map(({ line }) => line)).toContain("aws 0");
    expect(await lab.ask(["model", "pull", "alone", lab.path("out")])).toMatchObject({
      bytes: 1_000_000,
    });
    const numbers = seen.flatMap(({ seq }) => (typeof seq === "number" ? [seq] : []));
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
  });
});
