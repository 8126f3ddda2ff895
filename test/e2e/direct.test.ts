// Small data sets go straight from the client to the worker, and the store gets nothing of them
// (docs/protocol/arriving.md §7, §8).
import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createClient } from "@waybill/sdk";
import { closeWebRtc, loadWebRtc } from "../../packages/waybill/src/webrtc.ts";
import { Lab, ROOM } from "../support/lab.ts";
import { writeRandomFile } from "../support/random-file.ts";
import { ARRIVAL_TRAINER, HELD_TRAINER } from "../support/scripts.ts";
import type { Line, WaybillProcess } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;
const BYTES = 20 * MIB;

describe("a small data set", () => {
  let lab: Lab;
  let digest: string;
  beforeEach(async () => {
    lab = await Lab.open({ counted: true });
    await mkdir(lab.path("data"));
    digest = await writeRandomFile(lab.path("data", "big.bin"), BYTES);
    await lab.write("data/small.txt", "small");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", ARRIVAL_TRAINER);
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  function train(...options: string[]): WaybillProcess {
    const code = ["--code", lab.path("code"), "--", "node", "train.mjs"];
    const dataset = ["-d", lab.path("data"), "--explain"];
    return lab.start(["train", ...dataset, ...options, ...code], "owner");
  }

  type Outcome = {
    readonly exit: number | null;
    readonly state: unknown;
    readonly digest: string | undefined;
    readonly sources: Line;
    readonly decisions: readonly string[];
  };

  function outcomeOf(lines: readonly Line[], exit: number | null): Outcome {
    const said = lines.map(({ line }) => (typeof line === "string" ? line : ""));
    const [, , found] = said.find((line) => line.startsWith("started "))?.split(" ") ?? [];
    const transfer = lines.findLast((one) => one["what"] === "dataset" && one["done"] === true);
    return {
      exit,
      state: lines.findLast((line) => line["type"] === "state")?.["state"],
      digest: found,
      sources: (transfer?.["sources"] ?? {}) as Line,
      decisions: lines.filter(({ type }) => type === "dataset.via").map(({ why }) => String(why)),
    };
  }

  async function endOf(client: WaybillProcess): Promise<Outcome> {
    const lines = await Array.fromAsync(client.rest());
    return outcomeOf(lines, await client.exit());
  }

  /** What came from the client: the link may serve a moment before HTTP is found to work. */
  function directBytes({ sources }: Outcome): number {
    return Number(sources["http"] ?? 0) + Number(sources["peer"] ?? 0);
  }

  /** Bytes of the store's folder. */
  async function storedBytes(): Promise<number> {
    const server = lab.path("server");
    const names = await readdir(server, { recursive: true });
    const sizes = names.map(async (name) => {
      const facts = await stat(path.join(server, name)).catch(() => undefined);
      return facts?.isFile() === true ? facts.size : 0;
    });
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  }

  it.each([
    ["over HTTP where that works", [], "http"],
    ["over the link of the two peers", ["--via", "peer"], "peer"],
  ])(
    "goes straight to the worker %s, and nothing of it to the store",
    async (_, options, source) => {
      await lab.startWorker("desk");
      const before = await storedBytes();
      const outcome = await endOf(train(...options));
      expect(outcome).toMatchObject({ exit: 0, state: "completed", digest });
      expect(directBytes(outcome)).toBe(BYTES + 5);
      expect(Number(outcome.sources[source])).toBeGreaterThan(MIB);
      expect(outcome.decisions.at(0)).toMatch(/^straight to the worker/);
      expect(outcome.decisions.at(-1)).toMatch(/nothing is stored/);
      expect(lab.counts.up).toBeLessThan(MIB);
      expect((await storedBytes()) - before).toBeLessThan(MIB);
      const { uploads = [] } = await lab.ask(["uploads", "ls"]);
      expect(uploads).toEqual([]);
    },
  );

  it.each([
    ["it is larger than --direct-below", ["--direct-below", "10M"], /more than/],
    ["it is to go to the store", ["--via", "s3"], /asked for/],
    ["nothing is served from here", ["--no-direct"], /serves nothing/],
  ])("goes to the store when %s", async (_, options, why) => {
    await lab.startWorker("desk");
    const outcome = await endOf(train(...options));
    expect(outcome).toMatchObject({ exit: 0, state: "completed", digest });
    expect(outcome.decisions.at(0)).toMatch(why);
    expect(await lab.ask(["pull", "data", lab.path("copy")])).toMatchObject({ bytes: BYTES + 5 });
  });

  it("goes to the store when no worker is there, and to the one that comes", async () => {
    const client = train();
    const before = await client.until(({ type }) => type === "submitted");
    await lab.startWorker("desk");
    const outcome = await endOf(client);
    expect(outcome).toMatchObject({ exit: 0, state: "completed", digest, decisions: [] });
    expect(outcomeOf(before, 0).decisions).toEqual([expect.stringMatching(/no worker is present/)]);
  });

  it.each([
    ["its worker may go away any time", "ephemeral", []],
    ["the client does not wait for the job", "desktop", ["--detach"]],
  ])("is stored, too, after it was delivered, when %s", async (_, kind, options) => {
    await lab.startWorker("desk", ["--kind", kind]);
    const client = train(...options);
    const lines = await Array.fromAsync(client.rest());
    expect(await client.exit(), client.errors).toBe(0);
    const { decisions } = outcomeOf(lines, 0);
    expect(decisions.at(-1)).toMatch(/all of it is there; it is stored, too/);
    expect(await lab.ask(["pull", "data", lab.path("copy")])).toMatchObject({ bytes: BYTES + 5 });
  });

  it("is asked for what is missing only when the worker is killed half-way (I2)", async () => {
    const { worker } = await lab.startWorker("desk");
    const client = train("--limit-up", "4M", "--via", "peer");
    const bytesOf = (line: Line) => (line["what"] === "dataset" ? Number(line["bytes"]) : 0);
    await client.until((line) => bytesOf(line) > 8 * MIB);
    await worker.kill();
    lab.start(["worker", "--name", "desk"], "desk").drain();
    const outcome = await endOf(client);
    expect(outcome).toMatchObject({ exit: 0, state: "completed", digest });
    expect(Number(outcome.sources["cache"])).toBeGreaterThan(7 * MIB);
  });

  it("is pulled from the client over its link by whoever is in the room, by command and from code", async () => {
    // Nobody takes the job: all there is of the data is here.
    const client = train("--via", "peer", "--kind", "shared");
    await client.until(({ type }) => type === "submitted");
    const { code } = await lab.ask(["room", "invite", "--role", "member"]);
    await lab.ask(["room", "join", String(code)], "elsewhere");
    const pulled = await lab.ask(["pull", "data", lab.path("copy")], "elsewhere");
    expect(pulled).toMatchObject({ bytes: BYTES + 5, sources: { peer: BYTES + 5 } });
    try {
      const saved = JSON.parse(await lab.read("owner/credentials.json")) as {
        rooms: { token: string }[];
      };
      const init = { hub: lab.hubUrl, room: ROOM, token: saved.rooms[0]?.token ?? "" };
      const RTCPeerConnection = await loadWebRtc();
      await using sdk = await createClient({
        ...init,
        ...(RTCPeerConnection && { RTCPeerConnection }),
      });
      const { sources } = await sdk.pull({ ref: "data", dir: lab.path("other") });
      expect(sources).toEqual({ peer: BYTES + 5 });
    } finally {
      closeWebRtc();
    }
    expect(lab.counts.up).toBeLessThan(MIB);
  });

  it("goes to the worker of a further attempt, too, from the client that watches", async () => {
    const release = lab.path("release");
    await lab.write("code/train.mjs", HELD_TRAINER);
    const { worker } = await lab.startWorker("desk");
    const client = train("--config", `release=${release}`);
    await client.until((line) => line["state"] === "running");
    await worker.stop();
    await lab.startWorker("bench");
    const lines = await client.until((line) => line["state"] === "running");
    await writeFile(release, "");
    const outcome = await endOf(client);
    expect(outcome).toMatchObject({ exit: 0, state: "completed" });
    const again = outcomeOf(lines, 0);
    expect(directBytes(again)).toBe(BYTES + 5);
    expect(lab.counts.up).toBeLessThan(2 * MIB);
  });

  it("goes on when its client is killed half-way and the same files are pushed again", async () => {
    await lab.startWorker("desk");
    const client = train("--limit-up", "4M");
    const seen = await client.until(
      (line) => line["what"] === "dataset" && Number(line["bytes"]) > 8 * MIB,
    );
    await client.kill();
    const job = String(seen.find(({ type }) => type === "submitted")?.["job"]);
    const viewer = lab.start(["job", "watch", job], "owner");
    await lab.ask(["push", lab.path("data"), "--announce"]);
    expect(await endOf(viewer)).toMatchObject({ exit: 0, state: "completed", digest });
  });
});
