// Serves the logs of this worker's jobs to whoever subscribes, each subscriber at its own pace: one pump per
// subscription pulls from the log, so that a slow viewer holds back neither the others nor the trainer (I3).
import {
  type ControlMessage,
  EVENT_WINDOW,
  type JobCommand,
  type JobId,
  type Role,
  assertNever,
  messageOf,
} from "../protocol/index.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { EventLogReader } from "./event-log.ts";
import { EventPump, type Pump } from "./event-pump.ts";
import { LatestPump } from "./latest-pump.ts";
import type { LinkPeer } from "./peer-link.ts";
import type { ControlLink, PeerLinks } from "./peer-links.ts";
import { SampleBoard } from "./sample-board.ts";
import type { SampleImage } from "./sample-sender.ts";

/** Carries out a command and says how far it got; what it throws becomes `rejected`. */
export type CommandHandler = (
  command: JobCommand,
  from: LinkPeer,
  ack: (stage: "received" | "applied" | "rejected", message?: string) => void,
) => void | Promise<void>;

export type EventFeed = {
  /** Serves a job from now on. */
  add(job: JobId, log: EventLogReader): void;
  /** Serves what subscribers have not seen yet, then refuses: later readers use the stored log. */
  remove(job: JobId): void;
  /** Shows an image to subscribers that ask for them, ahead of its event. */
  showSample(job: JobId, image: SampleImage): void;
  /** Who carries out commands; one handler. */
  onCommand(handler: CommandHandler): void;
  /** Ends all subscriptions; idempotent. */
  stop(): void;
};

export type EventFeedInit = { readonly links: PeerLinks; readonly clock?: Clock };

/** One viewer watches a few jobs; more from one peer is a mistake or worse. */
const MAX_SUBSCRIPTIONS_PER_PEER = 64;
/** As the hub's route for commands. */
const MAY_COMMAND: ReadonlySet<Role> = new Set<Role>(["owner", "member"]);

/** Makes a feed over a worker's links. */
export function createEventFeed(init: EventFeedInit): EventFeed {
  return new Feed(init);
}

type Subscribe = Extract<ControlMessage, { type: "subscribe" }>;

class Feed implements EventFeed {
  readonly #clock: Clock;
  readonly #logs = new Map<JobId, EventLogReader>();
  readonly #pumps = new Map<ControlLink, Map<string, Pump>>();
  readonly #samples: SampleBoard;
  readonly #off: () => void;
  #handler: CommandHandler | undefined;

  constructor(init: EventFeedInit) {
    this.#clock = init.clock ?? systemClock;
    this.#samples = new SampleBoard(this.#clock);
    this.#off = init.links.onMessage(({ message, link }) => {
      switch (message.type) {
        case "subscribe":
          this.#subscribe(link, message);
          return;
        case "unsubscribe":
          this.#end(link, message.id);
          this.#samples.unwant(link, message.id);
          return;
        case "taken":
          this.#pumps.get(link)?.get(message.id)?.taken(message.seq);
          return;
        case "command":
          void this.#command(link, message.command);
          return;
        case "events":
        case "sample":
        case "refused":
        case "ack":
          // Answers; a feed asks nothing.
          return;
        case "tree.want":
        case "tree.refused":
        case "tree.cancel":
        case "tree.done":
          // Bytes are not the feed's business.
          return;
        default:
          assertNever(message);
      }
    });
  }

  add(job: JobId, log: EventLogReader): void {
    this.#logs.set(job, log);
  }

  remove(job: JobId): void {
    this.#logs.delete(job);
    for (const pumps of this.#pumps.values()) {
      for (const pump of pumps.values()) if (pump.job === job) pump.finish();
    }
  }

  showSample(job: JobId, image: SampleImage): void {
    this.#samples.offer(job, image);
  }

  onCommand(handler: CommandHandler): void {
    this.#handler = handler;
  }

  stop(): void {
    this.#off();
    for (const pumps of this.#pumps.values()) for (const pump of pumps.values()) pump.stop();
    this.#pumps.clear();
    this.#samples.stop();
  }

  #subscribe(link: ControlLink, request: Subscribe): void {
    const { id, job, sinceSeq } = request;
    const log = this.#logs.get(job);
    const pumps = this.#pumpsOf(link);
    this.#end(link, id);
    if (log === undefined) return refuse(link, id, "this worker does not hold the job");
    if (sinceSeq + 1 < log.firstSeq) {
      return refuse(link, id, `events before ${log.firstSeq} are stored at the hub`);
    }
    if (pumps.size >= MAX_SUBSCRIPTIONS_PER_PEER) {
      return refuse(link, id, `more than ${MAX_SUBSCRIPTIONS_PER_PEER} subscriptions`);
    }
    const drain = (signal: AbortSignal) => (link.writable ? undefined : link.drain({ signal }));
    const onEnd = (reason: string | undefined) => {
      if (pumps.get(id) === pump) pumps.delete(id);
      if (reason !== undefined) refuse(link, id, reason);
    };
    const shared = { job, log, sinceSeq, clock: this.#clock, onEnd };
    const pump: Pump =
      request.latest === true
        ? new LatestPump({
            ...shared,
            outlet: {
              drain,
              send: (events, left) => link.send({ type: "events", id, job, events, left }),
            },
          })
        : new EventPump({
            ...shared,
            window: EVENT_WINDOW,
            outlet: { drain, send: (events) => link.send({ type: "events", id, job, events }) },
          });
    pumps.set(id, pump);
    pump.start();
    if (request.samples === true) this.#samples.want(link, id, job);
  }

  #pumpsOf(link: ControlLink): Map<string, Pump> {
    const existing = this.#pumps.get(link);
    if (existing !== undefined) return existing;
    const pumps = new Map<string, Pump>();
    this.#pumps.set(link, pumps);
    // A transfer of ours that ends must not cut off who watches.
    link.share();
    link.onLost(() => {
      for (const pump of pumps.values()) pump.rewind();
    });
    link.onClose(() => {
      for (const pump of pumps.values()) pump.stop();
      this.#pumps.delete(link);
      this.#samples.drop(link);
    });
    return pumps;
  }

  #end(link: ControlLink, id: string): void {
    const pumps = this.#pumps.get(link);
    pumps?.get(id)?.stop();
    pumps?.delete(id);
  }

  async #command(link: ControlLink, command: JobCommand): Promise<void> {
    const ack: Parameters<CommandHandler>[2] = (stage, message) => {
      const said = message === undefined ? {} : { message };
      trySend(link, { type: "ack", id: command.id, stage, ...said });
    };
    const from = link.peer;
    if (!MAY_COMMAND.has(from.role)) return ack("rejected", `a ${from.role} may not command a job`);
    if (this.#handler === undefined) return ack("rejected", "this peer runs no jobs");
    try {
      await this.#handler(command, from, ack);
    } catch (error) {
      ack("rejected", messageOf(error));
    }
  }
}

function refuse(link: ControlLink, id: string, reason: string): void {
  trySend(link, { type: "refused", id, reason });
}

function trySend(link: ControlLink, message: Parameters<ControlLink["send"]>[0]): void {
  try {
    link.send(message);
  } catch {
    // The path is gone, and with it whoever waits; they ask again on the next one.
  }
}
