// docs/protocol/cache.md and docs/cli.md: two workers on one cache, looked at and tended while they run.
import { mkdir, readFile, readdir, stat } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";

/** Notes what its data are, writes beside them, and spoils one of them. */
const CARELESS = `
  import fs from "node:fs";
  const data = process.env.WAYBILL_DATASET;
  const file = data + "/big.bin";
  const { nlink, mode } = fs.statSync(file);
  const text = fs.readFileSync(file, "latin1");
  fs.writeFileSync(process.env.WAYBILL_OUTPUT + "/seen.json", JSON.stringify({ nlink, mode: mode & 0o222, right: /^a*$/.test(text) }));
  fs.writeFileSync(data + "/index.cache", "mine");
  if (process.env.SPOIL === "1") {
    fs.chmodSync(file, 0o644);
    const fd = fs.openSync(file, "r+");
    fs.writeSync(fd, "X", 100);
    fs.closeSync(fd);
  }
`;

describe("a cache that two workers share", () => {
  let lab: Lab;
  let artifact: string;
  const run = (...args: string[]) => runWaybill(args, lab.machine("owner"));
  const cache = (...args: string[]) => run("cache", ...args, "--cache-dir", lab.path("shared"));
  const shared = ["--kind", "shared", "--cache-dir"];
  const train = async (worker: string, ...more: string[]): Promise<readonly Line[]> => {
    const words = ["train", "--dataset", lab.path("data"), "--code", lab.path("code")];
    const all = [...words, "--worker", worker, "--alias", worker, ...more];
    const { code, lines, errors } = await run(...all, "--", "node", "train.mjs");
    expect(code, errors).toBe(0);
    return lines;
  };
  const fetched = (lines: readonly Line[]) =>
    lines.find((line) => line["what"] === "dataset" && line["done"] === true);
  const seen = async (worker: string) => {
    await run("model", "pull", worker, lab.path(`seen-${worker}`), "--overwrite");
    return JSON.parse(await readFile(lab.path(`seen-${worker}/seen.json`), "utf8"));
  };

  beforeAll(async () => {
    lab = await Lab.open();
    for (const folder of ["code", "data", "shared"]) await mkdir(lab.path(folder));
    await lab.write("code/train.mjs", CARELESS);
    await lab.write("data/big.bin", "a".repeat(300_000));
    for (const name of ["desk", "pod"]) {
      await lab.startWorker(name, [...shared, lab.path("shared")]);
    }
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("fetches for both once, and gives each job links of its own that are not to be written", async () => {
    const first = fetched(await train("desk"));
    expect(Object(first?.["sources"])["cache"]).toBeUndefined();
    artifact = String(first?.["artifact"]);
    const second = fetched(await train("pod"));
    expect(second).toMatchObject({ sources: { cache: 300_000 } });
    const { nlink, mode, right } = await seen("pod");
    expect([mode, right]).toEqual([0, true]);
    // One where the file system makes reflinks; the first job's folder may still be there.
    expect([1, 2, 3]).toContain(nlink);
    expect(await readdir(lab.path("shared/artifacts", artifact, "files"))).toEqual(["big.bin"]);
  });

  it("finds what a trainer wrote through a link at the next use, and heals it", async () => {
    await train("desk", "--env", "SPOIL=1");
    await train("pod");
    expect(await seen("pod")).toMatchObject({ right: true });
    expect((await cache("verify", artifact)).lines.at(-1)).toMatchObject({ damaged: 0 });
  });

  it("is listed, pinned, pruned and counted beside the workers", async () => {
    const { lines } = await cache("ls");
    expect(lines).toContainEqual(
      expect.objectContaining({ type: "cached", artifact, name: "data", whole: true }),
    );
    expect((await cache("pin", "data")).lines).toEqual([{ type: "pin", artifact, pinned: true }]);
    const listed = await cache("prune", "--all", "--dry-run");
    expect(listed.lines.map((line) => line["artifact"])).not.toContain(artifact);
    expect(listed.lines.some((line) => line["type"] === "pruned")).toBe(true);
    expect((await cache("ls")).lines).toHaveLength(lines.length);
    await cache("prune", "--all");
    expect((await cache("ls")).lines).toContainEqual(
      expect.objectContaining({ artifact, pinned: true }),
    );
    await cache("unpin", artifact.slice(0, 8));
    const stats = (await cache("stats")).lines[0];
    expect(stats).toMatchObject({ type: "cache", pinned: { artifacts: 0 } });
    // Whoever was served it by a worker may hold it for a moment.
    const pruned = async () => (await cache("prune", "--older", "0s")).lines.at(-1)?.["bytes"];
    await expect.poll(pruned, { timeout: 20_000 }).toBe(300_000);
    const left = (await cache("ls")).lines.map((line) => line["artifact"]);
    expect(left).not.toContain(artifact);
  });

  it("is told apart from a folder that is none", async () => {
    const { code, errors } = await run("cache", "ls", "--cache-dir", lab.path("data"));
    expect(code).toBe(4);
    expect(errors).toContain("there is no cache in");
    expect((await stat(lab.path("data"))).isDirectory()).toBe(true);
  });
});
