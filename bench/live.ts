// npm run bench:live: how long after a trainer prints a line a viewer's code has it, and how long after a job has
// completed the viewer knows; directly and through the hub's relay, on loopback and with 100 ms of round trip
// between viewer and the rest. Hub, worker, trainer and viewer are processes of one machine, with one clock.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { run } from "../test/support/netlab/commands.ts";
import type { JobAnswer, JobOrder, ViewerInit } from "./load/viewer.ts";
import { type BenchHub, WAYBILL, startBenchHub } from "./setup/hub.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { percentile } from "./setup/percentile.ts";
import { type Used, usedBy } from "./setup/proc.ts";
import { report } from "./setup/report.ts";
import { type Scope, inScope, start } from "./setup/scope.ts";
import { openSite } from "./setup/site.ts";
import { HERE, type Host } from "./setup/store.ts";

const options = readOptions({ mib: 1, rounds: 5, extra: ["lines", "jobs"] });
/** Of one job. */
const lines = options.extra("lines", 250);
/** Of one round, each with a completion. */
const jobs = options.extra("jobs", 5);
const ROOM = "live";

/** Gives the viewer time for its direct channel, then prints a line every 5 ms with the time in it. */
const TRAINER = `
import { readFileSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
const { lines } = JSON.parse(readFileSync(process.env.WAYBILL_CONFIG, "utf8"));
const now = () => Number(process.hrtime.bigint()) / 1e6;
writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), Buffer.alloc(100_000, 1));
const rows = Array.from({ length: 100 }, (_, frame) => ({ frame, points: Array(26).fill(1 / 3) }));
writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "predictions.json"), JSON.stringify(rows));
let step = 0;
setTimeout(() => {
  const timer = setInterval(() => {
    step += 1;
    console.log(JSON.stringify({ step, printed: now(), loss: 1 / step }));
    if (step === lines) clearInterval(timer);
  }, 5);
}, 1500);
process.on("exit", () => writeSync(1, JSON.stringify({ ending: now() }) + "\\n"));
`;

type Condition = { readonly path: ViewerInit["path"]; readonly rttMs: number };
type Round = {
  readonly lineMs: number[];
  readonly completedMs: number[];
  readonly publishedMs: number[];
  readonly resultMs: number[];
  readonly predictedMs: number[];
};
type Measured = Condition & {
  readonly rounds: readonly Round[];
  readonly used: Readonly<Record<"hub" | "worker" | "viewer", Used>>;
};

const CONDITIONS: readonly Condition[] = [0, 100].flatMap((rttMs) =>
  (["webrtc", "relay"] as const).map((path) => ({ path, rttMs })),
);

async function firstLine(child: ChildProcess): Promise<Record<string, unknown>> {
  if (child.stdout === null) throw new Error("no output to read");
  const reader = createInterface({ input: child.stdout });
  const [line] = (await once(reader, "line")) as [string];
  reader.on("line", () => undefined);
  return JSON.parse(line) as Record<string, unknown>;
}

