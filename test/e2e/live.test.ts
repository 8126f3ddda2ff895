// What a viewer sees and does live: the path in words, commands over the direct channel, the newest only.
import { mkdir, readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { createClient } from "@waybill/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { closeWebRtc, loadWebRtc } from "../../packages/waybill/src/webrtc.ts";
import { Lab, ROOM } from "../support/lab.ts";
import { ENDLESS_TRAINER } from "../support/scripts.ts";
import type { Line } from "../support/waybill-process.ts";

/** Gives viewers time for a direct channel, then shows a hundred images of 20 kB and ends. */
const PICTURES_TRAINER = `
import { writeFileSync } from "node:fs";
import path from "node:path";
const out = process.env.WAYBILL_OUTPUT;
console.log("training");
setTimeout(() => {
  for (let i = 0; i < 100; i++) {
    const png = Buffer.alloc(20_000, i);
    Buffer.from("89504e470d0a1a0a", "hex").copy(png);
    writeFileSync(path.join(out, i + ".png"), png);
    console.log(JSON.stringify({ type: "sample", file: i + ".png", step: i }));
  }
  writeFileSync(path.join(out, "weights.bin"), "w");
}, 2500);
`;

describe("a job, live", () => {
  let lab: Lab;
  let token: string;
  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", ENDLESS_TRAINER);
    const saved = JSON.parse(await readFile(lab.path("owner", "credentials.json"), "utf8")) as {
      rooms: { token: string }[];
    };
    token = saved.rooms[0]?.token ?? "";
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    closeWebRtc();
  });
  const submit = async () => {
    const code = lab.path("code");
    const { job } = await lab.ask(["train", "--code", code, "--detach", "--", "node", "train.mjs"]);
    return String(job);
  };

  it("is commanded over the direct channel while it is watched there", async () => {
    const RTCPeerConnection = await loadWebRtc();
    if (RTCPeerConnection === undefined) throw new Error("node-datachannel is not built");
    await using client = await createClient({
      hub: lab.hubUrl,
      room: ROOM,
      token,
      RTCPeerConnection,
    });
    const job = await submit();
    let way = "";
    const done: string[] = [];
    let commanding: Promise<void> | undefined;
    const steer = async () => {
      for (const name of ["pause", "resume", "stop"] as const) {
        const sent = await client.command(job, name);
        await sent.applied();
        done.push(`${name} ${sent.via}`);
      }
    };
    const onPath = ({ kind }: { kind: string }) => (way = kind);
    const stages: string[] = [];
    for await (const event of client.watch(job, { latest: true, onPath })) {
      if (event.type === "metric" && way === "webrtc") commanding ??= steer();
      if (event.type === "command") stages.push(`${event.name} ${event.stage}`);
    }
    await commanding;
    expect(done).toEqual(["pause webrtc", "resume webrtc", "stop webrtc"]);
    expect(stages).toEqual(
      ["pause", "resume", "stop"].flatMap((name) => [`${name} received`, `${name} applied`]),
    );
  });

  it("is commanded through the hub by who does not watch it", async () => {
    await using client = await createClient({ hub: lab.hubUrl, room: ROOM, token });
    const job = await submit();
    for await (const event of client.watch(job)) if (event.type === "metric") break;
    const sent = await client.command(job, "cancel");
    expect(sent.via).toBe("hub");
    expect(await sent.applied()).toEqual({});
  });

  it("says by which path it is watched, once for each change", async () => {
    const job = await submit();
    const watches = [
      lab.start(["job", "watch", job], "owner"),
      lab.start(["job", "watch", job], "owner", { env: { WAYBILL_WEBRTC: "0" } }),
    ];
    // On a busy machine another path may last long enough to be told before.
    const seen = await Promise.all([
      watches[0]?.until((line) => line["type"] === "path" && line["via"] === "webrtc"),
      watches[1]?.until((line) => line["type"] === "path" && line["via"] === "relay"),
    ]);
    await lab.ask(["job", "cancel", job]);
    const rest = await Promise.all(watches.map((watch) => Array.fromAsync(watch.rest())));
    expect(seen.map((lines) => lines?.at(-1)?.["path"])).toEqual([
      expect.stringMatching(/^webrtc \(direct/),
      expect.stringMatching(/^hub/),
    ]);
    const isPath = (line: Line) => line["type"] === "path";
    for (const [i, lines] of seen.entries()) {
      const told = [...(lines ?? []), ...(rest[i] ?? [])].filter(isPath);
      const ways = told.map((line) => String(line["path"]).replace(/,? ?<?\d+ ms/, ""));
      expect(ways.some((way, at) => way === ways[at - 1])).toBe(false);
    }
  });

  it("shows the hundred images of a trainer's end, each once", async () => {
    await mkdir(lab.path("pictures"));
    await lab.write("pictures/train.mjs", PICTURES_TRAINER);
    const words = ["train", "--code", lab.path("pictures"), "--detach", "--", "node", "train.mjs"];
    const { job } = await lab.ask(words);
    const folder = lab.path("samples");
    const watch = lab.start(["job", "watch", String(job), "--samples", folder], "owner");
    const lines = await Array.fromAsync(watch.rest());
    expect(await watch.exit()).toBe(0);
    const saved = lines.filter((line) => line["type"] === "saved");
    expect(new Set(saved.map((line) => line["file"])).size).toBe(100);
    expect(saved).toHaveLength(100);
    // Straight from the worker, while they were being uploaded.
    expect(saved.filter((line) => line["via"] === "webrtc").length).toBeGreaterThan(90);
    expect(new Set(await readdir(folder))).toEqual(new Set(saved.map((line) => line["file"])));
    expect(lines.filter((line) => line["type"] === "sample")).toHaveLength(100);
    const [first = ""] = await readdir(folder);
    expect((await readFile(path.join(folder, first))).subarray(1, 4).toString()).toBe("PNG");
  });
});
