// waybill worker ls, drain, reserve, maintenance, activate: the room's workers as its members see and steer them.
import { Command } from "commander";
import {
  type Condition,
  WaybillError,
  type WorkerInfo,
  type WorkerMode,
  parseCondition,
  unmetCondition,
} from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { collect, withRoom } from "../options.ts";
import { formatAge, formatBytes, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { workerMeant, workersOf } from "./worker-ref.ts";

type ModeOptions = { readonly for?: string; readonly note?: string };

const MODES: readonly (readonly [string, WorkerMode["mode"], string])[] = [
  ["drain", "drain", "let a worker finish its jobs and give it no others"],
  ["maintenance", "maintenance", "as drain, and say that it is being worked on"],
  ["reserve", "reserved", "let a worker take the jobs of one person only"],
  ["activate", "active", "let a worker take jobs again"],
];

/** Commands beside `waybill worker` itself, which starts one. */
export function workerSubcommands(run: Runner): Command[] {
  const ls = withRoom(new Command("ls"))
    .option(
      "--where <condition>",
      "only workers it holds for, as 'gpu.memoryMb >= 24000' (repeatable)",
      collect,
    )
    .description("workers that are connected: what they have, what they do")
    .action(run<[], { where?: string[] }>(list));
  const modes = MODES.map(([name, mode, description]) => {
    const command = withRoom(new Command(name))
      .argument("<worker>", "its name, its id or a beginning of that")
      .option("--note <text>", "why, for those who look")
      .description(description);
    if (mode === "reserved") {
      command.requiredOption(
        "--for <name>",
        "as their jobs say they are submitted by, or their key",
      );
    }
    return command.action(
      run<[string], ModeOptions>((context, [text], options) =>
        setMode(context, text, mode, options),
      ),
    );
  });
  return [ls, ...modes];
}

async function list(context: Context, _: [], options: { where?: string[] }): Promise<void> {
  const conditions = conditionsOf(options.where ?? []);
  const room = await context.room();
  const all = await workersOf(context, await context.client(room), room);
  const workers = all.filter((worker) => unmetCondition(worker, conditions) === undefined);
  for (const worker of workers) {
    context.output.record({ type: "worker", ...worker, freeSlots: freeSlots(worker) });
  }
  if (workers.length === 0) {
    const some = all.length === 0 ? "" : ` that fits (of ${all.length})`;
    context.output.line(`no worker${some} is connected to room ${room}`);
    return;
  }
  const head = ["NAME", "KIND", "MODE", "FREE", "CPUS", "MEMORY", "GPUS", "LABELS", "CACHED"];
  const nowMs = Date.now();
  const rows = workers.map((worker) => rowOf(worker, nowMs));
  context.output.line(table([[...head, "SINCE", "WORKER", "JOBS"], ...rows]));
}

function rowOf(worker: WorkerInfo, nowMs: number): string[] {
  const { name, workerId, capabilities: has, jobs, cached = [], connectedAt } = worker;
  const labels = Object.entries(has.labels).map(([key, value]) => `${key}=${value}`);
  return [
    name,
    has.kind,
    describeMode(worker.mode),
    `${freeSlots(worker)}/${has.slots}`,
    String(has.cpus),
    formatBytes(has.memoryBytes),
    gpusOf(has.gpus) || "–",
    labels.join(" ") || "–",
    String(cached.length),
    formatAge(nowMs - Date.parse(connectedAt)),
    workerId,
    jobs.join(" ") || "–",
  ];
}

/** `2 × A100 (40960 MB), T4 (15360 MB)` */
function gpusOf(gpus: WorkerInfo["capabilities"]["gpus"]): string {
  const alike = Map.groupBy(gpus, ({ name, memoryMb }) => `${name} (${memoryMb} MB)`);
  return Array.from(alike, ([what, { length }]) =>
    length > 1 ? `${length} × ${what}` : what,
  ).join(", ");
}

function describeMode(mode: WorkerMode | undefined): string {
  if (mode === undefined) return "active";
  const whom = mode.for === undefined ? "" : ` for ${mode.for}`;
  return mode.mode + whom + (mode.note === undefined ? "" : ` (${mode.note})`);
}

function freeSlots({ capabilities, jobs }: WorkerInfo): number {
  return Math.max(0, capabilities.slots - jobs.length);
}

async function setMode(
  context: Context,
  text: string,
  mode: WorkerMode["mode"],
  options: ModeOptions,
): Promise<void> {
  const room = await context.room();
  const hub = await context.client(room);
  const worker = await workerMeant(context, hub, room, text);
  const { for: whom, note } = options;
  if (whom === "") throw new WaybillError("invalid_request", "--for names nobody");
  const body = {
    mode,
    ...(whom === undefined ? {} : { for: whom }),
    ...(note === undefined ? {} : { note }),
  };
  const answer = await hub.call(
    "setWorkerMode",
    { params: { room, worker }, body },
    { signal: context.signal },
  );
  context.output.record({ type: "worker_mode", worker, ...answer.mode });
  context.output.line(`worker ${worker}: ${describeMode(answer.mode)}`);
}

function conditionsOf(texts: readonly string[]): Condition[] {
  const read = texts.map((text) => ({ text, result: parseCondition(text) }));
  const problems = read.flatMap(({ text, result }) =>
    "message" in result ? [`${text}: ${result.message} (at character ${result.at})`] : [],
  );
  if (problems.length > 0) {
    throw new WaybillError("invalid_request", `--where ${problems.join("; ")}`);
  }
  return read.flatMap(({ result }) => ("message" in result ? [] : [result]));
}
