// Commands to a job: sent, received by its worker, and applied or rejected as the job's log says.
import { type Command, InvalidArgumentError } from "commander";
import { watchJob } from "@waybill/sdk/client";
import type { HubClient } from "@waybill/sdk/hub-client";
import {
  Adjustment,
  type CommandName,
  type JobEventOf,
  type JobId,
  type JobState,
  type RoomId,
  type RouteOutput,
  cryptoRandom,
  randomText,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { openLive, personName } from "../live.ts";
import { duration } from "../options.ts";
import { formatValue } from "../render/format.ts";
import { roomAndJob } from "./job-ref.ts";

export type WaitOptions = {
  /** Milliseconds; `false` does not wait. */
  readonly wait: number | false;
};

type Sent = {
  readonly id: string;
  readonly name: CommandName;
  readonly values?: Adjustment;
};

/** A trainer answers between two batches; a worker kills one that does not stop after half a minute. */
const WAIT_MS = 30_000;

/** Adds how long to wait for the outcome. */
export function waiting(command: Command): Command {
  return command
    .option("--wait <time>", "how long to wait until it is applied (30s)", duration, WAIT_MS)
    .option("--no-wait", "return when the worker has received it, not when it is applied");
}

/** One more of `lr=0.01 mixed=true name=x`: JSON scalars, and text for what is none. Throws commander's usage errors. */
export function collectAdjustment(pair: string, earlier: Adjustment = {}): Adjustment {
  const at = pair.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("it looks like key=value");
  const value = scalarOf(pair.slice(at + 1));
  if (typeof value === "object" && value !== null) {
    throw new InvalidArgumentError("a value is a number, true, false, null or text");
  }
  const values = { ...earlier, [pair.slice(0, at)]: value };
  const read = v.safeParse(Adjustment, values);
  if (!read.success) throw new InvalidArgumentError(read.issues[0].message);
  return read.output;
}

function scalarOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Sends a command and, unless told otherwise, waits for the event that says what became of it. */
export async function sendCommand(
  context: Context,
  text: string,
  command: Omit<Sent, "id">,
  { wait }: WaitOptions,
): Promise<number> {
  const { signal } = context;
  const params = await roomAndJob(context, text);
  const hub = await context.client(params.room);
  const sent: Sent = { id: randomText(12, cryptoRandom), ...command };
  const { lastSeq } = await hub.call("readEvents", { params, query: { tail: "1" } }, { signal });
  const body = { ...sent, by: personName() };
  const answer = await hub.call("commandJob", { params, body }, { signal });
  tellAnswer(context, params.job, sent, answer);
  // What waits for a start or for `resume` may wait for hours, and the worker has it.
  if (wait === false || answer.stage !== "received" || answer.message !== undefined) {
    return EXIT.ok;
  }
  return awaitApplied(context, hub, { ...params, sent, sinceSeq: lastSeq, waitMs: wait });
}

function tellAnswer(
  { output }: Context,
  job: JobId,
  { name }: Sent,
  { id, stage, worker, until, message }: RouteOutput<"commandJob">,
): void {
  output.record({
    type: "command",
    id,
    name,
    stage,
    ...(worker === undefined ? {} : { worker }),
    ...(until === undefined ? {} : { until }),
    ...(message === undefined ? {} : { message }),
  });
  if (stage === "noted") {
    const latest = until === undefined ? "when its lease ends" : `at ${until.slice(11, 19)} UTC`;
    output.line(
      `worker ${worker ?? ""} unreachable: job ${job} will be cancelled when it is back, at the latest ${latest}`,
    );
  } else {
    const when = message === undefined ? "" : `: ${message}`;
    output.line(`${name} ${stage}${worker === undefined ? "" : ` by ${worker}`}${when}`);
  }
}

type Awaited = {
  readonly room: RoomId;
  readonly job: JobId;
  readonly sent: Sent;
  readonly sinceSeq: number;
  readonly waitMs: number;
};

async function awaitApplied(
  context: Context,
  hub: HubClient,
  { room, job, sent, sinceSeq, waitMs }: Awaited,
): Promise<number> {
  const { output } = context;
  const timeout = AbortSignal.timeout(waitMs);
  const signal = AbortSignal.any([context.signal, timeout]);
  await using live = await openLive(context, room, hub);
  let state: JobState | undefined;
  try {
    for await (const event of watchJob({ hub, ...live }, { room, job, sinceSeq, signal })) {
      if (event.type === "state") ({ state } = event);
      if (event.type !== "command" || event.id !== sent.id || event.stage === "received") continue;
      tellOutcome(context, event);
      return event.stage === "applied" ? EXIT.ok : EXIT.failed;
    }
  } catch (error) {
    if (!timeout.aborted || context.signal.aborted) throw error;
    output.complain(
      `${sent.name} is not applied after ${waitMs / 1000} s; see \`waybill job watch ${job} --room ${room}\``,
    );
    return EXIT.unreachable;
  }
  // A worker that was lost could not say so any more.
  if (sent.name === "cancel" && state === "cancelled") return EXIT.ok;
  output.complain(`job ${job} ended before ${sent.name} was applied`);
  return EXIT.failed;
}

function tellOutcome({ output }: Context, event: JobEventOf<"command">): void {
  const { id, name, stage, message, values } = event;
  output.record({
    type: "command",
    id,
    name,
    stage,
    ...(message === undefined ? {} : { message }),
    ...(values === undefined ? {} : { values }),
  });
  const set = values === undefined ? "" : `: ${pairsOf(values)}`;
  output.line(`${name} ${stage}${message === undefined ? set : `: ${message}`}`);
}

/** `lr=0.01 batch=32` */
function pairsOf(values: Readonly<Record<string, unknown>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${formatValue(value)}`)
    .join(" ");
}
