// A worker and a viewer in a network that lets no WebSocket through (signaling.md §8): the job is done and watched by
// long polling, and by WebSockets when they pass again.
import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FussyProxy } from "../../packages/waybill/src/hub/signaling/fussy-proxy.fixture.ts";
import { Lab } from "../support/lab.ts";
import { HELD_TRAINER } from "../support/scripts.ts";
import type { Line } from "../support/waybill-process.ts";

/** The minute between two tries of a WebSocket, and the 8 s one has to prove itself, pass sooner. */
const HASTE = `
const { setTimeout: real } = globalThis;
const sooner = new Map([[60000, 1500], [8000, 500]]);
globalThis.setTimeout = (run, ms, ...rest) => real(run, sooner.get(ms) ?? ms, ...rest);
`;

describe("behind a proxy that refuses WebSockets", () => {
  let lab: Lab;
  let proxy: FussyProxy;
  beforeAll(async () => {
    lab = await Lab.open();
    proxy = new FussyProxy(lab.hubUrl);
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", HELD_TRAINER);
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  });

  it("a job is done and watched by long polling, then by WebSockets again, every event once (I6)", async () => {
    const hasten = await lab.write("haste.mjs", HASTE);
    const saved = JSON.parse(await lab.read("owner/credentials.json")) as {
      rooms: { token: string }[];
    };
    const env = { WAYBILL_HUB: await proxy.listen(), NODE_OPTIONS: `--import ${hasten}` };
    const release = lab.path("release");
    const { worker } = await lab.startWorker("desk", [], { ...env, WAYBILL_WEBRTC: "0" });
    const words = ["train", "--code", lab.path("code"), "--config", `release=${release}`];
    const { job } = await lab.ask([...words, "--detach", "--", "node", "train.mjs"]);
    const token = saved.rooms[0]?.token;
    const viewer = lab.start(["job", "watch", String(job)], "elsewhere", {
      env: { ...env, WAYBILL_WEBRTC: "0", WAYBILL_TOKEN: token },
    });
    const on = (name: string) => (line: Line) =>
      line["type"] === "path" && String(line["path"]).startsWith(name);
    const lines = await viewer.until(on("hub (long polling"));
    lines.push(...(await viewer.until(({ type }) => type === "metric")));
    expect(proxy.upgrades).toBeGreaterThan(2);

    proxy.webSockets = "pass";
    lines.push(...(await viewer.until(on("hub (websocket"))));
    lines.push(...(await viewer.until(({ type }) => type === "metric")));
    await lab.write("release", "");
    lines.push(...(await Array.fromAsync(viewer.rest())));
    expect(await viewer.exit(), viewer.errors).toBe(0);
    const events = lines.filter(({ seq }) => seq !== undefined);
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, i) => i + 1));
    expect(events.at(-1)).toMatchObject({ type: "state", state: "completed" });
    expect(worker.child.exitCode).toBeNull();
  });
});
