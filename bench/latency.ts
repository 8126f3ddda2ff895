// npm run bench:latency: how long after a trainer prints a line a viewer has it, and how long after its last
// line the job is complete; directly over WebRTC and through the hub's relay. `--write` keeps the table.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { watchJob } from "@waybill/sdk/client";
import { HubClient, createLinkKeys, createSession } from "@waybill/sdk/hub-client";
import { JobId, cryptoRandom, decodeValue, randomText } from "@waybill/sdk/protocol";
import { createPeerLinks } from "@waybill/sdk/swarm";
import { machineIdentity, peekToken } from "../packages/waybill/src/cli/credentials.ts";
import { table } from "../packages/waybill/src/cli/render/format.ts";
import { closeWebRtc, loadWebRtc } from "../packages/waybill/src/webrtc.ts";
import { Lab } from "../test/support/lab.ts";
import { median } from "./setup/measure.ts";
import { markdownTable, writeSection } from "./setup/page.ts";
import { percentile } from "./setup/percentile.ts";

const JOBS = 7;
const LINES = 200;

/** Prints the time in every line; both processes read the same clock. */
const TRAINER = `
import { writeFileSync } from "node:fs";
import path from "node:path";
const now = () => performance.timeOrigin + performance.now();
writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "weights.bin"), Buffer.alloc(100_000, 1));
let step = 0;
const timer = setInterval(() => {
  step += 1;
  console.log(JSON.stringify({ step, printed: now() }));
  if (step === ${LINES}) clearInterval(timer);
}, 10);
`;

const now = () => performance.timeOrigin + performance.now();

type Run = { readonly live: number[]; readonly complete: number };

async function watchOne(lab: Lab, path: "webrtc" | "relay"): Promise<Run> {
  const identity = await machineIdentity(lab.path("owner"));
  const saved = JSON.parse(await readFile(lab.path("owner", "credentials.json"), "utf8")) as {
    rooms: { token: string }[];
  };
  const token = saved.rooms[0]?.token ?? "";
  const { room } = peekToken(token);
  const hub = new HubClient({ url: lab.hubUrl, credential: { token, identity } });
  const keys = await createLinkKeys(identity);
  await using session = createSession({
    hub,
    room,
    name: "bench",
    agreement: keys.agreement,
    instance: randomText(8, cryptoRandom),
  });
  const RTCPeerConnection = path === "webrtc" ? await loadWebRtc() : undefined;
  await using links = createPeerLinks({ signaling: session, keys, RTCPeerConnection });
  session.start();
  await session.waitUntilOpen();
  const submitted = await lab.ask([
    "train",
    "--code",
    lab.path("code"),
    "--detach",
    "--",
    "node",
    "train.mjs",
  ]);
  const job = decodeValue(JobId, submitted["job"], "job");
  let via: string = "stored";
  const live: number[] = [];
  let last = 0;
  let complete = 0;
  for await (const event of watchJob(
    { hub, session, links },
    { room, job, sinceSeq: 0, onPath: ({ kind }) => (via = kind) },
  )) {
    const arrived = now();
    if (event.type === "metric" && typeof event.data["printed"] === "number") {
      last = event.data["printed"];
      if (via === path) live.push(arrived - last);
    }
    if (event.type === "state" && event.state === "completed") complete = arrived - last;
  }
  return { live, complete };
}

const lab = await Lab.open();
try {
  await lab.startWorker("desk");
  await mkdir(lab.path("code"));
  await writeFile(lab.path("code", "train.mjs"), TRAINER);
  const rows = [["path", "live metrics", "p50 ms", "p99 ms", "completions", "median ms", "max ms"]];
  for (const path of ["webrtc", "relay"] as const) {
    await watchOne(lab, path);
    const runs: Run[] = [];
    for (let i = 0; i < JOBS; i++) runs.push(await watchOne(lab, path));
    const live = runs.flatMap((run) => run.live);
    const complete = runs.map((run) => run.complete);
    rows.push([
      path,
      String(live.length),
      median(live).toFixed(1),
      percentile(live, 0.99).toFixed(1),
      String(complete.length),
      median(complete).toFixed(0),
      Math.max(...complete).toFixed(0),
    ]);
  }
  console.log(table(rows));
  if (process.argv.includes("--write")) await writeSection("latency", markdownTable(rows));
} finally {
  await lab[Symbol.asyncDispose]();
  closeWebRtc();
}
