import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { chromium } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab, ROOM } from "../support/lab.ts";
import { HELD_TRAINER } from "../support/scripts.ts";

const CHROMIUM = "/usr/bin/chromium";
const present = existsSync(CHROMIUM);
if (!present) console.log("skipped: tests against Chromium need it (apt-get install chromium)");

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

type Report = { readonly seqs: number[]; readonly error: string; readonly paths: string[] };

/** The SDK as a browser gets it: bundled with the `browser` condition. */
async function bundle(): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: "error",
    resolve: { conditions: ["@waybill/source", "browser", "import", "default"] },
    build: {
      write: false,
      target: "es2024",
      lib: {
        entry: path.join(import.meta.dirname, "chromium-page.ts"),
        formats: ["es"],
        fileName: "page",
      },
    },
  });
  const [output] = Array.isArray(result) ? result : [result];
  if (output === undefined || !("output" in output)) throw new Error("the bundler gave nothing");
  return output.output.map((chunk) => (chunk.type === "chunk" ? chunk.code : "")).join("\n");
}

describe.skipIf(!present)("a viewer in Chromium", () => {
  let lab: Lab;
  let pages: Server;
  beforeAll(async () => {
    const script = await bundle();
    pages = createServer((request, response) => {
      const isScript = request.url === "/page.js";
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
      response.end(
        isScript
          ? script
          : '<!doctype html><title>viewer</title><script type="module" src="/page.js"></script>',
      );
    });
    pages.listen(0, "127.0.0.1");
    await once(pages, "listening");
    lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", HELD_TRAINER);
  });
  afterAll(async () => {
    pages.close();
    await lab[Symbol.asyncDispose]();
  });

  it("bundles no Node module, connects over WebRTC, and sees every event of a job once (I6)", async () => {
    const release = lab.path("release");
    const { job } = await lab.ask([
      "train",
      "--code",
      lab.path("code"),
      "--config",
      `release=${release}`,
      "--detach",
      "--",
      "node",
      "train.mjs",
    ]);
    const saved = JSON.parse(await readFile(lab.path("owner", "credentials.json"), "utf8")) as {
      rooms: { token: string }[];
    };
    const task = { hub: lab.hubUrl, room: ROOM, token: saved.rooms[0]?.token, job };
    await using browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    const page = await browser.newPage();
    const { port } = pages.address() as AddressInfo;
    await page.goto(`http://127.0.0.1:${port}/#${encodeURIComponent(JSON.stringify(task))}`);
    await page.waitForFunction("report.viaWebRtc > 20 || report.error !== ''");
    await writeFile(release, "");
    await page.waitForFunction("report.state === 'completed' || report.error !== ''");
    const report = await page.evaluate<Report>("report");
    expect(report.error).toBe("");
    expect(report.paths).toContain("webrtc");
    expect(report.seqs).toEqual(report.seqs.map((_, i) => i + 1));
  });
});
