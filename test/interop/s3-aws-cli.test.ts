import { mkdir, readFile, utimes, writeFile } from "node:fs/promises";
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

const programs = await findPrograms("aws");
if (programs.length === 0) explainMissing("aws", "awscli");

// More than one may be installed, and versions 1 and 2 differ in how they send bodies.
describe.skipIf(programs.length === 0).each(programs.length > 0 ? programs : ["aws"])(
  "%s",
  (program) => {
    let s3: InteropStore;
    const aws = (...args: string[]): Promise<string> =>
      runTool(program, ["--endpoint-url", s3.endpoint, ...args], {
        AWS_ACCESS_KEY_ID: credential.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credential.secretAccessKey,
        AWS_DEFAULT_REGION: region,
        AWS_EC2_METADATA_DISABLED: "true",
      });

    beforeAll(async () => {
      s3 = await startInteropStore();
      await aws("s3", "mb", "s3://bucket");
    });
    afterAll(async () => {
      await s3[Symbol.asyncDispose]();
    });

    test("copies a file up and down, lists it and removes it", async () => {
      const file = join(s3.directory, "small file.txt");
      await writeFile(file, "hello");
      await aws("s3", "cp", file, "s3://bucket/docs/sm\u00e5ll +file.txt");
      expect(await aws("s3", "ls", "s3://bucket/")).toMatch(/PRE docs\//);
      expect(await aws("s3", "ls", "s3://bucket/docs/")).toMatch(/ 5 sm\u00e5ll \+file\.txt/);
      expect(await aws("s3", "cp", "s3://bucket/docs/sm\u00e5ll +file.txt", "-")).toBe("hello");
      await aws("s3", "rm", "s3://bucket/docs/sm\u00e5ll +file.txt");
      expect(await aws("s3", "ls", "s3://bucket")).toBe("");
    });

    test("copies 64 MiB up in parts and down in ranges", async () => {
      const body = sampleBytes(64 * 1024 * 1024);
      const file = join(s3.directory, "big");
      await writeFile(file, body);
      await aws("s3", "cp", "--no-progress", file, "s3://bucket/big");
      const head: unknown = JSON.parse(
        await aws("s3api", "head-object", "--bucket", "bucket", "--key", "big"),
      );
      expect(head).toMatchObject({ ContentLength: body.length });
      expect(head).toHaveProperty("ETag", expect.stringMatching(/-8"$/));
      await aws("s3", "cp", "--no-progress", "s3://bucket/big", `${file}.back`);
      expect((await readFile(`${file}.back`)).equals(body)).toBe(true);
      await aws("s3", "cp", "--no-progress", "s3://bucket/big", "s3://bucket/copy");
      await aws("s3", "rm", "--recursive", "s3://bucket");
    });

    test("syncs a folder, and then only what has changed", async () => {
      const folder = join(s3.directory, "tree");
      await mkdir(join(folder, "a", "b"), { recursive: true });
      // Older than the upload: sync compares times, and S3's have whole seconds.
      const anHourAgo = new Date(Date.now() - 3_600_000);
      for (const name of ["one", "a/two", "a/b/three"]) {
        await writeFile(join(folder, name), name);
        await utimes(join(folder, name), anHourAgo, anHourAgo);
      }
      const first = await aws("s3", "sync", folder, "s3://bucket/tree");
      expect(first.match(/upload:/g)).toHaveLength(3);
      await writeFile(join(folder, "one"), "changed size");
      const second = await aws("s3", "sync", "--delete", folder, "s3://bucket/tree");
      expect(second.match(/upload:/g)).toHaveLength(1);
      await aws("s3", "sync", "s3://bucket/tree", `${folder}-back`);
      expect(await readFile(join(`${folder}-back`, "a/b/three"), "utf8")).toBe("a/b/three");
      await aws("s3", "rm", "--recursive", "s3://bucket/tree");
      expect(await aws("s3", "ls", "--recursive", "s3://bucket")).toBe("");
    });

    test("presigns a URL that anybody can fetch", async () => {
      await aws("s3api", "put-object", "--bucket", "bucket", "--key", "p", "--metadata", "a=1");
      // Version 1 still presigns with Signature Version 2 unless told otherwise; S3 refuses it too.
      const url = await runTool(
        program,
        ["--endpoint-url", s3.endpoint, "s3", "presign", "s3://bucket/p", "--expires-in", "60"],
        {
          AWS_ACCESS_KEY_ID: credential.accessKeyId,
          AWS_SECRET_ACCESS_KEY: credential.secretAccessKey,
          AWS_DEFAULT_REGION: region,
          AWS_CONFIG_FILE: await signatureConfig(s3.directory),
        },
      );
      const response = await fetch(url.trim());
      expect(response.status).toBe(200);
      expect(response.headers.get("x-amz-meta-a")).toBe("1");
    });

    test("writes under a condition", async ({ skip }) => {
      const file = join(s3.directory, "c");
      await writeFile(file, "c");
      const put = ["s3api", "put-object", "--bucket", "bucket", "--key", "c", "--body", file];
      const create = (): Promise<string> => aws(...put, "--if-none-match", "*");
      const first = await create().catch((error: unknown) => String(error));
      skip(first.includes("Unknown options"), "this version has no --if-none-match");
      expect(first).toContain("ETag");
      await expect(create()).rejects.toThrow(/PreconditionFailed/);
    });
  },
);

async function signatureConfig(directory: string): Promise<string> {
  const path = join(directory, "aws-config");
  await writeFile(path, "[default]\ns3 =\n  signature_version = s3v4\n");
  return path;
}
