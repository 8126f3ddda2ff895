import { mkdir, readFile } from "node:fs/promises";
import { createClient } from "@waybill/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab, ROOM } from "../support/lab.ts";
import { QUICK_TRAINER } from "../support/scripts.ts";

describe("createClient", () => {
  let lab: Lab;
  let token: string;
  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("data"));
    await lab.write("data/a.txt", "content");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", QUICK_TRAINER);
    const saved = JSON.parse(await readFile(lab.path("owner", "credentials.json"), "utf8")) as {
      rooms: { token: string }[];
    };
    token = saved.rooms[0]?.token ?? "";
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("does the main job from code: push, submit, watch, pull", async () => {
    await using client = await createClient({ hub: lab.hubUrl, room: ROOM, token });
    const dataset = await client.push({ path: lab.path("data"), name: "data" });
    const code = await client.push({ path: lab.path("code"), name: "code" });
    const { job } = await client.submit({
      dataset: dataset.artifact,
      code: code.artifact,
      command: ["node", "train.mjs"],
      alias: "by-sdk",
    });
    const events = await Array.fromAsync(client.watch(job));
    expect(events.map((event) => event.seq)).toEqual(events.map((_, i) => i + 1));
    expect(events.at(-1)).toMatchObject({ type: "state", state: "completed" });
    const model = await client.model("by-sdk");
    expect(await client.pull({ ref: model.artifact, dir: lab.path("out") })).toMatchObject({
      files: 2,
    });
    await expect(client.command(job, "pause")).rejects.toMatchObject({ code: "conflict" });
  });

  it("names every wrong field of a job before anything is sent", async () => {
    await using client = await createClient({ hub: "http://127.0.0.1:1", room: ROOM, token });
    await expect(client.submit({ command: [], alias: "latest", tags: ["a b"] })).rejects.toThrow(
      /command.*alias.*tags/,
    );
  });
});
