// waybill job …: what runs, what ran, and commands to it.
import { Command } from "commander";
import {
  type Adjustment,
  type CommandName,
  type JobDoc,
  JobState,
  type ResumePoint,
  decodeValue,
  isTerminal,
} from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { wholeNumber, withRoom } from "../options.ts";
import { formatBytes, formatTime, formatValue, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { describeMove } from "../render/job-view.ts";
import { type WaitOptions, collectAdjustment, sendCommand, waiting } from "./job-commands.ts";
import { roomAndJob } from "./job-ref.ts";
import { followJob } from "./job-watch.ts";

const COMMANDS: readonly (readonly [CommandName, string])[] = [
  ["pause", "halt the trainer's processes where they are"],
  ["resume", "let a paused trainer go on"],
  ["stop", "end training early and publish what there is"],
  ["cancel", "end the job; nothing is published"],
  ["checkpoint", "ask the trainer for a checkpoint now"],
];

export function jobCommand(run: Runner): Command {
  const job = new Command("job").description("list, watch and steer jobs");
  job.addCommand(
    withRoom(new Command("ls"))
      .option("--state <state>", "only jobs in this state")
      .option("--limit <n>", "at most this many", wholeNumber(1), 50)
      .description("jobs of the room, newest first")
      .action(run<[], { state?: string; limit: number }>(list)),
  );
  job.addCommand(
    withRoom(new Command("show"))
      .argument("<job>")
      .description("everything known of a job")
      .action(run<[string]>(show)),
  );
  job.addCommand(
    withRoom(new Command("watch"))
      .argument("<job>")
      .option("--since <seq>", "only events after this number", wholeNumber(0), 0)
      .option("--samples <dir>", "save sample images into this folder as they come")
      .description(
        "replay a job's events and follow it; exits with its outcome (0 completed, 1 failed, 7 cancelled)",
      )
      .action(run<[string], { since: number; samples?: string }>(watch)),
  );
  job.addCommand(
    withRoom(new Command("logs"))
      .argument("<job>")
      .description("what the trainer printed so far, stored events only")
      .action(run<[string]>(logs)),
  );
  for (const [name, description] of COMMANDS) {
    job.addCommand(
      waiting(withRoom(new Command(name)).argument("<job>"))
        .description(description)
        .action(
          run<[string], WaitOptions>((context, [id], options) =>
            sendCommand(context, id, { name }, options),
          ),
        ),
    );
  }
  job.addCommand(
    waiting(withRoom(new Command("adjust")).argument("<job>"))
      .argument("<key=value...>", "what to set", collectAdjustment)
      .description(
        "give the trainer other values while it runs (numbers, true, false, null or text)",
      )
      .action(
        run<[string, Adjustment], WaitOptions>((context, [id, values], options) =>
          sendCommand(context, id, { name: "adjust", values }, options),
        ),
      ),
  );
  return job;
}

async function list(
  context: Context,
  _: [],
  options: { state?: string; limit: number },
): Promise<void> {
  const room = await context.room();
  const hub = await context.client(room);
  const state =
    options.state === undefined ? {} : { state: decodeValue(JobState, options.state, "--state") };
  const query = { ...state, limit: String(options.limit) };
  const { jobs } = await hub.call(
    "listJobs",
    { params: { room }, query },
    { signal: context.signal },
  );
  for (const one of jobs) context.output.record(one);
  if (jobs.length === 0) {
    context.output.line(`no jobs in room ${room}`);
    return;
  }
  const rows = jobs.map((one) => [
    one.job,
    one.state,
    formatTime(one.submittedAt),
    one.spec.alias ?? "–",
    one.assignee?.name ?? one.worker ?? "–",
    (one.spec.command?.join(" ") ?? one.spec.trainer ?? "").slice(0, 48),
  ]);
  context.output.line(
    table([["JOB", "STATE", "SUBMITTED (UTC)", "ALIAS", "WORKER", "COMMAND"], ...rows]),
  );
  for (const { job, worker, reason, ...one } of jobs) {
    // Of a job that a worker has, it is about the worker.
    if (worker !== undefined && reason !== undefined && !isTerminal(one.state)) {
      context.output.line(`${job}: ${reason}`);
    }
  }
}

async function show(context: Context, [text]: [string]): Promise<void> {
  const params = await roomAndJob(context, text);
  const hub = await context.client(params.room);
  const job = await hub.call("showJob", { params }, { signal: context.signal });
  context.output.record(job);
  const moving = context.output.json ? undefined : await fetchingNow(context, job);
  const facts: [string, string | undefined][] = [
    ["job", job.job],
    ["state", job.state + (job.reason === undefined ? "" : ` (${job.reason})`)],
    ["submitted", `${formatTime(job.submittedAt)} UTC by ${job.submittedBy}`],
    ["started", job.startedAt === undefined ? undefined : `${formatTime(job.startedAt)} UTC`],
    ["ended", job.endedAt === undefined ? undefined : `${formatTime(job.endedAt)} UTC`],
    ["worker", workerOf(job)],
    ["attempt", String(job.attempt)],
    ["now", moving],
    ["resume", job.resume === undefined ? undefined : describeResume(job.resume)],
    ["command", job.spec.command?.join(" ") ?? `trainer ${job.spec.trainer ?? "?"}`],
    [
      "dataset",
      [job.spec.datasetName, job.spec.dataset].filter((one) => one !== undefined).join("  ") ||
        undefined,
    ],
    [
      "config",
      Object.keys(job.spec.config).length === 0 ? undefined : JSON.stringify(job.spec.config),
    ],
    ["adjusted", job.adjusted === undefined ? undefined : JSON.stringify(job.adjusted)],
    ["alias", job.spec.alias],
    ["tags", job.spec.tags.join(", ") || undefined],
    ["model", job.model],
  ];
  for (const [key, value] of facts)
    if (value !== undefined) context.output.line(`${key.padEnd(9)} ${value}`);
}

/** Newest events that are looked through: samples of the machine come between those that count. */
const LATEST_EVENTS = 64;

/** What a job that has not started its trainer waits for: how far a transfer is, or what the worker said of it since. */
async function fetchingNow(
  context: Context,
  { room, job, state }: JobDoc,
): Promise<string | undefined> {
  if (state !== "assigned") return undefined;
  const { signal } = context;
  const hub = await context.client(room);
  const query = { tail: String(LATEST_EVENTS) };
  const { events } = await hub.call("readEvents", { params: { room, job }, query }, { signal });
  const latest = events.findLast(
    (event) => event.type === "transfer" || (event.type === "log" && event.stream === "waybill"),
  );
  if (latest?.type === "log") return latest.line;
  return latest?.type === "transfer" ? describeMove(latest) : undefined;
}

/** `desk (p_3VyV…)` */
function workerOf({ worker, assignee }: JobDoc): string | undefined {
  return assignee === undefined ? worker : `${assignee.name} (${worker})`;
}

/** `epoch=7, 12.0 MiB (attempt 1, 2026-01-02 03:04:05 UTC)` */
function describeResume({ data, bytes, attempt, at }: ResumePoint): string {
  const facts = Object.entries(data)
    .filter(([key, value]) => key !== "type" && typeof value === "number")
    .map(([key, value]) => `${key}=${formatValue(value)}`);
  const what = [...facts, formatBytes(bytes)].join(", ");
  return `${what} (attempt ${attempt}, ${formatTime(at)} UTC)`;
}

async function watch(
  context: Context,
  [text]: [string],
  options: { since: number; samples?: string },
): Promise<number> {
  const { room, job } = await roomAndJob(context, text);
  return followJob(context, room, job, options.since, options.samples);
}

async function logs(context: Context, [text]: [string]): Promise<void> {
  const params = await roomAndJob(context, text);
  const hub = await context.client(params.room);
  let since = 0;
  for (;;) {
    const page = await hub.call(
      "readEvents",
      { params, query: { since: String(since) } },
      { signal: context.signal },
    );
    for (const event of page.events) {
      since = event.seq;
      if (event.type !== "log") continue;
      context.output.record(event);
      context.output.line(
        event.stream === "stdout" ? event.line : `[${event.stream}] ${event.line}`,
      );
    }
    if (!page.more) return;
  }
}
