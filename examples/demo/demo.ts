// npm run demo: hub, two workers and a client as real processes on this machine. Pushes the MNIST digits,
// trains on a worker, shows it live, publishes the model under an alias and pulls it "elsewhere".
//
//   client A ── push digits ──▶ hub + object store ──▶ worker (trains) ──▶ model ──▶ client B
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { JobEvent } from "@waybill/sdk/protocol";
import * as v from "valibot";
import {
  formatBytes,
  formatRate,
  formatSeconds,
  table,
} from "../../packages/waybill/src/cli/render/format.ts";
import { JobView } from "../../packages/waybill/src/cli/render/job-view.ts";
import { Output } from "../../packages/waybill/src/cli/render/output.ts";
import { writeDigits } from "./digits.ts";
import { accuracyOf, loadModel, readDigits } from "./mnist-model.ts";
import { type Line, WaybillProcess, ask } from "../../test/support/waybill-process.ts";

const keep = process.argv.includes("--keep");
const home = await mkdtemp(path.join(os.tmpdir(), "waybill-demo-"));
const screen = new Output({ json: false, stdout: process.stdout, stderr: process.stdout });
const running: WaybillProcess[] = [];
const trainer = fileURLToPath(new URL("mnist-trainer.ts", import.meta.url));
const ROOM = "digits-lab";
const EPOCHS = 4;

type Move = { what: string; via: string; bytes: number; seconds: number };
const moves: Move[] = [];
let hubUrl = "";

/** Each "machine" has a data folder of its own. */
function machine(name: string): NodeJS.ProcessEnv {
  return {
    WAYBILL_DATA: path.join(home, name),
    ...(hubUrl === "" ? {} : { WAYBILL_HUB: hubUrl, WAYBILL_ROOM: ROOM }),
  };
}

function start(name: string, args: string[], on: string): WaybillProcess {
  const started = new WaybillProcess(args, machine(on), { name });
  running.push(started);
  return started;
}

function say(text: string): void {
  screen.line(`\n▸ ${text}`);
}

async function startWorker(kind: "desktop" | "ephemeral"): Promise<string> {
  const { code } = await ask(["room", "invite", "--role", "worker"], machine("laptop"));
  const worker = start(
    `${kind} worker`,
    [
      "worker",
      "--join",
      String(code),
      "--kind",
      kind,
      "--name",
      `demo-${kind}`,
      "--trainer",
      `mnist=${process.execPath} ${trainer}`,
    ],
    kind,
  );
  const ready = await worker.next();
  worker.drain();
  return String(ready["workerId"]);
}

/** Follows `waybill train` on the screen; gives the moment its client saw the end and what moved. */
async function follow(
  client: WaybillProcess,
): Promise<{ lastTrainerLineMs: number; completeMs: number; via: string }> {
  let view: JobView | undefined;
  let lastTrainerLineMs = 0;
  let completeMs = 0;
  let via = "";
  for await (const line of client.rest()) {
    const arrivedMs = performance.timeOrigin + performance.now();
    const parsed = v.safeParse(JobEvent, line);
    if (!parsed.success) {
      if (line["type"] === "submitted") view = new JobView(String(line["job"]));
      continue;
    }
    const event = parsed.output;
    if (typeof line["via"] === "string") via = line["via"];
    view ??= new JobView("");
    if (event.type === "result" && typeof event.data["printed"] === "number") {
      lastTrainerLineMs = event.data["printed"];
    }
    if (event.type === "state" && event.state === "completed") completeMs = arrivedMs;
    if (event.type === "transfer" && event.done) {
      const kinds = Object.entries(event.sources)
        .filter(([, bytes]) => bytes > 0)
        .map(([kind]) => kind);
      moves.push({
        what: `${event.what} ${event.direction === "down" ? "→ worker" : "→ room"}`,
        via: kinds.join("+") || "–",
        bytes: event.bytes,
        seconds: event.seconds,
      });
    }
    const text = view.feed(event);
    if (
      text !== undefined &&
      (!screen.interactive || (event.type !== "metric" && event.type !== "log"))
    )
      screen.line(`  ${text}`);
    screen.status(view.lines().map((one) => `  ${one}`));
  }
  if (view !== undefined)
    screen.status(
      view.lines().map((one) => `  ${one}`),
      true,
    );
  screen.settle();
  return { lastTrainerLineMs, completeMs, via };
}

