// What a push stores compressed is for everybody: a plain S3 tool fetches it, `zstd -d` reads it.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { digestOf } from "../support/random-file.ts";
import { writeTableFile } from "../support/table-file.ts";
import { explainMissing, findPrograms, runTool } from "./s3-tools.ts";

const MIB = 1024 * 1024;
const [aws] = await findPrograms("aws");
const [zstd] = await findPrograms("zstd");
if (aws === undefined) explainMissing("aws", "awscli");
if (zstd === undefined) explainMissing("zstd", "zstd");

describe.skipIf(aws === undefined || zstd === undefined)("aws s3 cp and zstd -d", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** Pushes a path, fetches an object of it with the AWS tool and unpacks it with zstd. */
  async function roundTrip(source: string, name: string, key: string): Promise<string> {
    await lab.ask(["push", source, "--name", name, "--limit-up", "40M"]);
    const { s3Path } = await lab.ask(["artifact", "show", name]);
    const fetched = lab.path(`${name}.zst`);
    await runTool(
      aws ?? "",
      ["--endpoint-url", lab.s3Endpoint, "s3", "cp", `s3://${String(s3Path)}${key}`, fetched],
      {
        AWS_SHARED_CREDENTIALS_FILE: lab.path("server", "hub", "s3-credentials"),
        AWS_DEFAULT_REGION: "us-east-1",
        AWS_EC2_METADATA_DISABLED: "true",
      },
    );
    const plain = lab.path(`${name}.plain`);
    await runTool(zstd ?? "", ["-q", "-d", fetched, "-o", plain], {});
    return plain;
  }

  it("read a file of a plain artifact", async () => {
    const digest = await writeTableFile(lab.path("rows.csv"), 40 * MIB);
    const plain = await roundTrip(lab.path("rows.csv"), "rows", "rows.csv.zst");
    expect(await digestOf(plain)).toBe(digest);
  });

  it("read a pack, whose files lie end to end in the manifest's order", async () => {
    const folder = lab.path("many");
    await mkdir(folder);
    const names = Array.from({ length: 300 }, (_, at) => `${String(at).padStart(3, "0")}.json`);
    for (const [at, name] of names.entries()) {
      const rows = Array.from({ length: 200 + at }, (_, row) => ({ row, at, label: "cat" }));
      await writeFile(path.join(folder, name), JSON.stringify(rows));
    }
    const plain = await roundTrip(folder, "many", "pack.bin.zst");
    const all = await Promise.all(names.map((name) => readFile(path.join(folder, name))));
    const wanted = createHash("sha256").update(Buffer.concat(all)).digest("hex");
    expect(await digestOf(plain)).toBe(wanted);
  });
});
