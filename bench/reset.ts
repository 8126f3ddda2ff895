// npm run bench:reset: every TCP connection is reset when it is 6 s old, on links of 20 Mbit/s, in transfers that
// take 40 s and more: how many succeed, and how long they take beside the same link without resets.
// Several links work side by side (`--lanes`); each has a hub and a store of its own.
import { rm } from "node:fs/promises";
import { digestOf } from "../test/support/random-file.ts";
import { pullCommand, pushCommand, s3Peers } from "./peers/commands.ts";
import { MIB, writeRandom } from "./setup/data.ts";
import { type Sample, measure, median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { report } from "./setup/report.ts";
import { type Scope, inScope } from "./setup/scope.ts";
import { type Site, openSite } from "./setup/site.ts";

const options = readOptions({
  mib: 96,
  rounds: 100,
  extra: ["lanes", "mbit", "age", "baseline", "peers"],
});
const bytes = options.mib * MIB;
const lanes = options.extra("lanes", 6);
const mbit = options.extra("mbit", 20);
const maxAgeMs = options.extra("age", 6) * 1000;
/** Transfers without resets, and those of each peer. */
const baselineRounds = options.extra("baseline", 8);
const peerRounds = options.extra("peers", 4);
const limitSeconds = Math.max(120, (10 * bytes * 8) / (mbit * 1e6));

type Lane = Site & { readonly file: string; readonly digest: string; readonly index: number };
type Move = (lane: Lane, round: number) => Promise<Sample>;
type Result = { readonly seconds: number[]; readonly failures: string[] };

async function openLane(scope: Scope, index: number): Promise<Lane> {
  const link = { rttMs: 20, rateMbit: mbit, congestion: "cubic" } as const;
  const name = `lane${index}`;
  const site = await openSite(scope, { link, store: options.store, name });
  const file = scope.path(`random-${index}.bin`);
  await writeRandom(file, bytes);
  const lane = { ...site, file, digest: await digestOf(file), index };
  await site.hub.createRoom("pull", site.server);
  await measure(site.server.command(pushCommand(file, "pull")), site.hub.env);
  return lane;
}

const push: Move = async ({ hub, client, server, file }, round) => {
  const room = `push-${round}`;
  await hub.createRoom(room, server);
  return measure(client.command(pushCommand(file, room)), hub.env, limitSeconds);
};

function puller(scope: Scope): Move {
  return async ({ hub, client, index, digest }, round) => {
    const folder = scope.path(`pulled-${index}-${round}`);
    const command = client.command(pullCommand("bench", folder, "pull"));
    const sample = await measure(command, hub.env, limitSeconds);
    const pulled = await digestOf(`${folder}/random-${index}.bin`);
    await rm(folder, { recursive: true });
    if (pulled !== digest) throw new Error("the pulled bytes are not those that were pushed");
    return sample;
  };
}

/** Peers push; each with what it does by itself about lost connections. */
async function peerMoves(scope: Scope, lane: Lane): Promise<Map<string, Move>> {
  const { env, tuned, aws, rclone, s5cmd } = await s3Peers(scope, lane.hub.store, lane.client);
  const to = (name: string, round: number) => `bench/${name}-${lane.index}-${round}`;
  const moves = new Map<string, Move>([
    [
      "aws s3 cp",
      (one, round) =>
        measure(
          aws("cp", "--only-show-errors", one.file, `s3://${to("aws", round)}`),
          env,
          limitSeconds,
        ),
    ],
    [
      "aws s3 cp, tuned",
      (one, round) =>
        measure(
          aws("cp", "--only-show-errors", one.file, `s3://${to("tuned", round)}`),
          tuned,
          limitSeconds,
        ),
    ],
    [
      "rclone",
      (one, round) =>
        measure(rclone("copyto", one.file, `peer:${to("rclone", round)}`), env, limitSeconds),
    ],
  ]);
  if (s5cmd !== undefined)
    moves.set("s5cmd", (one, round) =>
      measure(s5cmd("cp", one.file, `s3://${to("s5cmd", round)}`), env, limitSeconds),
    );
  return moves;
}

/** `rounds` transfers, spread over the lanes. */
async function repeat(
  name: string,
  all: readonly Lane[],
  rounds: number,
  move: Move,
): Promise<Result> {
  const seconds: number[] = [];
  const failures: string[] = [];
  let next = 0;
  const work = async (lane: Lane) => {
    while (next < rounds) {
      const round = next++;
      try {
        const { wallSeconds } = await move(lane, round);
        seconds.push(wallSeconds);
        note(`${name} ${round + 1} of ${rounds}: ${wallSeconds.toFixed(1)} s`);
      } catch (error) {
        failures.push((error as Error).message);
        note(`${name} ${round + 1} of ${rounds}: ${(error as Error).message.slice(-300)}`);
      }
    }
  };
  await Promise.all(all.map(work));
  return { seconds, failures };
}

await inScope(async (scope) => {
  const all: Lane[] = [];
  for (let index = 0; index < Math.min(lanes, options.rounds); index++)
    all.push(await openLane(scope, index));
  const pull = puller(scope);
  const free = {
    push: await repeat("push, no resets", all, baselineRounds, (lane, n) => push(lane, n + 10_000)),
    pull: await repeat("pull, no resets", all, baselineRounds, (lane, n) => pull(lane, n + 10_000)),
  };
  const limits = all.map(({ lab }) => lab.limitConnectionAge("server", maxAgeMs));
  const runs = new Map<string, { result: Result; freeSeconds: number }>();
  const add = (name: string, result: Result, base: Result) =>
    runs.set(name, { result, freeSeconds: median(base.seconds) });
  add("waybill push", await repeat("push", all, options.rounds, push), free.push);
  add("waybill pull", await repeat("pull", all, options.rounds, pull), free.pull);
  const [first] = all;
  for (const [name] of first === undefined ? [] : await peerMoves(scope, first)) {
    if (options.only.length > 0 && !options.only.some((word) => name.includes(word))) continue;
    const moves = new Map<Lane, Move | undefined>();
    for (const lane of all) moves.set(lane, (await peerMoves(scope, lane)).get(name));
    const move: Move = (lane, n) => (moves.get(lane) ?? push)(lane, n);
    add(name, await repeat(name, all, peerRounds, move), free.push);
  }
  const resets = limits.reduce((sum, limit) => sum + limit.resets, 0);
  const rows = [...runs].map(([name, { result, freeSeconds }]) => {
    const { seconds, failures } = result;
    const tried = seconds.length + failures.length;
    const some = seconds.length > 0;
    return [
      name,
      `${seconds.length} of ${tried}`,
      some ? median(seconds).toFixed(1) : "–",
      some ? Math.max(...seconds).toFixed(1) : "–",
      freeSeconds.toFixed(1),
      some ? (median(seconds) / freeSeconds).toFixed(2) : "–",
      some ? (Math.max(...seconds) / freeSeconds).toFixed(2) : "–",
    ];
  });
  const head = [
    "command",
    "succeeded",
    "median s",
    "worst s",
    "ours without resets, s",
    "ratio",
    "worst ratio",
  ];
  await report("reset", options, [
    {
      title: `Every connection reset at ${maxAgeMs / 1000} s: ${options.mib} MiB, ${mbit} Mbit/s, 20 ms, cubic, ${options.store}`,
      rows: [head, ...rows],
      notes: [`${resets} connections were reset.`],
      data: { runs: [...runs], free },
    },
  ]);
});
