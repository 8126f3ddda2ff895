// A few machines that vanish at any moment: ephemeral workers that are SIGKILLed with everything on them, or told to go by
// SIGTERM, each replaced by a new one; and the jobs that have to be finished on them all the same.
import { readFile, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@waybill/sdk";
import { type JobDoc, type JobEvent, RoomId, decodeValue, isTerminal } from "@waybill/sdk/protocol";
import { Lab, ROOM } from "./lab.ts";
import { killBelow } from "./processes.ts";
import { randomOf } from "./random.ts";
import type { WaybillProcess } from "./waybill-process.ts";

export type PodsInit = {
  readonly jobs: number;
  readonly pods: number;
  readonly seed: number;
  /** Steps of one job, and between its checkpoints; a step takes 50 ms. */
  readonly steps: number;
  readonly checkpointEvery: number;
  /** A pod goes every so often on average, by SIGKILL or SIGTERM. */
  readonly killEveryMs: number;
  readonly limitMs: number;
  readonly note?: (line: string) => void;
};

export type PodJob = {
  readonly doc: JobDoc;
  readonly events: readonly JobEvent[];
  /** What its model's `model.json` says once every byte was verified; undefined without a model. */
  readonly model: { readonly steps: number; readonly sum: number } | undefined;
};

export type PodsResult = {
  readonly jobs: readonly PodJob[];
  readonly killed: number;
  readonly told: number;
  readonly seconds: number;
};

/**
 * Adds up 1 … `steps`; a checkpoint holds the sum so far, so that a step that is lost or done twice shows in the
 * model.
 */
const TRAINER = `
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
const { steps, checkpointEvery } = JSON.parse(readFileSync(process.env.WAYBILL_CONFIG, "utf8"));
const resume = process.env.WAYBILL_RESUME;
let { step, sum } = resume === undefined ? { step: 0, sum: 0 } : JSON.parse(readFileSync(path.join(resume, "state.json"), "utf8"));
const say = (value) => console.log(JSON.stringify(value));
say({ from: step });
function save() {
  const dir = "checkpoint-" + step;
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(dir, "new"), JSON.stringify({ step, sum }));
  renameSync(path.join(dir, "new"), path.join(dir, "state.json"));
  say({ type: "checkpoint", path: dir + "/state.json", step });
}
createInterface({ input: process.stdin }).on("line", (line) => {
  if (JSON.parse(line).type === "checkpoint") save();
});
setInterval(() => {
  step += 1;
  sum += step;
  say({ step });
  if (step < steps) {
    if (step % checkpointEvery === 0) save();
    return;
  }
  const out = process.env.WAYBILL_OUTPUT;
  writeFileSync(path.join(out, "weights.bin"), Buffer.alloc(200_000, sum % 251));
  writeFileSync(path.join(out, "model.json"), JSON.stringify({ steps: step, sum }));
  process.exit(0);
}, 50);
`;

type Pod = { readonly name: string; readonly process: WaybillProcess };

/** Runs all jobs to their ends while pods come and go. Throws when that takes longer than `limitMs`. */
export async function runOnPods(init: PodsInit): Promise<PodsResult> {
  const { seed, steps, checkpointEvery, note = () => undefined } = init;
  await using lab = await Lab.open({ hubOptions: ["--lease", "4s"] });
  const { key } = await lab.ask(["room", "key", "create"]);
  const random = randomOf(seed);
  let started = 0;
  const startPod = (): Pod => {
    started += 1;
    const name = `pod-${started}`;
    const env = { WAYBILL_KEY: String(key), WAYBILL_WEBRTC: "0" };
    const child = lab.start(["worker", "--kind", "ephemeral", "--name", name], name, { env });
    child.drain();
    return { name, process: child };
  };
  const saved = JSON.parse(await readFile(lab.path("owner", "credentials.json"), "utf8")) as {
    rooms: { token: string }[];
  };
  await using client = await createClient({
    hub: lab.hubUrl,
    room: ROOM,
    token: saved.rooms[0]?.token ?? "",
  });
  const code = await lab.write("train.mjs", TRAINER);
  const { artifact } = await client.push({ path: code, name: "code" });
  const began = performance.now();
  const ids: string[] = [];
  for (let i = 0; i < init.jobs; i++) {
    const { job } = await client.submit({
      code: artifact,
      command: ["node", "train.mjs"],
      config: { steps, checkpointEvery },
      // Pods that live shorter than a checkpoint takes are nobody's fault.
      maxAttempts: 100,
    });
    ids.push(job);
  }
  const pods = Array.from({ length: init.pods }, startPod);
  const leaving: Promise<unknown>[] = [];
  let killed = 0;
  let told = 0;
  let over = false;
  const reap = async () => {
    for (;;) {
      await sleep(init.killEveryMs * 2 * random());
      if (over) return;
      const at = Math.floor(random() * pods.length);
      const pod = pods[at];
      if (pod === undefined) return;
      if (random() < 0.5) {
        killed += 1;
        await pod.process.kill();
        await killBelow(lab.path(pod.name));
      } else {
        told += 1;
        pod.process.child.kill("SIGTERM");
        leaving.push(pod.process.exit());
      }
      pods[at] = startPod();
    }
  };
  const reaping = reap();
  try {
    const docs = await allEnded(client, ids, began + init.limitMs, note);
    const seconds = (performance.now() - began) / 1000;
    over = true;
    await reaping;
    const jobs: PodJob[] = [];
    for (const doc of docs) {
      const events: JobEvent[] = [];
      for await (const event of client.watch(doc.job)) events.push(event);
      jobs.push({ doc, events, model: await modelOf(client, doc, lab.path("model")) });
    }
    return { jobs, killed, told, seconds };
  } finally {
    over = true;
    await reaping;
    await Promise.all(leaving);
    for (const pod of pods) {
      await pod.process.kill();
      await killBelow(lab.path(pod.name));
    }
  }
}

type LabClient = Awaited<ReturnType<typeof createClient>>;

async function allEnded(
  client: LabClient,
  ids: readonly string[],
  deadline: number,
  note: (line: string) => void,
): Promise<JobDoc[]> {
  const params = { room: decodeValue(RoomId, ROOM, "room") };
  for (;;) {
    const { jobs } = await client.hub.call("listJobs", { params, query: { limit: "1000" } });
    const ours = jobs.filter(({ job }) => ids.includes(job));
    const ended = ours.filter(({ state }) => isTerminal(state));
    if (ended.length === ids.length) return ended;
    if (performance.now() > deadline) {
      const left = ours.filter(({ state }) => !isTerminal(state));
      throw new Error(
        `${left.length} jobs have not ended: ${left.map(({ job, state, attempt, reason }) => `${job} ${state} attempt ${attempt} ${reason ?? ""}`).join("; ")}`,
      );
    }
    note(`${ended.length} of ${ids.length} jobs have ended`);
    await sleep(1000);
  }
}

async function modelOf(client: LabClient, doc: JobDoc, dir: string): Promise<PodJob["model"]> {
  if (doc.model === undefined) return undefined;
  const { artifact } = await client.model(doc.model);
  await rm(dir, { recursive: true, force: true });
  await client.pull({ ref: artifact, dir });
  return JSON.parse(await readFile(`${dir}/model.json`, "utf8")) as PodJob["model"];
}