async function main(): Promise<void> {
  const startMs = performance.now();
  say("a hub with its object store");
  const hub = start("hub", ["hub", "--port", "0"], "server");
  const ready = await hub.next();
  hub.drain();
  hubUrl = String(ready["url"]);
  screen.line(`  ${hubUrl}, store ${JSON.stringify((ready["s3"] as Line)["endpoint"])}`);

  say(`a room, and two workers that join it by invite`);
  await ask(["room", "create", ROOM], machine("laptop"));
  const workers = await Promise.all([startWorker("desktop"), startWorker("ephemeral")]);
  screen.line(`  ${ROOM}: desktop ${workers[0]}, ephemeral ${workers[1]}`);

  say("a real dataset: the MNIST digits");
  const digits = path.join(home, "digits");
  const counts = await writeDigits(digits);
  const pushed = await ask(["push", digits, "--name", "mnist-digits"], machine("laptop"));
  moves.push({
    what: "dataset → room",
    via: "s3",
    bytes: Number(pushed["sentBytes"]),
    seconds: Number(pushed["seconds"]),
  });
  screen.line(
    `  ${counts.train} digits to train on, ${counts.test} to test on: ${formatBytes(Number(pushed["bytes"]))} pushed as ${String(pushed["artifact"]).slice(0, 12)}…`,
  );

  say(`a training job on the desktop worker (TensorFlow.js, ${EPOCHS} epochs)`);
  const client = start(
    "train",
    [
      "train",
      "--dataset",
      "mnist-digits",
      "--trainer",
      "mnist",
      "--kind",
      "desktop",
      "--alias",
      "prod-v1",
      "--tag",
      "baseline",
      "--tag",
      "demo",
      "--model-type",
      "digit_classifier",
      "--config",
      `epochs=${EPOCHS}`,
    ],
    "laptop",
  );
  const { lastTrainerLineMs, completeMs, via } = await follow(client);
  if ((await client.exit()) !== 0) throw new Error(`training failed: ${client.errors}`);

  say("the model by its alias, on another machine");
  const { code } = await ask(["room", "invite"], machine("laptop"));
  await ask(["room", "join", String(code)], machine("elsewhere"));
  const out = path.join(home, "elsewhere", "prod-v1");
  const pulled = await ask(["model", "pull", "prod-v1", out], machine("elsewhere"));
  const sources = Object.entries(pulled["sources"] as Record<string, number>).filter(
    ([, bytes]) => bytes > 0,
  );
  moves.push({
    what: "model → elsewhere",
    via: sources.map(([kind]) => kind).join("+"),
    bytes: Number(pulled["bytes"]),
    seconds: Number(pulled["seconds"]),
  });
  const accuracy = accuracyOf(await loadModel(out), await readDigits(digits, "t10k"));
  screen.line(
    `  model ${String(pulled["model"])} verified in ${out}; loaded, it names ${(accuracy * 100).toFixed(1)} % of the test digits rightly`,
  );

  const rows = moves.map((one) => [
    one.what,
    one.via,
    formatBytes(one.bytes),
    formatSeconds(one.seconds),
    formatRate(one.bytes, one.seconds),
  ]);
  screen.line(`\n${table([["MOVED", "VIA", "BYTES", "TIME", "RATE"], ...rows])}`);
  screen.line(
    `\ntrainer's last line → client's "complete": ${Math.round(completeMs - lastTrainerLineMs)} ms (events via ${via})`,
  );
  screen.line(`whole demo: ${formatSeconds((performance.now() - startMs) / 1000)}`);
}

let interrupted = false;
const stopAll = async () => {
  for (const one of running.toReversed()) await one.stop();
  if (!keep) await rm(home, { recursive: true, force: true });
};
process.on("SIGINT", () => {
  if (interrupted) return;
  interrupted = true;
  void stopAll().then(() => process.exit(130));
});

try {
  await main();
  if (keep) {
    screen.line(
      `\neverything is left running; try, with WAYBILL_HUB=${hubUrl} WAYBILL_DATA=${path.join(home, "laptop")}:`,
    );
    screen.line(
      `  npx waybill model ls --room ${ROOM}\n  npx waybill job ls --room ${ROOM}\nCtrl-C ends it.`,
    );
    await new Promise(() => undefined);
  }
} catch (error) {
  if (!interrupted) {
    screen.complain(`demo failed: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
} finally {
  if (!interrupted) await stopAll();
}
