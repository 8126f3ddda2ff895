// Commands to running jobs: forwarded to the worker, answered when it acknowledges, done once per id
// (docs/protocol/events.md §7).
import { isDeepStrictEqual } from "node:util";
import {
  type HubToPeer,
  type JobCommand,
  type JobDoc,
  type JobId,
  type PeerId,
  type RoomId,
  type RouteOutput,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { Clock } from "../log.ts";
import type { Signaling, WorkerMessage } from "../signaling/index.ts";

export type CommandRelayDeps = {
  readonly signaling: Pick<Signaling, "listen" | "send">;
  readonly clock: Clock;
  readonly ackTimeoutMs?: number;
};

export type Command = Omit<JobCommand, "job"> & {
  /** Label and who: what everybody sees. */
  readonly by: string;
};

type Ack = Extract<WorkerMessage, { type: "command.ack" }>;
/** How far a command has come: the worker has it, it is done, or it waits for the worker. */
export type CommandAnswer = Omit<RouteOutput<"commandJob">, "id">;
type Done = { readonly command: Command; readonly answer: Promise<CommandAnswer> };

/** `docs/protocol/events.md` §7. */
const ACK_TIMEOUT_MS = 5000;
/** Commands whose outcome is remembered; workers know theirs for longer. */
const MAX_REMEMBERED = 2000;
const MAX_DEPARTED = 2000;

export class CommandRelay {
  readonly #deps: CommandRelayDeps;
  /** By room, worker and command id. */
  readonly #waiting = new Map<string, (ack: Ack) => void>();
  /** By room, job and command id. */
  readonly #done = new Map<string, Done>();
  /** By room, worker and command id: what the worker has said that it knows. */
  readonly #acknowledged = new Map<string, true>();
  /** When workers were last seen here. */
  readonly #departedMs = new Map<string, number>();
  readonly #startedMs: number;
  #unlisten: (() => void) | undefined;

  constructor(deps: CommandRelayDeps) {
    this.#deps = deps;
    this.#startedMs = deps.clock();
  }

  start(): void {
    this.#unlisten ??= this.#deps.signaling.listen({
      workerMessage: ({ room, info }, message) => {
        if (message.type !== "command.ack") return;
        const key = `${room}/${info.peerId}/${message.id}`;
        remember(this.#acknowledged, key, true, MAX_REMEMBERED);
        this.#waiting.get(key)?.(message);
      },
      joined: ({ room, info }) => this.#departedMs.delete(`${room}/${info.peerId}`),
      left: ({ room, info }) => {
        remember(this.#departedMs, `${room}/${info.peerId}`, this.#deps.clock(), MAX_DEPARTED);
      },
    });
  }

  stop(): void {
    this.#unlisten?.();
  }

  /**
   * Runs a command unless its id was seen: then it answers what became of it. Throws `conflict` when the id was used
   * for another command; otherwise what `run` throws, after which the id may be used again.
   */
  async once(
    room: RoomId,
    job: JobId,
    command: Command,
    run: () => Promise<CommandAnswer>,
  ): Promise<CommandAnswer> {
    const { id, name, values } = command;
    const key = `${room}/${job}/${id}`;
    const before = this.#done.get(key);
    if (before !== undefined) {
      if (before.command.name !== name) {
        throw new WaybillError(
          "conflict",
          `command ${id} of job ${job} is ${before.command.name}, not ${name}`,
        );
      }
      if (!isDeepStrictEqual(before.command.values, values)) {
        throw new WaybillError("conflict", `command ${id} of job ${job} has other values`);
      }
      return before.answer;
    }
    const answer = run();
    remember(this.#done, key, { command, answer }, MAX_REMEMBERED);
    try {
      const answered = await answer;
      // Asked again, the worker may be back.
      if (answered.stage === "noted") this.#done.delete(key);
      return answered;
    } catch (error) {
      this.#done.delete(key);
      throw error;
    }
  }

  /**
   * Sends a command to the job's worker and resolves when it has received it, with what it says of it. Throws `conflict` when the worker
   * rejects it, `unreachable`, `timeout`.
   */
  async send(doc: JobDoc, { id, name, by, values }: Command): Promise<string | undefined> {
    const { room, job, worker } = doc;
    if (worker === undefined) throw new WaybillError("internal", `job ${job} has no worker`);
    const acknowledged = Promise.withResolvers<Ack>();
    const key = `${room}/${worker}/${id}`;
    this.#waiting.set(key, acknowledged.resolve);
    const timeoutMs = this.#deps.ackTimeoutMs ?? ACK_TIMEOUT_MS;
    const timer = setTimeout(() => {
      acknowledged.reject(
        new WaybillError(
          "timeout",
          `worker ${worker} did not acknowledge ${name} of job ${job} within ${timeoutMs / 1000} s`,
        ),
      );
    }, timeoutMs);
    try {
      const command = { id, job, name, ...(values === undefined ? {} : { values }) };
      const message: HubToPeer = { type: "job.command", command, by };
      if (!this.#deps.signaling.send(room, worker, message)) throw this.#away(room, worker);
      const ack = await acknowledged.promise;
      if (ack.stage === "rejected") {
        const why = ack.message ?? "no reason given";
        throw new WaybillError("conflict", `the worker rejected ${name} of job ${job}: ${why}`);
      }
      return ack.message;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(key);
    }
  }

  /** Tells a worker that is here again what is wanted of its job, until it says that it knows. */
  remind({ room, job, worker, wish }: JobDoc): void {
    if (worker === undefined || wish === undefined) return;
    if (this.#acknowledged.has(`${room}/${worker}/${wish.id}`)) return;
    const { id, name, by } = wish;
    const message: HubToPeer = { type: "job.command", command: { id, job, name }, by };
    this.#deps.signaling.send(room, worker, message);
  }

  #away(room: RoomId, worker: PeerId): WaybillError {
    const leftMs = this.#departedMs.get(`${room}/${worker}`);
    const since =
      leftMs === undefined
        ? `since this hub started at ${new Date(this.#startedMs).toISOString()}`
        : `since ${new Date(leftMs).toISOString()}`;
    return new WaybillError("unreachable", `worker ${worker} is not connected ${since}`, {
      hint: "it may come back by itself and go on; cancel works without it",
    });
  }
}

/** Sets a key of a map of bounded size, oldest out first. */
function remember<T>(map: Map<string, T>, key: string, value: T, max: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= max) break;
    map.delete(oldest);
  }
}
