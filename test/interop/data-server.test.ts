// The data server as curl and aria2 see it, with the lines of docs/protocol/data-server.md §5.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { artifactId, scanTree } from "@waybill/sdk/artifact";
import { type ArtifactId, ArtifactName, decodeValue } from "@waybill/sdk/protocol";
import { hashTree } from "@waybill/sdk/transfer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type DataServer,
  startDataServer,
} from "../../packages/waybill/src/data-server/data-server.ts";
import { pushedTree } from "../../packages/waybill/src/data-server/pushed-tree.ts";
import { TreeObjects } from "../../packages/waybill/src/data-server/tree-objects.ts";
import type { TreeProvider } from "../../packages/waybill/src/data-server/tree-provider.ts";
import { digestOf, writeRandomFile } from "../support/random-file.ts";
import { explainMissing, findPrograms } from "./s3-tools.ts";

const BYTES = 40 * 1024 * 1024;
const run = promisify(execFile);
const [curl] = await findPrograms("curl");
const [aria2] = await findPrograms("aria2c");
if (curl === undefined) explainMissing("curl", "curl");
if (aria2 === undefined) explainMissing("aria2c", "aria2");

describe("a data server", () => {
  let home: string;
  let server: DataServer;
  let artifact: ArtifactId;
  let digest: string;
  let base: string;
  let nowOpen = 0;
  let mostOpen = 0;
  const into = (name: string) => join(home, name);

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), "waybill-interop-"));
    const tree = join(home, "tree");
    await mkdir(join(tree, "ä b"), { recursive: true });
    digest = await writeRandomFile(join(tree, "big.bin"), BYTES);
    await writeFile(join(tree, "ä b", "c#1.txt"), "small");
    const scan = await scanTree(tree);
    const name = decodeValue(ArtifactName, "tree", "name");
    const { manifest } = await hashTree(scan, { name });
    artifact = artifactId(manifest);
    const objects = new TreeObjects({ scan, manifest });
    const pushed = pushedTree(artifact, { manifest, objects });
    const trees: TreeProvider = {
      list: async () => pushed.list(),
      open: async (asked, signal) => {
        const opened = await pushed.open(asked, signal);
        nowOpen += 1;
        mostOpen = Math.max(mostOpen, nowOpen);
        return opened === undefined ? undefined : { ...opened, release: () => (nowOpen -= 1) };
      },
    };
    server = await startDataServer({ trees, listen: { host: "127.0.0.1" } });
    const [address] = server.addresses;
    base = `${address?.url}/v1/artifacts/${artifact}/objects`;
    const header = `Authorization: Bearer ${address?.token}`;
    await writeFile(into("holder.curlrc"), `header = "${header}"\n`);
    await writeFile(into("holder.aria2"), `header=${header}\n`);
  });

  afterAll(async () => {
    await server.stop();
    await rm(home, { recursive: true, force: true });
  });

  describe.skipIf(curl === undefined)("read with curl", () => {
    const get = async (...words: string[]) =>
      (await run(curl ?? "", ["-sS", "-K", into("holder.curlrc"), ...words])).stdout;

    it("gives a file whole, and goes on where curl broke off", async () => {
      const file = into("curl.bin");
      await get("--fail", "-o", file, `${base}/big.bin`);
      expect(await digestOf(file)).toBe(digest);
      const before = server.servedBytes;
      await truncate(file, BYTES - 1_000_000);
      await get("--fail", "-C", "-", "-o", file, `${base}/big.bin`);
      expect(await digestOf(file)).toBe(digest);
      expect(server.servedBytes - before).toBe(1_000_000);
    });

    it("gives paths of any characters, ranges, and nothing that has not changed", async () => {
      expect(await get("--fail", `${base}/%C3%A4%20b/c%231.txt`)).toBe("small");
      const url = `${base}/big.bin`;
      await get("--fail", "-r", "100-199", "-o", into("range"), url);
      await using whole = await open(join(home, "tree", "big.bin"));
      const expected = Buffer.alloc(100);
      await whole.read(expected, 0, 100, 100);
      expect(await readFile(into("range"))).toEqual(expected);
      const saved = ["--etag-save", into("etag"), "-o", into("etag.bin"), url];
      await get("--fail", ...saved);
      const code = ["-o", into("etag.again"), "-w", "%{http_code}", url];
      expect(await get("--etag-compare", into("etag"), ...code)).toBe("304");
      expect(await get("-I", url)).toMatch(new RegExp(`content-length: ${BYTES}`, "i"));
    });

    it("gives nothing without the token, nor with it in the URL", async () => {
      const code = ["-sS", "-o", into("none"), "-w", "%{http_code}"];
      const token = server.addresses[0]?.token;
      for (const url of [`${base}/big.bin`, `${base}/big.bin?token=${token}`]) {
        expect((await run(curl ?? "", [...code, url])).stdout).toBe("401");
      }
    });
  });

  describe.skipIf(aria2 === undefined)("read with aria2", () => {
    it("gives a file over four connections at once", async () => {
      mostOpen = 0;
      const words = ["--no-conf=false", `--conf-path=${into("holder.aria2")}`, "-q"];
      const split = ["-x4", "-s4", "-k1M", "-d", home];
      await run(aria2 ?? "", [...words, ...split, "-o", "aria.bin", `${base}/big.bin`]);
      expect((await stat(into("aria.bin"))).size).toBe(BYTES);
      expect(mostOpen).toBeGreaterThanOrEqual(4);
      expect(await digestOf(into("aria.bin"))).toBe(digest);
    });
  });
});
