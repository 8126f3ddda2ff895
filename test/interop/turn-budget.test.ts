// A room's budget of relayed bytes that is used up while a data set is on its way over TURN (peer-channel.md §8).
import { mkdir } from "node:fs/promises";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { writeRandomFile } from "../support/random-file.ts";
import { TurnServer } from "../support/turn-server.ts";
import type { Line } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;
const BYTES = 14 * MIB;
const BUDGET_BYTES = 2 * MIB;
const refusal = TurnServer.refusal();
if (refusal !== undefined) console.log(`skipped: ${refusal}`);

/** Says what its data hashes to, and takes a new value before it ends. */
const TRAINER = `
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
const file = readFileSync(path.join(process.env.WAYBILL_DATASET, "big.bin"));
console.log("started", createHash("sha256").update(file).digest("hex"));
createInterface({ input: process.stdin }).on("line", (line) => {
  const { type, id, values } = JSON.parse(line);
  if (type !== "adjust") return;
  console.log(JSON.stringify({ adjusted: values, id }));
  writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), "weights");
  setTimeout(() => process.exit(0), 100);
});
`;

describe.skipIf(refusal !== undefined)("a budget of relayed bytes that is used up", () => {
  let turn: TurnServer;
  let lab: Lab;
  beforeAll(async () => {
    turn = await TurnServer.open();
    const hubOptions = ["--ice-server", turn.url, "--ice-policy", "relay"];
    lab = await Lab.open({
      hubOptions: [...hubOptions, "--relay-budget", String(BUDGET_BYTES)],
      hubEnv: { WAYBILL_TURN_SECRET: turn.secret },
      counted: true,
    });
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
    await turn[Symbol.asyncDispose]();
  });

  it("moves the rest to the store, and lets control messages pass", async () => {
    await mkdir(lab.path("data"));
    await mkdir(lab.path("code"));
    const digest = await writeRandomFile(lab.path("data", "big.bin"), BYTES);
    await lab.write("code/train.mjs", TRAINER);
    const warnings: string[] = [];
    createInterface({ input: lab.hub.child.stdout ?? Readable.from([]) }).on("line", (line) => {
      if (line.includes("used up its budget of relayed bytes")) warnings.push(line);
    });
    await lab.startWorker("desk");
    const words = ["train", "--via", "peer", "--explain", "--limit-up", "2M"];
    const folders = ["-d", lab.path("data"), "--code", lab.path("code")];
    const client = lab.start([...words, ...folders, "--", "node", "train.mjs"], "owner");
    const lines = await client.until((line) => String(line["line"]).startsWith("started "));
    const { job } = lines.find(({ type }) => type === "submitted") as Line;
    await lab.ask(["job", "adjust", String(job), "lr=0.5"]);
    lines.push(...(await Array.fromAsync(client.rest())));
    expect(await client.exit(), client.errors).toBe(0);
    const said = lines.find((line) => String(line["line"]).startsWith("started "));
    expect(said?.["line"]).toBe(`started ${digest}`);
    expect(lines.findLast(({ type }) => type === "state")).toMatchObject({ state: "completed" });
    const stages = lines.flatMap((line) => (line["type"] === "command" ? [line["stage"]] : []));
    expect(stages).toEqual(["received", "applied"]);

    const transfer = lines.findLast((one) => one["what"] === "dataset" && one["done"] === true);
    const { peer, s3 } = (transfer?.["sources"] ?? {}) as Record<string, number>;
    expect(Number(peer) + Number(s3)).toBe(BYTES);
    expect(Number(s3)).toBeGreaterThan(MIB);
    expect(lab.counts.up).toBeGreaterThan(MIB);
    const decisions = lines.filter(({ type }) => type === "dataset.via").map(({ why }) => why);
    expect(decisions.at(-1)).toBe("the room's budget for relayed bytes is used up");
    const paths = lines.filter(({ type }) => type === "path").map((one) => one["path"]);
    expect(paths.at(-1)).toMatch(/^webrtc \(turn/);

    const usage = await lab.ask(["room", "usage"]);
    const peers = usage["peers"] as Line[];
    expect(usage).toMatchObject({ budgetBytes: BUDGET_BYTES, exhausted: true });
    expect(Math.max(...peers.map((one) => Number(one["sentBytes"])))).toBeGreaterThan(Number(peer));
    expect(Math.max(...peers.map((one) => Number(one["receivedBytes"])))).toBeGreaterThan(
      Number(peer),
    );
    expect(usage["usedBytes"]).toBeLessThan(BYTES);
    expect(warnings).toHaveLength(1);
  });
});
