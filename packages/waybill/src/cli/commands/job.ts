// waybill job …: what runs, what ran, and commands to it.
import { Command } from "commander";
import { watchJob } from "@waybill/sdk/client";
import {
  type CommandName,
  JobId,
  JobState,
  type RoomId,
  cryptoRandom,
  decodeValue,
  randomText,
} from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { openLive, personName } from "../live.ts";
import { wholeNumber, withRoom } from "../options.ts";
import { formatTime, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { followJob } from "./job-watch.ts";

const COMMANDS: readonly (readonly [CommandName, string])[] = [
  ["pause", "halt the trainer's processes where they are"],
  ["resume", "let a paused trainer go on"],
  ["stop", "end training early and publish what there is"],
  ["cancel", "end the job; nothing is published"],
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
      .description(
        "replay a job's events and follow it; exits with its outcome (0 completed, 1 failed, 7 cancelled)",
      )
      .action(run<[string], { since: number }>(watch)),
  );
  job.addCommand(
    withRoom(new Command("logs"))
      .argument("<job>")
      .description("what the trainer printed so far, stored events only")
      .action(run<[string]>(logs)),
  );
  for (const [name, description] of COMMANDS) {
    job.addCommand(
      withRoom(new Command(name))
        .argument("<job>")
        .option("--no-wait", "return when the worker has received it, not when it is applied")
        .description(description)
        .action(
          run<[string], { wait: boolean }>((context, [id], options) =>
            command(context, name, id, options.wait),
          ),
        ),
    );
  }
  return job;
}

async function roomAndJob(context: Context, text: string): Promise<{ room: RoomId; job: JobId }> {
  return { room: await context.room(), job: decodeValue(JobId, text, `job "${text}"`) };
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
    one.worker ?? "–",
    (one.spec.command?.join(" ") ?? one.spec.trainer ?? "").slice(0, 48),
  ]);
  context.output.line(
    table([["JOB", "STATE", "SUBMITTED (UTC)", "ALIAS", "WORKER", "COMMAND"], ...rows]),
  );
}

async function show(context: Context, [text]: [string]): Promise<void> {
  const params = await roomAndJob(context, text);
  const hub = await context.client(params.room);
  const job = await hub.call("showJob", { params }, { signal: context.signal });
  context.output.record(job);
  const facts: [string, string | undefined][] = [
    ["job", job.job],
    ["state", job.state + (job.reason === undefined ? "" : ` (${job.reason})`)],
    ["submitted", `${formatTime(job.submittedAt)} UTC by ${job.submittedBy}`],
    ["started", job.startedAt === undefined ? undefined : `${formatTime(job.startedAt)} UTC`],
    ["ended", job.endedAt === undefined ? undefined : `${formatTime(job.endedAt)} UTC`],
    ["worker", job.worker],
    ["attempt", String(job.attempt)],
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
    ["alias", job.spec.alias],
    ["tags", job.spec.tags.join(", ") || undefined],
    ["model", job.model],
  ];
  for (const [key, value] of facts)
    if (value !== undefined) context.output.line(`${key.padEnd(9)} ${value}`);
}

async function watch(
  context: Context,
  [text]: [string],
  options: { since: number },
): Promise<number> {
  const { room, job } = await roomAndJob(context, text);
  return followJob(context, room, job, options.since);
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

/** Sends a command and, unless told otherwise, waits for the event that says it is applied. */
async function command(
  context: Context,
  name: CommandName,
  text: string,
  wait: boolean,
): Promise<number> {
  const { output, signal } = context;
  const params = await roomAndJob(context, text);
  const hub = await context.client(params.room);
  const id = randomText(12, cryptoRandom);
  const { lastSeq } = await hub.call("readEvents", { params, query: { tail: "1" } }, { signal });
  const ack = await hub.call(
    "commandJob",
    { params, body: { id, name, by: personName() } },
    { signal },
  );
  output.record({ type: "command", id, name, stage: ack.stage });
  output.line(`${name} ${ack.stage}`);
  if (!wait || ack.stage === "applied") return 0;
  return awaitApplied(context, params, { id, name, lastSeq });
}

async function awaitApplied(
  context: Context,
  { room, job }: { room: RoomId; job: JobId },
  sent: { id: string; name: CommandName; lastSeq: number },
): Promise<number> {
  const hub = await context.client(room);
  await using live = await openLive(context, room, hub);
  for await (const event of watchJob(
    { hub, ...live },
    { room, job, sinceSeq: sent.lastSeq, signal: context.signal },
  )) {
    if (event.type !== "command" || event.id !== sent.id || event.stage === "received") continue;
    const message = event.message === undefined ? {} : { message: event.message };
    context.output.record({
      type: "command",
      id: sent.id,
      name: sent.name,
      stage: event.stage,
      ...message,
    });
    context.output.line(
      `${sent.name} ${event.stage}${event.message === undefined ? "" : `: ${event.message}`}`,
    );
    return event.stage === "applied" ? 0 : 1;
  }
  context.output.complain(`job ${job} ended before ${sent.name} was applied`);
  return 1;
}
