// Routes for those who submit, command and watch jobs.
import {
  type JobDoc,
  type JobEvent,
  type RoomId,
  type RouteOutput,
  WaybillError,
  cryptoRandom,
  isTerminal,
  newJobId,
} from "@waybill/sdk/protocol";
import type { Caller, Handlers } from "../http/handler.ts";
import type { Checkpoints } from "./checkpoints.ts";
import { assertWellFormed, runCommand, whoOf } from "./command-jobs.ts";
import type { Command, CommandRelay } from "./commands.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { EventLog } from "./event-log.ts";
import type { JobAreaDeps, JobRoute } from "./job-area.ts";
import { sampleKey } from "./job-keys.ts";
import { endEvent } from "./job-ending.ts";
import { submitted } from "./job-state.ts";
import type { JobStore } from "./job-store.ts";
import type { LiveJobs } from "./live-jobs.ts";
import { checkSubmission } from "./submission.ts";
import type { WorkerModes } from "./worker-modes.ts";
import { withoutSecrets } from "./without-secrets.ts";

export type JobHandlerDeps = JobAreaDeps & {
  readonly store: JobStore;
  readonly checkpointsOf: Checkpoints;
  readonly modes: WorkerModes;
  readonly events: EventLog;
  readonly dispatcher: Dispatcher;
  readonly live: LiveJobs;
  readonly commands: CommandRelay;
};

export type WorkerRoute =
  | "appendEvents"
  | "renewLease"
  | "endJob"
  | "recordCheckpoint"
  | "putSample";

const DEFAULT_JOBS = 50;
const MAX_JOBS = 500;
const MAX_PAGE_EVENTS = 5000;
const MAX_TAIL_EVENTS = 1000;

/** The handlers but those only workers call. */
export function jobHandlers(deps: JobHandlerDeps): Handlers<Exclude<JobRoute, WorkerRoute>> {
  const { store, events, dispatcher, commands, modes, clock } = deps;
  const shown = (doc: JobDoc) => withoutSecrets(dispatcher.withReason(doc));
  return {
    async submitJob({ params: { room }, body, caller: anyone }) {
      const { job, spec, submittedBy } = body;
      const caller = known(anyone);
      const nowMs = clock();
      const by = submitterOf(caller, submittedBy);
      let doc = submitted(room, job, spec, by, nowMs);
      try {
        const { parentArtifact } = await checkSubmission(deps, room, spec, caller, nowMs);
        if (parentArtifact !== undefined) doc = { ...doc, parentArtifact };
      } catch (error) {
        // What it names may have gone since it was submitted: the same submission is still answered.
        if ((await store.find(room, job)) === undefined) throw error;
      }
      const stored = await store.create(doc);
      deps.live.note(room);
      if (stored.doc.state === "queued") dispatcher.enqueue(room, [stored.doc]);
      return shown(stored.doc);
    },

    async checkJob({ params: { room }, body: { spec, submittedBy }, caller: anyone }) {
      const caller = known(anyone);
      const nowMs = clock();
      const by = submitterOf(caller, submittedBy);
      const doc = submitted(room, newJobId(nowMs, cryptoRandom), spec, by, nowMs);
      const facts = await checkSubmission(deps, room, spec, caller, nowMs);
      return dispatcher.outlook({ ...doc, ...facts });
    },

    async listJobs({ params: { room }, query }) {
      const limit = clamp(query.limit ?? DEFAULT_JOBS, MAX_JOBS);
      const wanted = (doc: JobDoc) => query.state === undefined || doc.state === query.state;
      const live = query.state !== undefined && !isTerminal(query.state);
      const ids = live
        ? (await store.markers(room)).map(({ job }) => job)
        : await store.jobIds(room);
      const jobs: JobDoc[] = [];
      for (let end = ids.length; end > 0 && jobs.length < limit; end -= limit) {
        const batch = await readCurrent(store, room, ids.slice(Math.max(0, end - limit), end));
        jobs.push(...batch.toReversed().filter(wanted));
      }
      return { jobs: jobs.slice(0, limit).map(shown) };
    },

    async showJob({ params: { room, job } }) {
      return shown(await store.read(room, job));
    },

    async commandJob({ params: { room, job }, body: { id, name, by, values }, caller }) {
      const told = { id, name, by: whoOf(by, known(caller)) };
      const command: Command = values === undefined ? told : { ...told, values };
      assertWellFormed(command);
      const run = () => runCommand(deps, room, job, command);
      return { id, ...(await commands.once(room, job, command, run)) };
    },

    async readEvents({ params: { room, job }, query: { since = 0, limit, tail } }) {
      // events.md §4: the state from before the page, so that a terminal one means the log is whole.
      const doc = await store.read(room, job);
      if (tail !== undefined) return readTail(events, doc, clamp(tail, MAX_TAIL_EVENTS));
      const count = clamp(limit ?? MAX_PAGE_EVENTS, MAX_PAGE_EVENTS);
      const page = await events.read(room, job, since, count);
      const end = page.more ? undefined : await restoreEnd(events, doc, page.events, since);
      const all = end === undefined ? page.events : [...page.events, end];
      return {
        events: all,
        more: page.more,
        lastSeq: all.at(-1)?.seq ?? since,
        state: doc.state,
      };
    },

    async readSample({ params: { room, job, file } }) {
      const key = sampleKey(room, job, file);
      if ((await deps.rooms.head(key)) === undefined) {
        throw new WaybillError("not_found", `job ${job} has no sample ${file}`);
      }
      return deps.presignGet(key);
    },

    async listWorkers({ params: { room } }) {
      const wanted = await modes.of(room);
      const workers = dispatcher.workers(room).map((worker) => {
        const mode = wanted[worker.workerId];
        return mode === undefined ? worker : { ...worker, mode };
      });
      return { workers };
    },

    async setWorkerMode({ params: { room, worker }, body, caller }) {
      const here = dispatcher.workers(room).some(({ workerId }) => workerId === worker);
      const by = { who: whoOf(undefined, known(caller)), here };
      const mode = await modes.set(room, worker, body, by);
      dispatcher.refreshModes(room);
      return { mode };
    },
  };
}

