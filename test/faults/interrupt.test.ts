import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { digestOf, writeRandomFile } from "../support/random-file.ts";
import { ENDLESS_TRAINER } from "../support/scripts.ts";

const MIB = 1024 * 1024;
const BYTES = 384 * MIB;

describe("Ctrl-C and restarts in the middle", () => {
  let lab: Lab;
  let digest: string;
  beforeAll(async () => {
    lab = await Lab.open();
    digest = await writeRandomFile(lab.path("big.bin"), BYTES);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** Starts a transfer and waits until some of it is done. */
  const begin = async (args: readonly string[]) => {
    const client = lab.start(args, "owner");
    await client.until((line) => line["type"] === "progress" && Number(line["bytes"]) > 32 * MIB);
    return client;
  };

  it("stops a push cleanly, says how to go on, and goes on there", async () => {
    const words = ["push", lab.path("big.bin"), "--name", "big"];
    const client = await begin(words);
    client.child.kill("SIGINT");
    const lines = await Array.fromAsync(client.rest());
    expect(await client.exit()).toBe(130);
    expect(lines.at(-1)).toMatchObject({ type: "error", code: "interrupted" });
    expect(client.errors).toContain("run the same command again");
    const done = await lab.ask(words);
    expect(Number(done["savedBytes"])).toBeGreaterThan(32 * MIB);
  });

  it("stops a pull cleanly and goes on there", async () => {
    const client = await begin(["pull", "big", lab.path("out")]);
    client.child.kill("SIGINT");
    client.drain();
    expect(await client.exit()).toBe(130);
    expect(client.errors).toContain("run the same command again");
    const done = await lab.ask(["pull", "big", lab.path("out")]);
    expect((done["sources"] as Record<string, number>)["cache"]).toBeGreaterThan(16 * MIB);
    expect(await digestOf(lab.path("out", "big.bin"))).toBe(digest);
  });

  it("a pull outlives a SIGKILL of hub and store", async () => {
    const client = await begin(["pull", "big", lab.path("again")]);
    await lab.crashHub();
    client.drain();
    expect(await client.exit(), client.errors).toBe(0);
    expect(await digestOf(lab.path("again", "big.bin"))).toBe(digest);
  });

  it("leaves a watched job running and says how to come back", async () => {
    await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", ENDLESS_TRAINER);
    const client = lab.start(
      ["train", "--code", lab.path("code"), "--", "node", "train.mjs"],
      "owner",
    );
    const seen = await client.until((line) => line["type"] === "metric");
    const job = String(seen.find((line) => line["type"] === "submitted")?.["job"]);
    client.child.kill("SIGINT");
    client.drain();
    expect(await client.exit()).toBe(130);
    expect(client.errors).toContain(`waybill job watch ${job}`);
    expect(await lab.ask(["job", "show", job])).toMatchObject({ state: "running" });
    await lab.ask(["job", "cancel", job]);
  });
});
