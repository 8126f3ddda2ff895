// waybill worker: the daemon that takes jobs.
import { existsSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";
import { isIP } from "node:net";
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { type Credential, HubClient, createLinkKeys } from "@waybill/sdk/hub-client";
import {
  DATA_PORT,
  type RoomId,
  WaybillError,
  WorkerKind,
  decodeValue,
  isRetryable,
  messageOf,
} from "@waybill/sdk/protocol";
import { RateGate, type RateLimit } from "@waybill/sdk/timing";
import { VERSION } from "../../version.ts";
import { closeWebRtc, loadWebRtc, webRtcProblem } from "../../webrtc.ts";
import type { DiskAmount } from "../../worker/cache/disk-amount.ts";
import type { ServingInit } from "../../worker/serving/serve-cache.ts";
import type { WorkerEvent } from "../../worker/worker-events.ts";
import type { Context } from "../context.ts";
import { saveRoom } from "../credentials.ts";
import {
  collectPairs,
  diskAmount,
  duration,
  filePath,
  port,
  wholeNumber,
  withRoom,
} from "../options.ts";
import { rateLimit } from "../source-policy.ts";
import { showDaemonEvent } from "../render/daemon-event.ts";
import type { Runner } from "../runner.ts";
import { workerSubcommands } from "./worker-ls.ts";

type WorkerOptions = {
  readonly join?: string;
  readonly kind: string;
  readonly name: string;
  readonly label?: Record<string, string>;
  readonly trainer?: Record<string, string[]>;
  readonly onlyTrainers?: boolean;
  readonly slots: number;
  readonly cache?: DiskAmount;
  readonly cacheSize?: DiskAmount;
  readonly cacheFree?: DiskAmount;
  readonly cacheDir?: string;
  readonly dataWait: number;
  readonly checkpoints?: boolean;
  readonly s3Endpoint?: string;
  readonly s3Region: string;
  readonly s3Bucket?: string;
  readonly hubLost?: number;
  readonly dataPort?: number | "off";
  readonly dataHost?: string;
  readonly dataLimit?: RateLimit;
};

export function workerCommand(run: Runner): Command {
  const worker = withRoom(new Command("worker"))
    .option("--join <code>", "join with this invite code first")
    .addOption(
      new Option(
        "--kind <kind>",
        "desktop: a disk to rely on; ephemeral: may vanish; shared: one volume for many",
      )
        .choices(["desktop", "ephemeral", "shared"])
        .default("desktop"),
    )
    .option("--name <name>", "how others see this worker", hostname())
    .option("-l, --label <key=value>", "what jobs may ask for (repeatable)", collectPairs)
    .option(
      "--trainer <name=command>",
      "a trainer that jobs may name (repeatable)",
      collectTrainers,
    )
    .option("--only-trainers", "take no commands from jobs, only the trainers named here")
    .option(
      "--slots <n>",
      `jobs at once (this machine has ${availableParallelism()} CPUs)`,
      wholeNumber(1),
      1,
    )
    .option(
      "--cache-size <size>",
      "most the artifact cache may take (100G or 40%; default: half of its disk)",
      diskAmount,
    )
    .addOption(
      new Option("--cache <size>", "the same, as it was called").argParser(diskAmount).hideHelp(),
    )
    .option(
      "--cache-free <size>",
      "what the cache leaves free on its disk (20G or 10%; default: 256M)",
      diskAmount,
    )
    .option(
      "--cache-dir <dir>",
      "where the cache lies, as on a volume that workers share (default: below --data)",
      filePath,
    )
    .option(
      "--data-wait <minutes>",
      "a job whose dataset is still being pushed fails after so long without a new byte",
      wholeNumber(1),
      15,
    )
    .option(
      "--checkpoints",
      "keep checkpoints in the room while training goes on (default of kind ephemeral)",
    )
    .option("--no-checkpoints", "leave them on this machine")
    .option(
      "--s3-bucket <name>",
      "the hub's bucket for rooms: a model goes there straight while the hub cannot be reached (AWS credentials of this process)",
    )
    .option("--s3-endpoint <url>", "the store that has the bucket (AWS)")
    .option("--s3-region <region>", "region of that store", "us-east-1")
    .option("--hub-lost <time>", "how long the hub must be away before that (60s)", duration)
    .option(
      "--data-port <port>",
      `where cached artifacts are served to members of the room: a port, or off (${DATA_PORT}, or the next one that is free)`,
      dataPort,
    )
    .option("--data-host <ip>", "the address it is served at (all of this machine)", ipAddress)
    .option(
      "--data-limit <rate>",
      "bytes a second at most that others take from here, as 512K, or by time: 08:00,512K 19:00,off",
      rateLimit,
    )
    .description("take jobs of a room and run them on this machine")
    .addHelpText(
      "after",
      `
Jobs run the commands that members of the room send, as this user. --only-trainers restricts that.

`,
    )
    .action(run<[], WorkerOptions>(work));
  for (const command of workerSubcommands(run)) worker.addCommand(command);
  return worker;
}

function dataPort(value: string): number | "off" {
  return value === "off" ? value : port(value);
}

function ipAddress(value: string): string {
  if (isIP(value) === 0) throw new InvalidArgumentError("it is an IP address of this machine");
  return value;
}

/** `name=program arg "arg with blanks"`, repeated. */
export function collectTrainers(
  value: string,
  earlier: Record<string, string[]> = {},
): Record<string, string[]> {
  const at = value.indexOf("=");
  const words = [...value.slice(at + 1).matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? "",
  );
  if (at < 1 || words.length === 0)
    throw new InvalidArgumentError("it looks like name=program arguments");
  return { ...earlier, [value.slice(0, at)]: words };
}

async function work(context: Context, _: [], options: WorkerOptions): Promise<number> {
  const { output } = context;
  // Loaded here, so that the other commands start without the worker's dependencies.
  const { connectWorker } = await import("../../worker/adapters.ts");
  const { createWorker } = await import("../../worker/worker.ts");
  const { room, credential } = await credentialOf(context, options);
  const name = options.name.slice(0, 64);
  // A worker outlives any outage of its hub.
  const hub = new HubClient({
    url: context.hubUrl,
    credential,
    retryForMs: Number.POSITIVE_INFINITY,
  });
  await checkAccess(context, credential, room);
  const RTCPeerConnection = context.webrtc ? await loadWebRtc() : undefined;
  const keys = await createLinkKeys(credential.identity);
  const problem = webRtcProblem();
  if (problem !== undefined) output.note(`${problem}; viewers are served through the hub`);
  const onToken = (token: string) => {
    if (process.env["WAYBILL_KEY"] !== undefined || process.env["WAYBILL_TOKEN"] !== undefined)
      return;
    return saveRoom(context.dataDir, { hub: context.hubUrl, room, role: "worker", token });
  };
  const dataWaitMs = options.dataWait * 60_000;
  const store = await ownStore(options);
  let refused: Error | undefined;
  const ended = Promise.withResolvers<void>();
  const onEvent = (event: WorkerEvent) => {
    report(context, event, room);
    if (event.type !== "refused") return;
    refused = event.error;
    ended.resolve();
  };
  const worker = createWorker({
    ...connectWorker({ hub, room, name, keys, RTCPeerConnection, onToken, dataWaitMs }),
    kind: decodeValue(WorkerKind, options.kind, "--kind"),
    dataDir: workerDir(context),
    labels: options.label ?? {},
    trainers: options.trainer ?? {},
    commands: options.onlyTrainers !== true,
    slots: options.slots,
    version: VERSION,
    ...(options.checkpoints === undefined ? {} : { checkpoints: options.checkpoints }),
    ...(store === undefined ? {} : { store }),
    ...servingOf(options),
    ...(options.hubLost === undefined ? {} : { timing: { hubLostMs: options.hubLost } }),
    ...cacheOptions(options),
    onEvent,
  });
  context.signal.addEventListener("abort", () => ended.resolve());
  try {
    await worker.start();
    await ended.promise;
    if (refused === undefined) output.note("stopping: running jobs end as interrupted");
  } finally {
    await worker.stop();
    closeWebRtc();
  }
  if (refused !== undefined) throw refused;
  return 0;
}

/** `--cache` is what `--cache-size` was called. */
function cacheOptions({ cache, cacheSize = cache, cacheFree, cacheDir }: WorkerOptions) {
  return {
    ...(cacheSize === undefined ? {} : { cacheBytes: cacheSize }),
    ...(cacheFree === undefined ? {} : { cacheFreeBytes: cacheFree }),
    ...(cacheDir === undefined ? {} : { cacheDir }),
  };
}

/** How the cache is served to others; nothing where that is off. */
function servingOf({ dataPort: at, dataHost: host, dataLimit: limit }: WorkerOptions): {
  readonly serving?: ServingInit;
} {
  if (at === "off") return {};
  return {
    serving: {
      ...(at === undefined ? {} : { port: at }),
      ...(host === undefined ? {} : { host }),
      ...(limit === undefined ? {} : { gate: new RateGate(limit) }),
    },
  };
}

async function ownStore({ s3Bucket, s3Endpoint, s3Region }: WorkerOptions) {
  if (s3Bucket === undefined) return undefined;
  const { openOwnStore } = await import("../../worker/publish/own-upload.ts");
  return openOwnStore({ bucket: s3Bucket, endpoint: s3Endpoint, region: s3Region });
}

async function credentialOf(
  context: Context,
  options: WorkerOptions,
): Promise<{ room: RoomId; credential: Credential }> {
  if (options.join !== undefined) {
    const { room, role, token, identity } = await context.join(
      options.join,
      options.name.slice(0, 64),
    );
    if (role !== "worker") {
      throw new WaybillError("forbidden", `the code is for a ${role}`, {
        hint: "ask for one with `waybill room invite --role worker`",
      });
    }
    return { room, credential: { token, identity } };
  }
  const pod = await context.podCredential();
  if (pod !== undefined) return pod;
  const room = await context.room();
  return { room, credential: await context.workerCredential(room, options.name.slice(0, 64)) };
}

/**
 * One call that fails at once with the reason when hub, token or room are not as they should be. A worker that has run
 * here before outlives any outage, also when it is restarted in one: its trainers may be at work.
 */
async function checkAccess(context: Context, credential: Credential, room: RoomId): Promise<void> {
  const hub = new HubClient({ url: context.hubUrl, credential, retryForMs: 3000 });
  try {
    await hub.call("showRoom", { params: { room } }, { signal: context.signal });
  } catch (error) {
    const hasRun = existsSync(path.join(workerDir(context), "instance"));
    if (!hasRun || !isRetryable(error)) throw error;
    context.output.note(`${messageOf(error)}; going on without the hub until it is back`);
  }
}

function workerDir(context: Context): string {
  return path.join(context.dataDir, "worker");
}

function report({ output }: Context, event: WorkerEvent, room: RoomId): void {
  switch (event.type) {
    case "ready":
      output.record({ type: "ready", workerId: event.workerId, kind: event.kind });
      output.note(`worker ${event.workerId} (${event.kind}) is ready in room ${room}`);
      return;
    case "refused":
      return;
    case "job.ended":
      output.record(event);
      output.note(`job ${event.job} ended: ${event.outcome}`);
      return;
    case "job.accepted":
      output.record(event);
      output.note(`job ${event.job} accepted (by ${event.submittedBy})`);
      return;
    case "job.resumed":
      output.record(event);
      output.note(`job ${event.job} taken up again`);
      return;
    case "online":
    case "offline":
    case "log":
      showDaemonEvent(output, event);
  }
}
