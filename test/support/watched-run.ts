// One job that prints twenty numbered metrics a second, one viewer that writes down when it has each event, and a
// path for each of them that can fail. What an outage costs is read off the viewer's own notes.
import { mkdir, writeFile } from "node:fs/promises";
import { FaultProxy } from "./fault-proxy.ts";
import { Lab } from "./lab.ts";
import { type Line, type WaybillProcess, ask } from "./waybill-process.ts";

/** Between two metrics. */
const EVERY_MS = 50;

/** Prints `n` and the time until the file that its configuration names exists; its model is the last number. */
const TRAINER = `
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
const { release } = JSON.parse(readFileSync(process.env.WAYBILL_CONFIG, "utf8"));
let n = 0;
const timer = setInterval(() => {
  n += 1;
  console.log(JSON.stringify({ n, printed: Date.now() }));
  if (!existsSync(release)) return;
  clearInterval(timer);
  writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "model.json"), JSON.stringify({ n }));
}, ${EVERY_MS});
`;

export type Seen = { readonly line: Line; readonly atMs: number };

export class WatchedRun implements AsyncDisposable {
  readonly lab: Lab;
  /** Between viewer and hub, and between worker and hub. */
  readonly viewerPath: FaultProxy;
  readonly workerPath: FaultProxy;
  readonly job: string;
  readonly seen: Seen[];
  readonly viewer: WaybillProcess;
  readonly #over: Promise<void>;
  #worker: WaybillProcess;

  private constructor(init: {
    lab: Lab;
    viewerPath: FaultProxy;
    workerPath: FaultProxy;
    job: string;
    viewer: WaybillProcess;
    worker: WaybillProcess;
  }) {
    this.lab = init.lab;
    this.viewerPath = init.viewerPath;
    this.workerPath = init.workerPath;
    this.job = init.job;
    this.viewer = init.viewer;
    this.seen = [];
    this.#worker = init.worker;
    this.#over = this.#read();
  }

  /** `webrtc`: viewer and worker may connect directly, around the proxies. */
  static async open(options: { webrtc?: boolean } = {}): Promise<WatchedRun> {
    const lab = await Lab.open();
    const hubPort = () => Number(new URL(lab.hubUrl).port);
    const viewerPath = await new FaultProxy(hubPort).start();
    const workerPath = await new FaultProxy(hubPort).start();
    const webrtc = options.webrtc === true ? {} : { WAYBILL_WEBRTC: "0" };
    const viewerEnv = { WAYBILL_HUB: viewerPath.url, ...webrtc };
    const workerEnv = { WAYBILL_HUB: workerPath.url, ...webrtc };
    const invite = async (role: string) =>
      String((await lab.ask(["room", "invite", "--role", role]))["code"]);
    await ask(["room", "join", await invite("viewer")], lab.machine("viewer", viewerEnv));
    await ask(["room", "join", await invite("worker")], lab.machine("desk", workerEnv));
    const worker = await startWorker(lab, workerEnv);
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", TRAINER);
    const config = ["--config", `release=${lab.path("release")}`, "--alias", "watched"];
    const code = ["--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    const job = String((await lab.ask(["train", ...config, ...code]))["job"]);
    const viewer = lab.start(["job", "watch", job], "viewer", { env: viewerEnv });
    const run = new WatchedRun({ lab, viewerPath, workerPath, job, viewer, worker });
    await run.#until(() => run.metrics.length > 5);
    return run;
  }

  /** Metrics in the order the viewer had them. */
  get metrics(): { readonly n: number; readonly printedMs: number; readonly atMs: number }[] {
    return this.seen.flatMap(({ line, atMs }) => {
      if (line["type"] !== "metric") return [];
      const { n, printed } = line["data"] as { n: number; printed: number };
      return [{ n, printedMs: printed, atMs }];
    });
  }

  /** SIGKILLs the worker's daemon; its trainer is not told. */
  async killWorker(): Promise<void> {
    await this.#worker.kill();
  }

  /** Starts the daemon again on the same data; resolves when the hub has it. */
  async restartWorker(): Promise<void> {
    this.#worker = await startWorker(this.lab, {
      WAYBILL_HUB: this.workerPath.url,
      WAYBILL_WEBRTC: "0",
    });
  }

  /**
   * Milliseconds from now until the viewer has everything that was printed before now, and something that was printed
   * later. Throws when that takes longer than `limitMs`.
   */
  async catchUpMs(limitMs: number): Promise<number> {
    const returnedMs = Date.now();
    await this.#until(() => (this.metrics.at(-1)?.printedMs ?? 0) > returnedMs, limitMs);
    const last = this.metrics.findLast(({ printedMs }) => printedMs <= returnedMs);
    return Math.max(0, (last?.atMs ?? returnedMs) - returnedMs);
  }

  /** Lets the trainer end; every event of the log when the viewer has ended, too. */
  async finish(): Promise<Line[]> {
    await writeFile(this.lab.path("release"), "");
    await this.#over;
    return this.seen.map(({ line }) => line);
  }

  async #read(): Promise<void> {
    for await (const line of this.viewer.rest()) this.seen.push({ line, atMs: Date.now() });
  }

  async #until(fits: () => boolean, limitMs = 30_000): Promise<void> {
    const endMs = Date.now() + limitMs;
    while (!fits()) {
      if (Date.now() > endMs) {
        const last = JSON.stringify(this.seen.at(-1));
        throw new Error(`waited ${limitMs} ms in vain; the viewer's last: ${last}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    await this.viewerPath[Symbol.asyncDispose]();
    await this.workerPath[Symbol.asyncDispose]();
  }
}

async function startWorker(lab: Lab, env: NodeJS.ProcessEnv): Promise<WaybillProcess> {
  const worker = lab.start(["worker", "--name", "desk"], "desk", { env });
  await worker.until((line) => line["type"] === "ready");
  worker.drain();
  return worker;
}
