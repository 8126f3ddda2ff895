// Bulk bytes of one link: streams over as many connections as the path can use (peer-channel.md §9).
//
//   openStream → BulkSender ─┐            ┌─ BulkReceiver → accept
//                            ├─ Lanes ════┤
//   association-count ── ExtraConnections ┘
import {
  BYE,
  type Negotiation,
  type PeerId,
  WaybillError,
  assertNever,
  decodeBulkFrame,
} from "../../protocol/index.ts";
import type { BulkLane } from "../bulk-lane.ts";
import type { LinkContext } from "../link-context.ts";
import { NEGOTIATE_MS } from "../negotiation-state.ts";
import { type AssociationState, NO_ASSOCIATION, nextAssociations } from "./association-count.ts";
import { BulkReceiver } from "./bulk-receiver.ts";
import { BulkSender, type BulkWriter } from "./bulk-sender.ts";
import { ExtraConnections } from "./extra-connections.ts";
import { Lanes } from "./lanes.ts";
import { nextStreamNumber } from "./stream-counter.ts";

/** Streams to and from one peer. Ids are agreed in a control message; each is used once, in one direction. */
export type BulkStreams = {
  /** Open direct connections that carry bulk now. */
  readonly connections: number;
  /** Whether bulk can go to the peer now. */
  readonly usable: boolean;
  /** An id that neither side has used, on this link or another one between both processes. */
  newStreamId(): number;
  /**
   * Sends a stream. Nothing leaves before the peer accepts it. `live`: goes before other streams. Writing fails with
   * `unreachable` when the peer stopped it or no path is left.
   */
  openStream(
    id: number,
    options?: { readonly signal?: AbortSignal | undefined; readonly live?: boolean },
  ): BulkWriter;
  /** Reads a stream, in order; `unreachable` when the peer ended it early or no path is left. To be iterated once. */
  accept(
    id: number,
    options?: { readonly signal?: AbortSignal | undefined },
  ): AsyncIterable<Uint8Array>;
};

export type BulkInit = {
  readonly context: LinkContext;
  readonly peer: PeerId;
  /** Of the direct channel's path without its queues; undefined when it is not known. */
  readonly rttMs: () => number | undefined;
  readonly signal: (data: Negotiation) => void;
};

const TICK_MS = 250;
/** Without any connection for so long, streams fail: time for a replacement whose predecessor broke. */
const UNREACHABLE_MS = 5000;
/** Before it is known, a round trip across a continent is assumed. */
const UNKNOWN_RTT_MS = 50;
/** A connection that is not needed any more is closed when it is empty, or after so long. */
const RETIRE_MS = 5000;

export class Bulk implements BulkStreams {
  readonly #init: BulkInit;
  readonly #lanes: Lanes;
  readonly #sender: BulkSender;
  readonly #receiver: BulkReceiver;
  readonly #extras: ExtraConnections;
  #associations: AssociationState = NO_ASSOCIATION;
  #cancelTick: (() => void) | undefined;
  #cancelAlone: (() => void) | undefined;
  #connected = false;
  #closed = false;

