// npm run bench:registry: a room of 10,000 models on one hub with its embedded store. How long it takes to resolve an
// alias, to list, to publish, and until 64 publishers at once are all in; what the hub's process uses meanwhile, and how
// late its event loop is for other rooms. Beside MLflow's model registry with as many model versions, where it is installed.
import { readFile } from "node:fs/promises";
import { type Alias, RoomId, decodeValue } from "@waybill/sdk/protocol";
import { HubClient, generateIdentityKey, loadIdentity } from "@waybill/sdk/hub-client";
import { formatBytes } from "../packages/waybill/src/cli/render/format.ts";
import { ADMIN_TOKEN, figuresOf, startFiguredHub } from "./load/figured-hub.ts";
import {
  MODEL_TYPE,
  type RegistryClient,
  type Waiting,
  fillRegistry,
  uploadModels,
} from "./load/registry-room.ts";
import { startMlflow } from "./peers/mlflow.ts";
import { median, note } from "./setup/measure.ts";
import { readOptions } from "./setup/options.ts";
import { percentile } from "./setup/percentile.ts";
import { report } from "./setup/report.ts";
import { inScope, stop } from "./setup/scope.ts";
import { freePort, s3Client } from "./setup/store.ts";

const options = readOptions({ mib: 1, rounds: 3, extra: ["models", "publishers", "calls"] });
const models = options.extra("models", 10_000);
const publishers = options.extra("publishers", 64);
const calls = options.extra("calls", 200);
/** A publish writes the whole registry: fewer of them are enough. */
const PUBLISH_SHARE = 0.1;
const WARM_UP = 3;

type Round = {
  readonly resolveMs: readonly number[];
  readonly listMs: readonly number[];
  readonly publishMs: readonly number[];
  readonly crowdMs: readonly number[];
  /** Publishers that got an error for an answer. */
  readonly crowdFailed: number;
  readonly resolveCpuMs: number;
  readonly publishCpuMs: number;
  readonly crowdLoopMaxMs: number;
  readonly peakRssBytes: number;
};

async function timed(count: number, run: (index: number) => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const startMs = performance.now();
    await run(i);
    times.push(performance.now() - startMs);
  }
  return times;
}

/** One round of everything; `waiting` gives models that nobody has published. */
async function runRound(
  client: RegistryClient,
  waiting: (count: number, batch: string) => Promise<Waiting[]>,
  name: string,
): Promise<Round> {
  const one = await waiting(Math.ceil(calls * PUBLISH_SHARE) + WARM_UP, `${name}-one`);
  const crowd = await waiting(publishers, `${name}-crowd`);
  await timed(WARM_UP, (i) => client.resolve(i));
  for (const each of one.splice(0, WARM_UP)) await client.publish(each);
  const before = await client.figures();
  const resolveMs = await timed(calls, (i) => client.resolve((i * 7919) % models));
  const resolved = await client.figures();
  const listMs = await timed(Math.ceil(calls / 4), () => client.list());
  const listed = await client.figures();
  const publishMs = await timed(one.length, async (i) => {
    const each = one[i];
    if (each !== undefined) await client.publish(each);
  });
  const published = await client.figures();
  const outcomes = await Promise.allSettled(
    crowd.map(async (each) => {
      const startMs = performance.now();
      await client.publish(each);
      return performance.now() - startMs;
    }),
  );
  const crowdMs = outcomes.flatMap((each) => (each.status === "fulfilled" ? each.value : []));
  const after = await client.figures();
  return {
    resolveMs,
    listMs,
    publishMs,
    crowdMs,
    crowdFailed: publishers - crowdMs.length,
    resolveCpuMs: ((resolved.cpuSeconds - before.cpuSeconds) * 1000) / calls,
    publishCpuMs: ((published.cpuSeconds - listed.cpuSeconds) * 1000) / one.length,
    crowdLoopMaxMs: after.loopMaxMs,
    peakRssBytes: after.peakRssBytes,
  };
}

async function credentialsIn(file: string | undefined): Promise<NodeJS.ProcessEnv> {
  const text = file === undefined ? "" : await readFile(file, "utf8");
  const value = (key: string) => new RegExp(`^${key}\\s*=\\s*(\\S+)`, "m").exec(text)?.[1] ?? "";
  return {
    AWS_ACCESS_KEY_ID: value("aws_access_key_id"),
    AWS_SECRET_ACCESS_KEY: value("aws_secret_access_key"),
  };
}

