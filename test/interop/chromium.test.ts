import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHROMIUM, CHROMIUM_FLAGS, hasChromium, servePage } from "../support/chromium.ts";
import { Lab, ROOM } from "../support/lab.ts";
import { HELD_TRAINER } from "../support/scripts.ts";

if (!hasChromium) console.log("skipped: tests against Chromium need it (apt-get install chromium)");

type Report = { readonly seqs: number[]; readonly error: string; readonly paths: string[] };

describe.skipIf(!hasChromium)("a viewer in Chromium", () => {
  let lab: Lab;
  let pages: Awaited<ReturnType<typeof servePage>>;
  beforeAll(async () => {
    pages = await servePage(path.join(import.meta.dirname, "chromium-page.ts"));
    lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", HELD_TRAINER);
  });
  afterAll(async () => {
    await pages[Symbol.asyncDispose]();
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
    await using browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
    const page = await browser.newPage();
    await page.goto(`${pages.url}#${encodeURIComponent(JSON.stringify(task))}`);
    await page.waitForFunction("report.viaWebRtc > 20 || report.error !== ''");
    await writeFile(release, "");
    await page.waitForFunction("report.state === 'completed' || report.error !== ''");
    const report = await page.evaluate<Report>("report");
    expect(report.error).toBe("");
    expect(report.paths).toContain("webrtc");
    expect(report.seqs).toEqual(report.seqs.map((_, i) => i + 1));
  });
});