  constructor(init: BulkInit) {
    this.#init = init;
    const { context, peer, signal } = init;
    const { clock, meter } = context;
    const rttMs = () => init.rttMs() ?? UNKNOWN_RTT_MS;
    this.#lanes = new Lanes({ clock, rttMs, relayAllowed: () => meter.bulkAllowed });
    this.#sender = new BulkSender({ lanes: this.#lanes, clock, rttMs });
    this.#receiver = new BulkReceiver({ lanes: this.#lanes, clock });
    this.#extras = new ExtraConnections({
      context,
      peer,
      signal,
      onLane: (lane) => this.addLane(lane),
      onFrame: (data, lane) => this.receive(data, lane),
      onGone: (connection) => this.removeLane(connection),
    });
  }

  get connections(): number {
    return this.#lanes.size;
  }

  get usable(): boolean {
    return this.#lanes.usable;
  }

  newStreamId(): number {
    // The smaller peer id has the even numbers: both sides know without asking.
    const self = this.#init.context.signaling.welcome?.peerId ?? "";
    return nextStreamNumber() * 2 + (self < this.#init.peer ? 0 : 1);
  }

  openStream(
    id: number,
    options: { readonly signal?: AbortSignal | undefined; readonly live?: boolean } = {},
  ): BulkWriter {
    this.#checkUsable();
    const writer = this.#sender.open(id, options);
    this.#watch();
    return writer;
  }

  accept(
    id: number,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): AsyncIterable<Uint8Array> {
    this.#checkUsable();
    const stream = this.#receiver.accept(id, options.signal);
    this.#watch();
    return stream;
  }

  /** A connection's bulk channel is open. */
  addLane(lane: BulkLane): void {
    this.#connected = true;
    this.#cancelAlone?.();
    this.#cancelAlone = undefined;
    if (this.#lanes.of(lane.connection) === undefined) this.#lanes.add(lane);
    this.#receiver.tellAll();
    this.#sender.pump();
    this.#watch();
  }

  removeLane(connection: string): void {
    const lane = this.#lanes.remove(connection);
    if (lane === undefined) return;
    this.#sender.laneLost(lane);
    this.#receiver.tellAll();
    this.#watch();
  }

  /** What a bulk channel delivered. */
  receive(data: unknown, from: BulkLane): void {
    try {
      this.#take(data, from);
    } catch (error) {
      if (!(error instanceof WaybillError)) throw error;
      this.#init.context.onProblem(error);
    }
  }

  /** Negotiation data; false when it concerns the main connection. */
  signaled(data: Negotiation): boolean {
    return this.#extras.signaled(data);
  }

  /** The room's budget for relayed bytes is used up, or not any more. */
  budgetChanged(): void {
    this.#watch();
    this.#sender.pump();
  }

  closeExtras(): void {
    this.#extras.closeAll();
  }

  /** The process at the other end is another one. */
  reset(): void {
    this.#fail("the peer has started anew");
    this.#sender.reset();
    this.#receiver.reset();
    this.#extras.closeAll();
  }

  close(): void {
    this.#closed = true;
    this.#fail("the link was closed");
    this.#cancelTick?.();
    this.#cancelAlone?.();
    this.#extras.closeAll();
    this.#sender.close();
    this.#receiver.close();
  }

  #take(data: unknown, from: BulkLane): void {
    const frame = decodeBulkFrame(data);
    if (frame === undefined) return;
    const lane = this.#lanes.of(from.connection);
    switch (frame.type) {
      case "data":
        lane?.received(frame.payload.length);
        this.#receiver.take(frame.stream, frame);
        return;
      case "credit":
        this.#sender.credit(frame.stream, frame);
        return;
      case "abort":
        if (!this.#sender.refused(frame.stream, frame.reason)) {
          this.#receiver.aborted(frame.stream, frame.reason);
        }
        return;
      case "received":
        lane?.confirmed(frame.bytes);
        this.#sender.pump();
        return;
      default:
        assertNever(frame);
    }
  }

  #checkUsable(): void {
    if (this.#closed) throw new WaybillError("unreachable", "the link was closed");
    if (this.#init.context.RTCPeerConnection === undefined) {
      throw new WaybillError("unreachable", "bulk needs WebRTC, which this peer has not");
    }
    if (this.#lanes.size > 0 && !this.#lanes.usable) throw exhausted();
  }

  /** Starts what must be looked at while there are streams. */
  #watch(): void {
    if (this.#closed) return;
    const active = this.#sender.active || this.#receiver.active;
    if (this.#lanes.size > 0 && !this.#lanes.usable && active) this.#failWith(exhausted());
    if (this.#lanes.size === 0 && active) {
      const ms = this.#connected ? UNREACHABLE_MS : NEGOTIATE_MS;
      this.#cancelAlone ??= this.#init.context.clock.after(ms, () => {
        this.#cancelAlone = undefined;
        if (this.#lanes.size === 0) this.#fail("there is no direct path to the peer");
      });
    }
    if (this.#sender.active || this.#associations.phase !== "resting") {
      this.#cancelTick ??= this.#init.context.clock.after(TICK_MS, () => {
        this.#cancelTick = undefined;
        this.#tick();
      });
    }
  }

  #tick(): void {
    const { state, want } = nextAssociations(this.#associations, {
      nowMs: this.#init.context.clock.now(),
      deliveredBytes: this.#lanes.confirmedBytes,
      open: this.#lanes.dedicated,
      busy: this.#sender.takeHeld(),
      rttMs: this.#init.rttMs() ?? UNKNOWN_RTT_MS,
    });
    this.#associations = state;
    if (want !== undefined) this.#aim(want);
    this.#watch();
  }

  /** Opens or closes connections of ours until there are `count` with the peer's. */
  #aim(count: number): void {
    const more = count - this.#extras.size;
    if (more > 0) this.#extras.open(more);
    else for (const connection of this.#extras.ours.slice(0, -more)) this.#retire(connection);
  }

  #retire(connection: string): void {
    const lane = this.#lanes.of(connection);
    if (lane !== undefined) lane.retired = true;
    const { clock } = this.#init.context;
    const until = clock.now() + RETIRE_MS;
    const look = () => {
      if (this.#lanes.of(connection) !== lane) return;
      if (lane === undefined || lane.outstandingBytes === 0 || clock.now() >= until) {
        this.#extras.close(connection, BYE.released);
      } else clock.after(TICK_MS, look);
    };
    look();
  }

  #fail(why: string): void {
    this.#failWith(new WaybillError("unreachable", `${why} (${this.#init.peer})`));
  }

  #failWith(error: WaybillError): void {
    this.#sender.fail(error);
    this.#receiver.fail(error);
  }
}

function exhausted(): WaybillError {
  return new WaybillError("unreachable", "the room's budget for relayed bytes is used up", {
    hint: "fetch it over another source, or raise the room's budget",
  });
}
