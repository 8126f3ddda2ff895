import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sampleBytes } from "../../packages/waybill/src/store/testing/test-store.ts";
import {
  credential,
  explainMissing,
  findPrograms,
  region,
  runTool,
  startInteropStore,
  type InteropStore,
} from "./s3-tools.ts";

const [program] = await findPrograms("rclone");
if (program === undefined) explainMissing("rclone", "rclone");

describe.skipIf(program === undefined)("rclone", () => {
  let s3: InteropStore;
  const rclone = (...args: string[]): Promise<string> =>
    runTool(program ?? "rclone", args, {
      RCLONE_CONFIG: join(s3.directory, "rclone.conf"),
      RCLONE_CONFIG_W_TYPE: "s3",
      RCLONE_CONFIG_W_PROVIDER: "Other",
      RCLONE_CONFIG_W_ENDPOINT: s3.endpoint,
      RCLONE_CONFIG_W_REGION: region,
      RCLONE_CONFIG_W_ACCESS_KEY_ID: credential.accessKeyId,
      RCLONE_CONFIG_W_SECRET_ACCESS_KEY: credential.secretAccessKey,
    });

  beforeAll(async () => {
    s3 = await startInteropStore();
    const tree = join(s3.directory, "tree");
    await mkdir(join(tree, "a", "b"), { recursive: true });
    await writeFile(join(tree, "a", "sp ace+\u00fc%25.txt"), "odd name");
    await writeFile(join(tree, "a", "b", "empty"), "");
    await writeFile(join(tree, "large"), sampleBytes(23 * 1024 * 1024));
  });
  afterAll(async () => {
    await s3[Symbol.asyncDispose]();
  });

  test("copies a tree up in parts, and finds it identical", async () => {
    const tree = join(s3.directory, "tree");
    await rclone("mkdir", "w:bucket");
    await rclone("copy", tree, "w:bucket", "--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M");
    await rclone("check", tree, "w:bucket");
    await rclone("check", "--download", tree, "w:bucket");
    const listed = await rclone("lsf", "-R", "--files-only", "w:bucket");
    expect(listed.trim().split("\n").toSorted()).toEqual([
      "a/b/empty",
      "a/sp ace+\u00fc%25.txt",
      "large",
    ]);
  });

  test("syncs both ways, carrying deletions", async () => {
    const back = join(s3.directory, "back");
    await rclone("sync", "w:bucket", back);
    expect((await readFile(join(back, "large"))).equals(sampleBytes(23 * 1024 * 1024))).toBe(true);
    await writeFile(join(back, "new"), "new");
    await rclone("sync", back, "w:bucket", "--exclude", "large");
    await rclone("sync", back, "w:bucket", "--include", "/new", "--delete-excluded");
    expect(await rclone("lsf", "-R", "--files-only", "w:bucket")).toBe("new\n");
  });

  test("copies and moves on the server, deletes and purges", async () => {
    await rclone("copyto", "w:bucket/new", "w:bucket/x/copy");
    await rclone("moveto", "w:bucket/new", "w:bucket/x/moved");
    expect(await rclone("cat", "w:bucket/x/moved")).toBe("new");
    await rclone("delete", "w:bucket/x", "--include", "copy");
    expect(await rclone("ls", "w:bucket")).toMatch(/^\s+3 x\/moved\n$/);
    await rclone("purge", "w:bucket");
    expect(await rclone("lsd", "w:")).toBe("");
  });
});
