// A data set on its way straight from client to worker, whose way breaks: the other one brings what is missing, and no
// byte twice (docs/protocol/arriving.md §8; I2, I8).
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import os from "node:os";
import path from "node:path";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FaultProxy } from "../support/fault-proxy.ts";
import { Lab } from "../support/lab.ts";
import { NetLab } from "../support/netlab.ts";
import { writeRandomFile } from "../support/random-file.ts";
import { ARRIVAL_TRAINER } from "../support/scripts.ts";
import { type Line, WaybillProcess } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;
const BYTES = 20 * MIB;
const refusal = await NetLab.refusal();
if (refusal !== undefined) console.log(`skipped: ${refusal}`);

const arrived = (line: Line) => (line["what"] === "dataset" ? Number(line["bytes"]) : 0);

/** What a client that watches its job has printed. */
function outcomeOf(lines: readonly Line[]) {
  const said = lines.map(({ line }) => (typeof line === "string" ? line : ""));
  const transfer = lines.findLast((one) => one["what"] === "dataset" && one["done"] === true);
  const sources = (transfer?.["sources"] ?? {}) as Record<string, number>;
  return {
    state: lines.findLast((line) => line["type"] === "state")?.["state"],
    digest: said.find((line) => line.startsWith("started "))?.split(" ")[2],
    sources,
    bytes: Object.values(sources).reduce((sum, bytes) => sum + bytes, 0),
    decisions: lines.filter(({ type }) => type === "dataset.via").map(({ why }) => why),
  };
}

async function layOut(home: string): Promise<{ digest: string; words: string[] }> {
  const at = (...names: string[]) => path.join(home, ...names);
  await mkdir(at("data"));
  await mkdir(at("code"));
  const digest = await writeRandomFile(at("data", "big.bin"), BYTES);
  await writeFile(at("code", "train.mjs"), ARRIVAL_TRAINER);
  const words = ["train", "-d", at("data"), "--code", at("code"), "--limit-up", "4M", "--explain"];
  return { digest, words };
}

const trainer = ["--", "node", "train.mjs"];

describe.skipIf(refusal !== undefined)("a direct way that is cut half-way", () => {
  const S3 = "http://10.88.0.2:8701";
  let net: NetLab;
  let home: string;
  let digest: string;
  let words: string[];
  const running: WaybillProcess[] = [];

  beforeAll(async () => {
    home = await mkdtemp(path.join(os.tmpdir(), "waybill-cut-"));
    ({ digest, words } = await layOut(home));
    net = await NetLab.open({
      links: [
        { from: "client", to: "hub" },
        { from: "desk", to: "hub" },
        { from: "client", to: "desk" },
      ],
    });
    // One address of the hub for all, as a hub has.
    await net.run("desk", ["ip", "route", "add", net.address("hub", "client"), "dev", "wan1"]);
    const args = [
      "--host",
      "0.0.0.0",
      "--s3-public-endpoint",
      S3,
      "--data",
      path.join(home, "hub"),
    ];
    const hub = start("hub", ["hub", ...args]);
    await hub.next();
    hub.drain();
    await last(start("client", ["room", "create", "lab"]));
    const { code } = await last(start("client", ["room", "invite", "--role", "worker"]));
    const worker = start("desk", ["worker", "--join", String(code), "--name", "desk"]);
    await worker.next();
    worker.drain();
  });
  afterAll(async () => {
    for (const one of running.toReversed()) await one.stop();
    await net?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  function start(host: string, args: readonly string[]): WaybillProcess {
    const settings = {
      WAYBILL_DATA: path.join(home, `${host}-data`),
      ...(host === "hub"
        ? {}
        : { WAYBILL_HUB: `http://${net.address("hub", "client")}:8700`, WAYBILL_ROOM: "lab" }),
    };
    const started = new WaybillProcess(args, settings, { prefix: net.command(host) });
    running.push(started);
    return started;
  }

  async function last(command: WaybillProcess): Promise<Line> {
    const lines = await Array.fromAsync(command.rest());
    expect(await command.exit(), command.errors).toBe(0);
    return lines.at(-1) ?? {};
  }

  it.each([
    ["HTTP", "auto", "http"],
    ["the link of the peers", "peer", "peer"],
  ])("%s: the store takes over, and brings only what is missing", async (_, via, source) => {
    const [, , between] = net.links;
    await between?.shape({});
    // Other bytes each time: the worker keeps what it has had.
    digest = await writeRandomFile(path.join(home, "data", "big.bin"), BYTES);
    const client = start("client", [...words, "--via", via, ...trainer]);
    const before = await client.until((line) => arrived(line) > 8 * MIB);
    await between?.shape({ lossPercent: 100 });
    const lines = [...before, ...(await Array.fromAsync(client.rest()))];
    expect(await client.exit(), client.errors).toBe(0);
    const outcome = outcomeOf(lines);
    expect(outcome).toMatchObject({ state: "completed", digest, bytes: BYTES });
    expect(outcome.sources[source]).toBeGreaterThan(7 * MIB);
    expect(outcome.sources["s3"]).toBeGreaterThan(MIB);
    expect(outcome.decisions.at(-1)).toMatch(/no byte has left for 10 s/);
  });
});

describe("a store that is gone half-way", () => {
  let lab: Lab;
  let store: FaultProxy;
  let digest: string;
  let words: string[];
  beforeAll(async () => {
    const port = await freePort();
    store = await new FaultProxy(() => port).start();
    const hubOptions = ["--s3-port", String(port), "--s3-public-endpoint", store.url];
    lab = await Lab.open({ hubOptions });
    ({ digest, words } = await layOut(lab.home));
    await lab.startWorker("desk");
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  });

  it("is done without: the rest comes from the machine that pushes", async () => {
    const client = lab.start([...words, "--via", "s3", ...trainer], "owner");
    const before = await client.until((line) => arrived(line) > 8 * MIB);
    store.cut();
    before.push(
      ...(await client.until((line) => line["type"] === "state" && line["state"] === "running")),
    );
    // The model goes there, and what is left of the push.
    store.heal();
    const lines = [...before, ...(await Array.fromAsync(client.rest()))];
    expect(await client.exit(), client.errors).toBe(0);
    const outcome = outcomeOf(lines);
    expect(outcome).toMatchObject({ state: "completed", digest, bytes: BYTES });
    expect(outcome.sources["http"]).toBeGreaterThan(5 * MIB);
    expect(await lab.ask(["pull", "data", lab.path("copy")])).toMatchObject({ bytes: BYTES });
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
