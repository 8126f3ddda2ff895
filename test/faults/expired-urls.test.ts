import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { digestOf, writeRandomFile } from "../support/random-file.ts";

const MIB = 1024 * 1024;
const BYTES = 384 * MIB;

describe("URLs that expire in the middle of a transfer (I9)", () => {
  let lab: Lab;
  let digest: string;
  beforeAll(async () => {
    lab = await Lab.open({ hubOptions: ["--url-life", "1s"] });
    digest = await writeRandomFile(lab.path("big.bin"), BYTES);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** Halts the client, as a closed lid does, until every URL it holds has expired at the store. */
  async function runWithNap(
    args: readonly string[],
  ): Promise<{ code: number | null; errors: string }> {
    const client = lab.start(args, "owner");
    await client.until((line) => line["type"] === "progress" && Number(line["bytes"]) > 48 * MIB);
    client.child.kill("SIGSTOP");
    // The store's own clock decides; nothing else tells that it is over.
    await sleep(2500);
    client.child.kill("SIGCONT");
    client.drain();
    return { code: await client.exit(), errors: client.errors };
  }

  it("a push signs its parts anew and goes on", async () => {
    const { code, errors } = await runWithNap(["push", lab.path("big.bin"), "--name", "big"]);
    expect(code, errors).toBe(0);
  });

  it("a pull signs its reads anew and goes on", async () => {
    const { code, errors } = await runWithNap(["pull", "big", lab.path("out")]);
    expect(code, errors).toBe(0);
    expect(await digestOf(lab.path("out", "big.bin"))).toBe(digest);
  });
});
