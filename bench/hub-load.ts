// npm run bench:hub: one hub with its embedded store, 5,000 idle peers on real WebSockets, then 500 rooms in which two
// peers send each other a relayed message every second. How much memory an idle peer costs, how late messages are,
// how busy the hub's process is. The clients are three processes of the same machine.
import { type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { HubClient } from "@waybill/sdk/hub-client";
import { RoomId, decodeValue } from "@waybill/sdk/protocol";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { ADMIN_TOKEN, figuresOf, startFiguredHub } from "./load/figured-hub.ts";
import type { LoadAnswer, LoadOrder, LoadRoom } from "./load/peers.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { percentile } from "./setup/percentile.ts";
import { report } from "./setup/report.ts";
import { inScope, start, stop } from "./setup/scope.ts";
import { freePort } from "./setup/store.ts";

const options = readOptions({ mib: 1, rounds: 5, extra: ["idle", "rooms", "seconds"] });
const idlePeers = options.extra("idle", 5000);
const roomCount = options.extra("rooms", 500);
const seconds = options.extra("seconds", 20);
const CLIENTS = 3;
/** Of each room: those that talk come first. */
const TALKERS = 2;
/** Garbage of hellos and proofs is collected by then. */
const SETTLE_MS = 5000;

async function tell(child: ChildProcess, order: LoadOrder): Promise<LoadAnswer> {
  const answer = once(child, "message") as Promise<[LoadAnswer]>;
  child.send(order);
  const [said] = await answer;
  if (said.error !== undefined) throw new Error(said.error);
  return said;
}

type Round = {
  readonly idleBytes: number;
  readonly idleHeapBytes: number;
  readonly idleCpuShare: number;
  readonly connectSeconds: number;
  readonly messages: number;
  readonly lost: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly cpuShare: number;
  readonly loopP99Ms: number;
  readonly loopMaxMs: number;
  readonly rssBytes: number;
};

await inScope(async (scope) => {
  const ports = { hub: await freePort(), s3: await freePort() };
  let hub = await startFiguredHub(scope, ports);
  const admin = new HubClient({ url: hub.url });
  const rooms: LoadRoom[] = [];
  for (let i = 0; i < roomCount; i++) {
    const name = decodeValue(RoomId, `load-${i}`, "room");
    const body = { name, adminToken: ADMIN_TOKEN };
    rooms.push(await admin.call("createRoom", { body }));
  }
  const script = fileURLToPath(new URL("load/peers.ts", import.meta.url));
  const clients = Array.from({ length: CLIENTS }, () =>
    start([process.execPath, script], { stdio: ["ignore", "inherit", "inherit", "ipc"] }),
  );
  const all = (orderOf: (index: number) => LoadOrder) =>
    Promise.all(clients.map((client, index) => tell(client, orderOf(index))));
  const idlePerRoom = Math.ceil(idlePeers / roomCount);
  const peersPerRoom = TALKERS + idlePerRoom;
  await all((index) => ({
    do: "join",
    url: hub.url,
    rooms: rooms.filter((_, i) => i % CLIENTS === index),
    peersPerRoom,
  }));
  note(`${rooms.length * peersPerRoom} members have joined ${rooms.length} rooms`);

  const rounds: Round[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    await stop(hub.child);
    hub = await startFiguredHub(scope, ports);
    await sleep(SETTLE_MS);
    const before = await figuresOf(hub);
    const began = performance.now();
    await all(() => ({ do: "connect", from: TALKERS, until: peersPerRoom }));
    const connectSeconds = (performance.now() - began) / 1000;
    await sleep(SETTLE_MS);
    const connected = await figuresOf(hub);
    await sleep(seconds * 500);
    const idle = await figuresOf(hub);
    await all(() => ({ do: "connect", from: 0, until: TALKERS }));
    await sleep(SETTLE_MS);
    const quiet = await figuresOf(hub);
    const answers = await all(() => ({ do: "talk", seconds }));
    const busy = await figuresOf(hub);
    await all(() => ({ do: "leave" }));
    const latencies = answers.flatMap(({ latenciesMs = [] }) => latenciesMs);
    const peers = rooms.length * idlePerRoom;
    const sent = answers.reduce((sum, answer) => sum + (answer.sent ?? 0), 0);
    const one: Round = {
      idleBytes: (idle.rssBytes - before.rssBytes) / peers,
      idleHeapBytes: (idle.heapUsedBytes - before.heapUsedBytes) / peers,
      idleCpuShare: (idle.cpuSeconds - connected.cpuSeconds) / (seconds / 2),
      connectSeconds,
      messages: latencies.length,
      lost: sent - latencies.length,
      p50Ms: percentile(latencies, 0.5),
      p99Ms: percentile(latencies, 0.99),
      maxMs: percentile(latencies, 1),
      cpuShare: (busy.cpuSeconds - quiet.cpuSeconds) / (seconds + 0.5),
      loopP99Ms: busy.loopDelayMs.p99,
      loopMaxMs: busy.loopDelayMs.max,
      rssBytes: busy.rssBytes,
    };
    rounds.push(one);
    note(`round ${round}: ${JSON.stringify(one)}`);
  }

  const of = (pick: (round: Round) => number) => median(rounds.map(pick));
  const worst = (pick: (round: Round) => number) => Math.max(...rounds.map(pick));
  const line = (name: string, pick: (round: Round) => number, text: (value: number) => string) => [
    name,
    text(of(pick)),
    text(worst(pick)),
  ];
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  const share = (value: number) => `${(value * 100).toFixed(1)} %`;
  await report("hub-load", options, [
    {
      title: `${rooms.length * idlePerRoom} idle peers, then ${rooms.length} rooms with ${TALKERS} messages a second each, ${options.rounds} runs of ${seconds} s`,
      rows: [
        ["what", "median", "worst run"],
        line("memory per idle peer (RSS)", ({ idleBytes }) => idleBytes, formatBytes),
        line("of which JavaScript heap", ({ idleHeapBytes }) => idleHeapBytes, formatBytes),
        line("hub's CPU with idle peers, of one core", ({ idleCpuShare }) => idleCpuShare, share),
        line(
          "connecting all",
          ({ connectSeconds }) => connectSeconds,
          (s) => `${s.toFixed(1)} s`,
        ),
        line("relay latency p50", ({ p50Ms }) => p50Ms, ms),
        line("relay latency p99", ({ p99Ms }) => p99Ms, ms),
        line("relay latency, largest", ({ maxMs }) => maxMs, ms),
        line("messages lost", ({ lost }) => lost, String),
        line("hub's CPU while relaying, of one core", ({ cpuShare }) => cpuShare, share),
        line("hub's event loop delay p99", ({ loopP99Ms }) => loopP99Ms, ms),
        line("hub's RSS at the end", ({ rssBytes }) => rssBytes, formatBytes),
      ],
      notes: [
        "Latency is from one peer's `send` to the other's listener, clients' own queueing included; all processes share the two cores.",
      ],
      data: rounds,
    },
  ]);
});