/** What the document keeps of whoever submits. */
function submitterOf({ subject, role }: Caller, submittedBy: string = subject) {
  return { submittedBy, submitter: subject, submitterRole: role };
}

/** The frame authorises before it calls; a missing caller is a mistake in the route table. */
export function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "route has no caller");
  return caller;
}

/** Documents as they are now; those that have ended never change, so memory will do for them. */
async function readCurrent(
  store: JobStore,
  room: RoomId,
  ids: readonly JobDoc["job"][],
): Promise<JobDoc[]> {
  const maxAgeMs = Number.POSITIVE_INFINITY;
  const remembered = await store.readMany(room, ids, { maxAgeMs });
  const live = remembered.flatMap((doc) =>
    doc === undefined || isTerminal(doc.state) ? [] : [doc.job],
  );
  const fresh = new Map(
    (await store.readMany(room, live)).flatMap((doc) =>
      doc === undefined ? [] : [[doc.job, doc]],
    ),
  );
  return remembered.flatMap((doc) => (doc === undefined ? [] : [fresh.get(doc.job) ?? doc]));
}

/** The end of a log: its last events and number. */
async function readTail(
  events: EventLog,
  doc: JobDoc,
  count: number,
): Promise<RouteOutput<"readEvents">> {
  const last = await events.last(doc.room, doc.job, count);
  const end = await restoreEnd(events, doc, last, 0);
  const all = end === undefined ? last : [...last, end].slice(-count);
  return { events: all, more: false, lastSeq: all.at(-1)?.seq ?? 0, state: doc.state };
}

function clamp(value: number, max: number): number {
  return Math.min(max, Math.max(1, value));
}

/** The end of a job the hub ended, when the hub was killed before it wrote it to the log. */
async function restoreEnd(
  events: EventLog,
  doc: JobDoc,
  page: readonly JobEvent[],
  since: number,
): Promise<JobEvent | undefined> {
  if (!isTerminal(doc.state)) return undefined;
  const last = page.at(-1) ?? (await events.tail(doc.room, doc.job, since))?.last;
  // An interrupted attempt may be followed by another, or by the end somebody wanted.
  const over = (state: JobDoc["state"]) => state === doc.state || state !== "interrupted";
  if (last?.type === "state" && isTerminal(last.state) && over(last.state)) return undefined;
  const end = endEvent(doc);
  if (last !== undefined && end.seq <= last.seq) return undefined;
  await events.put(doc.room, doc.job, end);
  return end.seq > since ? end : undefined;
}
