// The live half of watching a job: one subscription at the worker that holds it, asked anew whenever
// its path changes, with credits for what the consumer has taken.
import { EVENT_WINDOW, type JobId, type PeerId } from "../protocol/index.ts";
import type { Clock, HeldLink, LinkMessage, LinkPath, PeerLinks } from "../swarm/index.ts";
import type { Delivery } from "./event-merge.ts";
import type { SampleReceiver } from "./sample-receiver.ts";

export type LiveSubscriptionInit = {
  readonly links: Pick<PeerLinks, "linkTo">;
  readonly job: JobId;
  readonly clock: Clock;
  /** Of the subscription; unique among those of this peer. */
  readonly id: string;
  /** The last event the viewer has: where a new question continues. */
  readonly lastSeq: () => number;
  /** Only the newest is asked for while the path is slow. */
  readonly latest: boolean;
  /** Asks for sample images, too: what the worker says of them, and how to open the streams they come on. */
  readonly samples: Pick<SampleReceiver, "hear" | "lost"> | undefined;
  readonly onEvents: (delivery: Delivery) => void;
  /** Served or not, or over another path. */
  readonly onState: () => void;
  /** The worker refused or was lost: look at the stored log. */
  readonly onGone: () => void;
};

/** A quarter of the window: the worker never waits for a credit that the consumer has earned. */
const CREDIT_EVERY = EVENT_WINDOW / 4;
/** A quarter of what a worker has under way for a subscriber of the newest (peer-channel.md §5, 26.4). */
const LATEST_CREDIT_EVERY = 32;

export class LiveSubscription {
  readonly #init: LiveSubscriptionInit;
  #link: HeldLink | undefined;
  #off: (() => void)[] = [];
  #state: "none" | "asked" | "serving" = "none";
  #pathKind: LinkPath["kind"] = "relay";
  /** Answered since the last loss: a new question on another path does not make the path unknown. */
  #served = false;
  #heardAt = 0;
  #credited = 0;

  constructor(init: LiveSubscriptionInit) {
    this.#init = init;
  }

  /** Whether the worker has answered the last question and nothing has happened since. */
  get serving(): boolean {
    return this.#state === "serving";
  }

  get path(): LinkPath | undefined {
    return this.#served ? this.#link?.path : undefined;
  }

  /** Milliseconds since the worker was last heard of. */
  silentMs(): number {
    return this.#init.clock.now() - this.#heardAt;
  }

  /** Asks this worker, over a link that is kept while it is the one; false when there is no path to it now. */
  follow(worker: PeerId): boolean {
    if (this.#link?.peerId !== worker) this.#attach(this.#init.links.linkTo(worker));
    return this.ask();
  }

  /** Asks for everything after the last event; false when there is no path. */
  ask(): boolean {
    const { id, job, lastSeq, latest, samples } = this.#init;
    const sinceSeq = lastSeq();
    this.#credited = sinceSeq;
    const sent = this.#send({
      type: "subscribe",
      id,
      job,
      sinceSeq,
      ...(latest ? { latest } : {}),
      ...(samples === undefined ? {} : { samples: true }),
    });
    this.#become(sent ? "asked" : "none");
    return sent;
  }

  /** The consumer has taken everything up to `seq`. */
  taken(seq: number): void {
    const every = this.#init.latest ? LATEST_CREDIT_EVERY : CREDIT_EVERY;
    if (this.#state === "none" || seq - this.#credited < every) return;
    this.#credited = seq;
    this.#send({ type: "taken", id: this.#init.id, seq });
  }

  /** Whatever was under way is lost. */
  reset(): void {
    this.#become("none");
  }

  /** As `reset`, unless the direct channel carries on. */
  relayReset(): void {
    if (this.#pathKind === "relay") this.reset();
  }

  /** The worker has come (back): it may know nothing of us. */
  renew(): void {
    if (this.#pathKind === "relay") this.reset();
    else if (this.#state !== "none") this.ask();
  }

  /** Follows nobody: also a worker that does not know that the job is another's now is not heard any more. */
  leave(): void {
    if (this.#state !== "none") this.#send({ type: "unsubscribe", id: this.#init.id });
    this.#become("none");
    this.#detach();
  }

  #attach(link: HeldLink): void {
    this.#detach();
    this.#link = link;
    this.#pathKind = link.path.kind;
    this.#off = [
      link.onMessage((message) => this.#hear(message)),
      link.onPath(({ kind }) => {
        const changed = kind !== this.#pathKind;
        this.#pathKind = kind;
        // What was under way on the old path may be lost.
        if (changed && this.#state !== "none" && !this.ask()) this.#init.onGone();
        this.#init.onState();
      }),
      link.onLost(() => {
        if (this.#pathKind !== "relay") return;
        this.reset();
        this.#init.onGone();
      }),
    ];
  }

  #detach(): void {
    for (const off of this.#off) off();
    this.#off = [];
    this.#link?.release();
    this.#link = undefined;
  }

  #hear(message: LinkMessage): void {
    if (!("id" in message) || message.id !== this.#init.id) return;
    if (message.type === "events" && message.job === this.#init.job) {
      this.#heardAt = this.#init.clock.now();
      this.#become("serving");
      this.#init.onEvents({ kind: "live", events: message.events, left: message.left });
    } else if (message.type === "sample" && message.job === this.#init.job) {
      const bulk = this.#link?.bulk;
      this.#init.samples?.hear(message, bulk && ((stream) => bulk.accept(stream)));
    } else if (message.type === "refused") {
      this.reset();
      this.#init.onGone();
    }
  }

  #become(state: "none" | "asked" | "serving"): void {
    if (this.#state === state) return;
    this.#state = state;
    if (state !== "asked") this.#served = state === "serving";
    if (state === "none") this.#init.samples?.lost();
    this.#init.onState();
  }

  #send(message: LinkMessage): boolean {
    try {
      this.#link?.send(message);
      return this.#link !== undefined;
    } catch {
      // No path now: the watch reads the stored log and asks again.
      return false;
    }
  }
}
