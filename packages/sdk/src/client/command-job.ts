// A command to a job: straight to its worker while a direct channel is open, through the hub otherwise. Both carry
// the same id, so that sending it again over the other way repeats nothing (peer-channel.md §6).
import type { HubClient } from "../hub-client/index.ts";
import {
  type Adjustment,
  type CommandName,
  type JobCommand,
  type JobId,
  type PeerId,
  type RoomId,
  type RouteOutput,
  WaybillError,
} from "../protocol/index.ts";
import { type Clock, type HeldLink, type LinkMessage, systemClock } from "../swarm/index.ts";
import type { WatchItem } from "./event-merge.ts";

/** What a watch of this peer knows of a job. */
export type SeenJob = { readonly worker: PeerId | undefined; readonly lastSeq: number };

export type CommandDeps = {
  readonly hub: Pick<HubClient, "call">;
  /** A link to a peer, when this client has links at all; released when the command has ended. */
  readonly linkTo: ((peer: PeerId) => CommandLink) | undefined;
  /** Undefined when nobody watches the job here; then the hub carries the command. */
  readonly seen: SeenJob | undefined;
  /** Events of the job after a number, to find out what became of the command. */
  readonly watch: (sinceSeq: number, signal: AbortSignal | undefined) => AsyncIterable<WatchItem>;
  readonly clock?: Clock;
};

type CommandLink = Pick<HeldLink, "path" | "send" | "onMessage" | "onPath" | "onClose" | "release">;

export type CommandRequest = {
  readonly room: RoomId;
  readonly job: JobId;
  readonly id: JobCommand["id"];
  readonly name: CommandName;
  /** Of `adjust`. */
  readonly values?: Adjustment | undefined;
  /** Shown to everybody who watches the job. */
  readonly by: string;
  readonly signal?: AbortSignal | undefined;
};

/** A command that its worker has received. */
export type ReceivedCommand = {
  readonly id: string;
  /** How it went there. */
  readonly via: "webrtc" | "hub";
  /**
   * Resolves when the command has had its effect, with what the worker says of it. Throws `conflict` when the worker has rejected it
   * after all or the job has ended before.
   */
  applied(options?: { readonly signal?: AbortSignal }): Promise<{ readonly message?: string }>;
};

type Ack = Extract<LinkMessage, { type: "ack" }>;

/** A worker that has the command answers within a round trip; the hub is asked when it has not. */
const ACK_MS = 1000;

/** Sends a command; resolves when the worker has received it. Throws `conflict` when it rejects it, and what the hub refuses. */
export async function commandJob(
  deps: CommandDeps,
  request: CommandRequest,
): Promise<ReceivedCommand> {
  const { id, signal } = request;
  const direct = openDirect(deps, request);
  const ack = await direct?.received;
  signal?.throwIfAborted();
  if (ack !== undefined) {
    if (ack.stage === "rejected") throw rejected(request, ack.message);
    const settled = () => direct?.settled;
    return {
      id,
      via: "webrtc",
      applied: outcomeOf(deps, request, settled, deps.seen?.lastSeq ?? 0),
    };
  }
  const since = deps.seen?.lastSeq ?? (await newestSeq(deps, request));
  const stage = await sendToHub(deps, request);
  const applied: Ack | undefined = stage === "applied" ? { type: "ack", id, stage } : undefined;
  return {
    id,
    via: "hub",
    applied: outcomeOf(deps, request, () => Promise.resolve(applied), since),
  };
}

/** Its acknowledgements while the direct channel lasts; undefined ones when it is lost, or slow. */
type Direct = {
  readonly received: Promise<Ack | undefined>;
  readonly settled: Promise<Ack | undefined>;
};

function openDirect(deps: CommandDeps, request: CommandRequest): Direct | undefined {
  const { linkTo, seen, clock = systemClock } = deps;
  if (linkTo === undefined || seen?.worker === undefined) return undefined;
  const link = linkTo(seen.worker);
  const received = Promise.withResolvers<Ack | undefined>();
  const settled = Promise.withResolvers<Ack | undefined>();
  const off: (() => void)[] = [];
  const end = (ack: Ack | undefined) => {
    for (const one of off.splice(0)) one();
    received.resolve(ack);
    settled.resolve(ack);
    link.release();
  };
  if (link.path.kind !== "webrtc") {
    link.release();
    return undefined;
  }
  off.push(
    link.onMessage((message) => {
      if (message.type !== "ack" || message.id !== request.id) return;
      if (message.stage !== "received") return end(message);
      cancelLate();
      received.resolve(message);
    }),
    link.onPath(({ kind }) => {
      if (kind !== "webrtc") end(undefined);
    }),
    link.onClose(() => end(undefined)),
  );
  const cancelLate = clock.after(ACK_MS, () => end(undefined));
  off.push(cancelLate);
  if (request.signal !== undefined) {
    const { signal } = request;
    const onAbort = () => end(undefined);
    signal.addEventListener("abort", onAbort, { once: true });
    off.push(() => signal.removeEventListener("abort", onAbort));
  }
  const { id, job, name, values } = request;
  const command = { id, job, name, ...(values === undefined ? {} : { values }) };
  try {
    link.send({ type: "command", command });
  } catch {
    // The hub may still have a way.
    end(undefined);
  }
  return { received: received.promise, settled: settled.promise };
}

async function sendToHub(
  { hub }: CommandDeps,
  { room, job, id, name, values, by, signal }: CommandRequest,
): Promise<RouteOutput<"commandJob">["stage"]> {
  const body = { id, name, by, ...(values === undefined ? {} : { values }) };
  const { stage } = await hub.call("commandJob", { params: { room, job }, body }, { signal });
  return stage;
}

/** Asked before the command is sent: its own events are above. */
async function newestSeq(
  { hub }: CommandDeps,
  { room, job, signal }: CommandRequest,
): Promise<number> {
  const input = { params: { room, job }, query: { tail: "1" } };
  return (await hub.call("readEvents", input, { signal })).lastSeq;
}

/** Waits for the worker's word over the link, and for the job's log when that is lost. Asked again, it knows. */
function outcomeOf(
  deps: CommandDeps,
  request: CommandRequest,
  settled: () => Promise<Ack | undefined> | undefined,
  since: number,
): ReceivedCommand["applied"] {
  return async ({ signal = request.signal } = {}) => {
    const { stage, message } =
      (await settled()) ?? (await readOutcome(deps, request, since, signal));
    if (stage === "rejected") throw rejected(request, message);
    return message === undefined ? {} : { message };
  };
}

async function readOutcome(
  { watch }: CommandDeps,
  { id, job, name }: CommandRequest,
  since: number,
  signal: AbortSignal | undefined,
): Promise<Pick<Ack, "stage" | "message">> {
  for await (const event of watch(since, signal)) {
    if (event.type === "command" && event.id === id && event.stage !== "received") return event;
  }
  throw new WaybillError("conflict", `job ${job} ended before ${name} was applied`);
}

function rejected({ name, job }: CommandRequest, message: string | undefined): WaybillError {
  const why = message ?? "no reason given";
  return new WaybillError("conflict", `the worker rejected ${name} of job ${job}: ${why}`);
}
