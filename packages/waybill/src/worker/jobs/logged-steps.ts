// What a job's log says of the attempt so far: its last event, its commands and where each stands. A restarted daemon
// reads it once; the log, not the journal, is what everybody has been told.
import type { CommandName, JobEvent, JobState } from "@waybill/sdk/protocol";
import type { EventLog } from "../events/event-log.ts";
import type { CommandAck } from "../ports.ts";
import type { Waiting } from "./run-types.ts";

type LoggedCommand = {
  readonly id: string;
  readonly name: CommandName;
  readonly by: string;
  readonly last: CommandAck;
  readonly asked: Waiting;
};

export type LoggedSteps = {
  /** Types of events among what is logged. */
  readonly told: ReadonlySet<JobEvent["type"]>;
  readonly last: JobEvent | undefined;
  /** State told last, and the model. */
  readonly state: JobState | undefined;
  readonly published: Extract<JobEvent, { type: "published" }> | undefined;
  readonly commands: readonly LoggedCommand[];
  /** Thumbnails that are stored, by the names the trainer gave them. */
  readonly thumbnails: ReadonlySet<string>;
  /** Rows of predictions that were told. */
  readonly predicted: number;
};

/** `data.type` of the samples that are thumbnails. */
export const THUMBNAIL = "thumbnail";

const PAGE_EVENTS = 1024;
/** As many as a ledger keeps. */
const MAX_COMMANDS = 1000;

export async function readLoggedSteps(log: EventLog): Promise<LoggedSteps> {
  const told = new Set<JobEvent["type"]>();
  const commands = new Map<string, LoggedCommand>();
  const thumbnails = new Set<string>();
  let predicted = 0;
  let last: JobEvent | undefined;
  let state: JobState | undefined;
  let published: LoggedSteps["published"];
  for (let seq = log.firstSeq - 1; seq < log.lastSeq;) {
    const page = await log.read(seq, PAGE_EVENTS);
    if (page.length === 0) break;
    for (const event of page) {
      told.add(event.type);
      if (event.type === "state") state = event.state;
      else if (event.type === "published") published = event;
      else if (event.type === "command") take(commands, event);
      else if (event.type === "predictions") predicted = event.first + event.rows.length;
      else if (event.type === "sample" && event.data["type"] === THUMBNAIL)
        thumbnails.add(String(event.data["file"]));
    }
    last = page.at(-1);
    seq += page.length;
  }
  return { told, last, state, published, commands: [...commands.values()], thumbnails, predicted };
}

function take(
  commands: Map<string, LoggedCommand>,
  { id, name, by, stage, message, values }: Extract<JobEvent, { type: "command" }>,
): void {
  const known = commands.get(id);
  const asked = {
    id,
    name,
    ...(values === undefined ? {} : { values: values as Waiting["values"] }),
  };
  commands.set(id, { id, name, by, last: { stage, message }, asked: known?.asked ?? asked });
  const oldest = commands.size > MAX_COMMANDS ? commands.keys().next() : undefined;
  if (oldest?.done === false) commands.delete(oldest.value);
}

/** Commands that were received and not answered for good. */
export function unanswered({ commands }: LoggedSteps): Waiting[] {
  return commands.filter(({ last }) => last.stage === "received").map(({ asked }) => asked);
}
