// Following a job to its end: replay, live events, the outcome as an exit code.
import { type ReceivedSample, type WatchPath, watchJob } from "@waybill/sdk/client";
import {
  type JobEvent,
  type JobId,
  type JobState,
  type RoomId,
  isAbort,
  isTerminal,
} from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { SampleFolder } from "../sample-folder.ts";
import { type LiveRoom, openLive } from "../live.ts";
import { JobView } from "../render/job-view.ts";
import { RetryNotice } from "../render/retry-notice.ts";
import { PathNotice, describePath } from "../render/watch-path.ts";

/** Exit code of a job's outcome. */
function exitCodeOf(state: JobState): number {
  if (state === "completed") return EXIT.ok;
  return state === "cancelled" ? EXIT.cancelled : EXIT.failed;
}

/**
 * Prints every event after `sinceSeq` until the job ends; gives the exit code of its outcome. Sample images are saved below
 * `samples`, if given.
 */
export async function followJob(
  context: Context,
  room: RoomId,
  job: JobId,
  sinceSeq: number,
  samples?: string,
): Promise<number> {
  await using live = await openLive(context, room, await context.client(room, "transfer"));
  return await followJobOn(live, context, room, { job, sinceSeq, samples });
}

/** What a terminal keeps above the block that shows the present. */
function isLasting(event: JobEvent): boolean {
  if (event.type === "transfer") return event.done;
  return event.type !== "metric" && (event.type !== "log" || event.stream === "waybill");
}

type Followed = {
  readonly job: JobId;
  readonly sinceSeq: number;
  readonly samples?: string | undefined;
};

/** As `followJob`, over a line that is open already. */
export async function followJobOn(
  { session, links }: LiveRoom,
  context: Context,
  room: RoomId,
  { job, sinceSeq, samples }: Followed,
): Promise<number> {
  const { output, signal } = context;
  // With --json there is an event or a path on every line, and nothing else.
  const people = { note: output.note.bind(output), record: () => undefined };
  const hub = await context.client(room, "transfer", new RetryNotice({ output: people }));
  const view = new JobView(job);
  let last: JobEvent | undefined;
  let state: JobState = "queued";
  let via = "stored";
  const folder = samples === undefined ? undefined : await SampleFolder.open(samples, output);
  const onSample = folder && ((sample: ReceivedSample) => folder.save(sample));
  const notice = new PathNotice({
    show: (path) => {
      output.record({ type: "path", via: path.kind, path: describePath(path), ...path });
      output.note(`via ${describePath(path)}`);
    },
  });
  // Beside the events, which must not wait for it: only how long it will take is told by it.
  const configured = hub
    .call("showJob", { params: { room, job } }, { signal })
    .then(({ spec }) => view.configured(spec.config))
    .catch(() => undefined);
  try {
    const onPath = (path: WatchPath) => {
      via = path.kind;
      view.via(describePath(path));
      output.status(view.lines());
      notice.changed(path);
    };
    for await (const event of watchJob(
      { hub, session, links },
      { room, job, sinceSeq, signal, onPath, onSample },
    )) {
      last = event;
      if (event.type === "state") ({ state } = event);
      output.record({ ...event, via });
      const line = view.feed(event);
      if (output.interactive) {
        if (line !== undefined && isLasting(event)) output.line(line);
        output.status(view.lines());
      } else if (line !== undefined) output.line(line);
    }
  } catch (error) {
    if (isAbort(error)) {
      output.complain(
        `job ${job} goes on; come back with \`waybill job watch ${job} --room ${room} --since ${last?.seq ?? sinceSeq}\`, end it with \`waybill job stop ${job} --room ${room}\``,
      );
    }
    throw error;
  } finally {
    notice.end();
    await configured;
    await folder?.settled();
  }
  if (!isTerminal(state))
    ({ state } = await hub.call("showJob", { params: { room, job } }, { signal }));
  output.status(view.lines(), true);
  output.settle();
  return exitCodeOf(state);
}
