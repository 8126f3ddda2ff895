import { mkdir, open, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { writeRandomFile } from "../support/random-file.ts";
import { runWaybill } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;

describe("bad local input", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("says so when a file changes while it is uploaded", async () => {
    const file = lab.path("changing.bin");
    await writeRandomFile(file, 384 * MIB);
    const client = lab.start(["push", file, "--name", "changing"], "owner");
    await client.until((line) => line["type"] === "progress" && Number(line["bytes"]) > 16 * MIB);
    await using handle = await open(file, "r+");
    await handle.write("changed", 0);
    await handle.sync();
    const lines = await Array.fromAsync(client.rest());
    expect(await client.exit()).toBe(1);
    expect(lines.at(-1)).toMatchObject({
      type: "error",
      code: "source_changed",
      message: expect.stringContaining("changing.bin"),
    });
  });

  it("says so when a file vanishes while the tree is uploaded", async () => {
    await mkdir(lab.path("vanishing"));
    await writeRandomFile(lab.path("vanishing", "a.bin"), 256 * MIB);
    await writeFile(lab.path("vanishing", "z.txt"), "soon gone");
    const client = lab.start(["push", lab.path("vanishing"), "--name", "vanishing"], "owner");
    await client.until((line) => line["type"] === "progress");
    await rm(lab.path("vanishing", "z.txt"));
    const lines = await Array.fromAsync(client.rest());
    expect(await client.exit()).toBe(1);
    expect(lines.at(-1)).toMatchObject({
      type: "error",
      message: expect.stringContaining("z.txt"),
    });
  });

  it("pushes and pulls 200,000 tiny files as one object", { timeout: 300_000 }, async () => {
    const tree = lab.path("tiny");
    for (let folder = 0; folder < 200; folder++) {
      await mkdir(lab.path("tiny", String(folder)), { recursive: true });
      await Promise.all(
        Array.from({ length: 1000 }, (_, i) =>
          writeFile(lab.path("tiny", String(folder), `${i}.txt`), `${folder}/${i}`),
        ),
      );
    }
    const pushed = await lab.ask(["push", tree, "--name", "tiny"]);
    expect(pushed).toMatchObject({ files: 200_000 });
    const out = lab.path("tiny-out");
    expect(await lab.ask(["pull", "tiny", out])).toMatchObject({
      artifact: pushed["artifact"],
      bytes: pushed["bytes"],
    });
    expect(
      (await runWaybill(["push", out, "--name", "tiny"], lab.machine("owner"))).lines.at(-1),
    ).toMatchObject({ artifact: pushed["artifact"] });
  });
});