async function ask(
  hub: BenchHub,
  at: Host,
  args: readonly string[],
): Promise<Record<string, unknown>> {
  const env = Object.entries(hub.env).map(([key, value]) => `${key}=${value ?? ""}`);
  const [program = "", ...rest] = at.command([
    process.execPath,
    WAYBILL,
    ...args,
    "--room",
    ROOM,
    "--json",
  ]);
  const printed = await run("env", "-i", ...env, program, ...rest);
  return JSON.parse(printed.trim().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
}

async function startWorker(scope: Scope, hub: BenchHub, at: Host): Promise<ChildProcess> {
  const { code } = await ask(hub, at, ["room", "invite", "--role", "worker"]);
  const argv = [
    process.execPath,
    WAYBILL,
    "worker",
    "--join",
    String(code),
    "--name",
    "desk",
    "--json",
  ];
  const worker = start(at.command(argv), {
    env: { ...hub.env, WAYBILL_DATA: scope.path("worker") },
    stdio: ["ignore", "pipe", "inherit"],
  });
  await firstLine(worker);
  return worker;
}

async function startViewer(
  hub: BenchHub,
  at: Host,
  path: ViewerInit["path"],
): Promise<ChildProcess> {
  const saved = JSON.parse(
    await readFile(`${hub.env["WAYBILL_DATA"] ?? ""}/credentials.json`, "utf8"),
  ) as { rooms: { token: string }[] };
  const init: ViewerInit = { hub: hub.url, room: ROOM, token: saved.rooms[0]?.token ?? "", path };
  const script = fileURLToPath(new URL("load/viewer.ts", import.meta.url));
  const viewer = start(at.command([process.execPath, script, JSON.stringify(init)]), {
    env: hub.env,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  await once(viewer, "message");
  return viewer;
}

async function oneJob(viewer: ChildProcess, order: JobOrder): Promise<JobAnswer> {
  const answered = new AbortController();
  const { signal } = answered;
  const ended = once(viewer, "exit", { signal }).then(() => {
    throw new Error("the viewer ended");
  });
  const answers = once(viewer, "message", { signal }) as Promise<[JobAnswer]>;
  ended.catch(() => undefined);
  answers.catch(() => undefined);
  viewer.send(order);
  const [answer] = await Promise.race([answers, ended]).finally(() => answered.abort());
  return answer;
}

async function measureOne(condition: Condition): Promise<Measured> {
  let measured: Measured | undefined;
  await inScope(async (scope) => {
    const { path, rttMs } = condition;
    const site =
      rttMs === 0
        ? { hub: await startBenchHub(scope, { name: "live" }), client: HERE, server: HERE }
        : await openSite(scope, { link: { rttMs }, store: "embedded" });
    const { hub, client, server } = site;
    await hub.createRoom(ROOM, server);
    const worker = await startWorker(scope, hub, server);
    await mkdir(scope.path("code"));
    await writeFile(scope.path("code", "train.mjs"), TRAINER);
    const code = String((await ask(hub, server, ["push", scope.path("code")]))["artifact"]);
    const viewer = await startViewer(hub, client, path);
    const order = { code, lines };
    await oneJob(viewer, order);
    const pids = { hub: hub.pid, worker: worker.pid ?? 0, viewer: viewer.pid ?? 0 };
    const before = await usedByAll(pids);
    const rounds: Round[] = [];
    for (let round = 1; round <= options.rounds; round++) {
      const one: Round = {
        lineMs: [],
        completedMs: [],
        publishedMs: [],
        resultMs: [],
        predictedMs: [],
      };
      for (let job = 0; job < jobs; job++) {
        const answer = await oneJob(viewer, order);
        one.lineMs.push(...answer.lineMs);
        one.completedMs.push(answer.completedMs);
        one.publishedMs.push(answer.sincePublishedMs);
        one.resultMs.push(answer.resultMs);
        one.predictedMs.push(answer.predictedMs);
      }
      note(
        `${path}, ${rttMs} ms, round ${round}: p50 ${percentile(one.lineMs, 0.5).toFixed(1)} ms`,
      );
      rounds.push(one);
    }
    const after = await usedByAll(pids);
    const since = (name: keyof typeof pids) => ({
      cpuSeconds: after[name].cpuSeconds - before[name].cpuSeconds,
      peakRssBytes: after[name].peakRssBytes,
    });
    viewer.disconnect();
    const used = { hub: since("hub"), worker: since("worker"), viewer: since("viewer") };
    measured = { ...condition, rounds, used };
  });
  if (measured === undefined) throw new Error("nothing was measured");
  return measured;
}

async function usedByAll<K extends string>(pids: Record<K, number>): Promise<Record<K, Used>> {
  const all = await Promise.all(
    Object.entries<number>(pids).map(async ([name, pid]) => [name, await usedBy(pid)] as const),
  );
  return Object.fromEntries(all) as Record<K, Used>;
}

/** What is asked: beyond the network's own way, which is half a round trip. */
const ASKED = { webrtc: [10, 50], relay: [25, 100] } as const;
const COMPLETION_MS = 100;

function row({ path, rttMs, rounds, used }: Measured): string[] {
  const oneWay = rttMs / 2;
  const of = (pick: (round: Round) => readonly number[], share: number) =>
    median(rounds.map((round) => percentile(pick(round), share)));
  const [p50, p99] = ASKED[path];
  const completed = rounds.flatMap((round) => round.completedMs);
  const cpu = Object.values(used).map(({ cpuSeconds }) => cpuSeconds.toFixed(1));
  const rss = Object.values(used).map(({ peakRssBytes }) => formatBytes(peakRssBytes));
  return [
    path === "webrtc" ? "direct" : "relay",
    `${rttMs} ms`,
    String(rounds.reduce((sum, round) => sum + round.lineMs.length, 0)),
    `${of((round) => round.lineMs, 0.5).toFixed(1)} (≤ ${p50 + oneWay})`,
    `${of((round) => round.lineMs, 0.99).toFixed(1)} (≤ ${p99 + oneWay})`,
    String(completed.length),
    median(completed).toFixed(0),
    `${percentile(completed, 0.99).toFixed(0)} (≤ ${COMPLETION_MS + oneWay})`,
    median(rounds.flatMap((round) => round.publishedMs)).toFixed(0),
    ...resultTimes(rounds),
    cpu.join(" / "),
    rss.join(" / "),
  ];
}

/** Median and p99 of what viewers waited for a result. */
function resultTimes(rounds: readonly Round[]): string[] {
  const ms = rounds.flatMap((round) => round.resultMs);
  const predicted = rounds.flatMap((round) => round.predictedMs);
  return [median(ms).toFixed(0), percentile(ms, 0.99).toFixed(0), median(predicted).toFixed(0)];
}

const all: Measured[] = [];
for (const condition of CONDITIONS) {
  if (options.only.length > 0 && !options.only.includes(`${condition.path}${condition.rttMs}`))
    continue;
  all.push(await measureOne(condition));
}
const head = ["path", "RTT", "lines", "p50 ms", "p99 ms", "completions", "median ms", "p99 ms"];
const more = [
  "from published, median ms",
  "result, median ms",
  "p99 ms",
  "its predictions, median ms",
  "CPU s: hub / worker / viewer",
  "peak RSS, the same",
];
const notes = [
  `Medians of ${options.rounds} rounds of ${jobs} jobs with ${lines} lines each, 5 ms apart; lines that came by another path while the channel was being set up are not counted. In brackets what is asked for, half the round trip included. A completion is timed from the \`completed\` event's own time, at which it is on the worker's disk and not yet at the hub; p99 is over all of them. A result is timed from the trainer's last instruction, before its process is gone, until the viewer has the \`result\` event; its predictions, 100 of 500 bytes, come behind it.`,
];
await report("live", options, [
  {
    title: "From the trainer's line to the viewer",
    rows: [[...head, ...more], ...all.map(row)],
    notes,
    data: all,
  },
]);