await inScope(async (scope) => {
  const ports = { hub: await freePort(), s3: await freePort() };
  const hub = await startFiguredHub(scope, ports);
  const room = decodeValue(RoomId, "zoo", "room");
  const body = { name: room, adminToken: ADMIN_TOKEN };
  const { token } = await new HubClient({ url: hub.url }).call("createRoom", { body });
  const identity = await loadIdentity(await generateIdentityKey());
  const client = new HubClient({ url: hub.url, credential: { token, identity } });
  const s3 = s3Client({
    endpoint: hub.s3.endpoint,
    env: await credentialsIn(hub.s3.credentialsFile),
  });
  const bytes = await fillRegistry(s3, room, models);
  note(`a registry of ${models} models, ${formatBytes(bytes)}`);
  const params = { room };
  const ours: RegistryClient = {
    resolve: (index) =>
      client.call("showModel", { params: { room, model: `alias-${index}` as Alias } }),
    list: () => client.call("listModels", { params, query: { type: MODEL_TYPE, limit: "50" } }),
    async publish({ digest, publication }) {
      const reserved = { digest, owner: `push-${digest.slice(0, 16)}`, modelType: MODEL_TYPE };
      const { model } = await client.call("reserveModel", { params, body: reserved });
      await client.call("publishModel", { params, body: { ...publication, id: model } });
    },
    async figures() {
      const { cpuSeconds, peakRssBytes, loopDelayMs } = await figuresOf(hub);
      return { cpuSeconds, peakRssBytes, loopMaxMs: loopDelayMs.max };
    },
  };
  const coldMs = (await timed(1, ours.resolve))[0] ?? 0;
  const rounds: Round[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    const upload = (count: number, batch: string) => uploadModels(s3, room, count, batch);
    rounds.push(await runRound(ours, upload, `r${round}`));
    note(`round ${round}: ${figuresLine(rounds.at(-1))}`);
  }
  const { models: all } = await client.call("readRegistry", { params });
  const expected =
    models + options.rounds * (publishers + Math.ceil(calls * PUBLISH_SHARE) + WARM_UP);
  if (Object.keys(all).length !== expected) throw new Error("models are missing");
  await stop(hub.child);

  const peerRounds: Round[] = [];
  const mlflow = await startMlflow(scope, models);
  const peer = mlflow?.client;
  const peerRoundCount = peer === undefined ? 0 : options.rounds;
  for (let round = 1; round <= peerRoundCount; round++) {
    const named = async (count: number, batch: string) =>
      Array.from({ length: count }, (_, i): Waiting => {
        const training = { trained_by: "ada", metrics: {}, config: {} };
        const alias = `${batch}-${i}` as Alias;
        return {
          digest: "",
          publication: { artifact: "" as never, model_type: MODEL_TYPE, alias, tags: [], training },
        };
      });
    if (peer !== undefined) peerRounds.push(await runRound(peer, named, `r${round}`));
    note(`mlflow round ${round}: ${figuresLine(peerRounds.at(-1))}`);
  }

  const ms = (value: number) => `${value.toFixed(1)} ms`;
  const both = (name: string, pick: (round: Round) => number, text: (value: number) => string) => [
    name,
    text(median(rounds.map(pick))),
    ...(mlflow === undefined ? [] : [text(median(peerRounds.map(pick)))]),
  ];
  const at =
    (key: "resolveMs" | "listMs" | "publishMs" | "crowdMs", share: number) => (round: Round) =>
      percentile(round[key], share);
  await report("registry", options, [
    {
      title: `A room of ${models} models (${formatBytes(bytes)}), medians of ${options.rounds} rounds`,
      rows: [
        ["what", "waybill hub", ...(mlflow === undefined ? [] : [mlflow.name])],
        both("resolve an alias, median", at("resolveMs", 0.5), ms),
        both("resolve an alias, p99", at("resolveMs", 0.99), ms),
        both("list the newest 50, median", at("listMs", 0.5), ms),
        both("publish with an alias, median", at("publishMs", 0.5), ms),
        both("publish with an alias, p99", at("publishMs", 0.99), ms),
        both(`${publishers} publishers at once, median`, at("crowdMs", 0.5), ms),
        both(`${publishers} publishers at once, p99`, at("crowdMs", 0.99), ms),
        both("of those that failed", ({ crowdFailed }) => crowdFailed, String),
        both("server's CPU for a resolve", ({ resolveCpuMs }) => resolveCpuMs, ms),
        both("server's CPU for a publish", ({ publishCpuMs }) => publishCpuMs, ms),
        both("server's peak RSS", ({ peakRssBytes }) => peakRssBytes, formatBytes),
      ],
      notes: [
        `The first question after a start reads the whole document: ${ms(coldMs)}. With ${publishers} publishers at once the hub's event loop was late by ${ms(median(rounds.map(({ crowdLoopMaxMs }) => crowdLoopMaxMs)))} at most.`,
        "Publishing is an id and the conditional write for us, a version and an alias for MLflow (two calls each), without the upload of bytes. Client and server share the cores.",
      ],
      data: { coldMs, rounds, peer: peerRounds },
    },
  ]);
});

function figuresLine(round: Round | undefined): string {
  if (round === undefined) return "";
  const of = (times: readonly number[]) =>
    `${percentile(times, 0.5).toFixed(1)}/${percentile(times, 0.99).toFixed(1)} ms`;
  const { resolveMs, listMs, publishMs, crowdMs, ...rest } = round;
  return `resolve ${of(resolveMs)} list ${of(listMs)} publish ${of(publishMs)} crowd ${of(crowdMs)} ${JSON.stringify(rest)}`;
}
