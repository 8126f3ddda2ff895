// Performs what `negotiation-state.ts` decides for one link: makes and closes connections, keeps the timer, tells the peer.
import {
  BYE,
  type ByeCode,
  type Negotiation,
  type PeerId,
  WaybillError,
  assertNever,
  cryptoRandom,
  messageOf,
  randomText,
} from "../protocol/index.ts";
import { backoffMs } from "../timing/index.ts";
import type { BulkLane } from "./bulk-lane.ts";
import type { Candidate } from "./candidates.ts";
import { encodeControl } from "./control-codec.ts";
import type { Description } from "./connection-init.ts";
import { DirectConnection } from "./direct-connection.ts";
import type { IceNow } from "./ice-source.ts";
import type { LinkContext } from "./link-context.ts";
import {
  type NegotiationEffect,
  type NegotiationEvent,
  type NegotiationState,
  UNCONNECTED,
  comingOf,
  nextNegotiation,
  servingOf,
} from "./negotiation-state.ts";
import type { SelectedPair } from "./selected-pair.ts";

export type NegotiatorInit = {
  readonly context: LinkContext;
  readonly peer: PeerId;
  /** A connection is open and serves. */
  readonly onServing: (connection: DirectConnection) => void;
  /** None serves any more. */
  readonly onUnserved: () => void;
  readonly onControl: (data: unknown, connection: DirectConnection) => void;
  readonly onPair: (connection: DirectConnection, pair: SelectedPair) => void;
  readonly onLane: (lane: BulkLane) => void;
  readonly onFrame: (data: unknown, lane: BulkLane) => void;
  /** Its lane, if it had one, is gone. */
  readonly onConnectionGone: (connection: string) => void;
  /** There is no connection any more, nor one being set up. */
  readonly onRest: () => void;
};

type Entry = {
  direct: DirectConnection | undefined;
  /** The peer's, until the connection is made. */
  readonly early: Candidate[];
  /** By `clock`: when a relayed connection must have been replaced. */
  endsAtMs: number | undefined;
  /** Why we closed it, for the peer. */
  bye: { readonly code: ByeCode; readonly reason: string } | undefined;
  /** Nothing more comes on it, as the peer has said. */
  left: boolean;
  /** The ping that followed our own last message; undefined before. */
  lastPing: number | undefined;
  /** It was answered: everything of ours has arrived. SCTP's buffer does not tell. */
  arrived: boolean;
  cancel: () => void;
};

const RETRY = { baseMs: 1000, capMs: 60_000 } as const;
/** What a connection still carries when another one takes over arrives within this time, or is lost. */
const RETIRE_MS = 5000;
const RETIRE_POLL_MS = 20;
/** As `candidates.ts` keeps of one connection. */
const MAX_EARLY = 128;

export class Negotiator {
  readonly #init: NegotiatorInit;
  readonly #entries = new Map<string, Entry>();
  #state: NegotiationState = UNCONNECTED;
  /** The description an effect is about to use. */
  #description: Description | undefined;
  #cancelTimer: (() => void) | undefined;
  #stopped = false;

  constructor(init: NegotiatorInit) {
    this.#init = init;
  }

  get state(): NegotiationState {
    return this.#state;
  }

  /** The open connection. */
  get serving(): DirectConnection | undefined {
    const direct = this.#entries.get(servingOf(this.#state) ?? "")?.direct;
    return direct?.writer === undefined ? undefined : direct;
  }

  /** When the credentials the serving connection lives on end; undefined when they do not. */
  get endsAtMs(): number | undefined {
    return this.#entries.get(servingOf(this.#state) ?? "")?.endsAtMs;
  }

  want(): void {
    this.#happen({ type: "want", fresh: freshConnection() });
  }

  /** It is the peer's from now on: what is open stays, and is not made again from here. */
  spare(): void {
    this.#happen({ type: "spare" });
  }

  nudge(): void {
    this.#happen({ type: "nudge", fresh: freshConnection() });
  }

  /** Replaces the open connection while it still serves. */
  renew(): void {
    this.#happen({ type: "renew", fresh: freshConnection() });
  }

  /** The open connection is of no use any more. */
  fail(reason: string): void {
    const connection = servingOf(this.#state);
    if (connection === undefined) return;
    this.#sayWhy(connection, BYE.failed, reason);
    this.#happen({ type: "failed", connection });
  }

  /** No connection may go on: neither the open one, nor one that is being set up, nor one that it has replaced. */
  abandon(reason: string): void {
    const both = [comingOf(this.#state), servingOf(this.#state)];
    const retiring = [...this.#entries.keys()].filter((connection) => !both.includes(connection));
    for (const connection of retiring) this.#close(connection);
    for (const connection of both) {
      if (connection === undefined) continue;
      this.#sayWhy(connection, BYE.refused, reason);
      this.#happen({ type: "failed", connection });
    }
  }

  /** Negotiation data of the peer. */
  signaled(data: Negotiation): void {
    const { connection } = data;
    switch (data.kind) {
      case "candidate": {
        const entry = this.#entries.get(connection);
        if (entry?.direct !== undefined) entry.direct.addCandidate(data);
        else if (entry !== undefined && entry.early.length < MAX_EARLY) entry.early.push(data);
        return;
      }
      case "bye":
        if (data.code === BYE.refused) this.#told(data.reason);
        this.#happen({ type: "bye", connection });
        return;
      case "description":
        if (data.sdpType === "rollback") return;
        // An offer begins a connection: one of an id that is known is a repetition.
        if (data.sdpType === "offer" && this.#entries.has(connection)) return;
        this.#description = data;
        this.#happen(
          data.sdpType === "answer"
            ? { type: "answered", connection }
            : { type: "offered", connection, ...replaced(data) },
        );
        return;
      default:
        assertNever(data);
    }
  }

  /** The peer sends nothing more on this connection. */
  leaving(connection: string): void {
    const entry = this.#entries.get(connection);
    if (entry !== undefined) entry.left = true;
  }

  /** The peer has answered a ping on this connection. */
  ponged(connection: string, t: number): void {
    const entry = this.#entries.get(connection);
    if (entry !== undefined && entry.lastPing === t) entry.arrived = true;
  }

  /** Closes everything with a word to the peer; idempotent. */
  stop(): void {
    if (this.#stopped) return;
    this.#happen({ type: "unwant" });
    this.#stopped = true;
    this.#cancelTimer?.();
    for (const connection of this.#entries.keys()) this.#close(connection);
  }

  #happen(event: NegotiationEvent): void {
    if (this.#stopped) return;
    const { signaling } = this.#init.context;
    const before = this.#state;
    const polite = (signaling.welcome?.peerId ?? "") < this.#init.peer;
    const { state, effects } = nextNegotiation(before, event, polite);
    this.#state = state;
    if (state.phase !== before.phase) this.#cancelTimer?.();
    for (const effect of effects) this.#perform(effect);
    if (state.phase === "open" && event.type === "opened") {
      const { serving } = this;
      if (serving !== undefined) this.#init.onServing(serving);
    } else if (servingOf(before) !== servingOf(state) || state.phase === "resting") {
      if (this.serving === undefined) this.#init.onUnserved();
    }
    if (state.phase === "resting" && before.phase !== "resting") this.#init.onRest();
  }

  #perform(effect: NegotiationEffect): void {
    const { random, clock } = this.#init.context;
    switch (effect.type) {
      case "offer": {
        const extra = effect.replaces === undefined ? {} : { replaces: effect.replaces };
        this.#begin(effect.connection, extra, (direct) => direct.offer());
        return;
      }
      case "answer": {
        const offer = this.#description;
        if (offer !== undefined) {
          this.#begin(effect.connection, {}, (direct) => direct.answer(offer));
        }
        return;
      }
      case "apply":
        if (this.#description !== undefined)
          void this.#entries.get(effect.connection)?.direct?.apply(this.#description);
        return;
      case "close": {
        const why = this.#entries.get(effect.connection)?.bye;
        this.#close(effect.connection);
        if (effect.bye) this.#bye(effect.connection, why ?? { code: BYE.released, reason: "" });
        return;
      }
      case "retire":
        this.#retire(effect.connection);
        return;
      case "timer":
      case "backoff": {
        const ms =
          effect.type === "timer" ? effect.ms : backoffMs(effect.attempt, { ...RETRY, random });
        this.#cancelTimer?.();
        this.#cancelTimer = clock.after(ms, () => {
          this.#sayWhy(comingOf(this.#state) ?? "", BYE.failed, "it did not open in time");
          this.#happen({ type: "timer", fresh: freshConnection() });
        });
        return;
      }
      default:
        assertNever(effect);
    }
  }

  #begin(
    connection: string,
    offer: Pick<Description, "replaces">,
    start: (direct: DirectConnection) => Promise<void>,
  ): void {
    const entry: Entry = {
      direct: undefined,
      early: [],
      endsAtMs: undefined,
      bye: undefined,
      left: false,
      lastPing: undefined,
      arrived: false,
      cancel: () => {},
    };
    this.#entries.set(connection, entry);
    const make = (ice: IceNow) => {
      if (this.#entries.get(connection) !== entry) return;
      try {
        entry.direct = this.#open(connection, ice, offer);
        entry.endsAtMs = ice.endsAtMs;
      } catch (cause) {
        const text = `no direct channel to ${this.#init.peer}: ${messageOf(cause)}`;
        this.#init.context.onProblem(new WaybillError("internal", text, { cause }));
        queueMicrotask(() => this.#happen({ type: "failed", connection }));
        return;
      }
      void start(entry.direct);
      for (const candidate of entry.early) entry.direct.addCandidate(candidate);
    };
    const ice = this.#init.context.ice.now();
    if (ice instanceof Promise) void ice.then(make);
    else make(ice);
  }

  #open(connection: string, ice: IceNow, offer: Pick<Description, "replaces">): DirectConnection {
    const { context, peer } = this.#init;
    const { RTCPeerConnection, signaling, clock, keys } = context;
    const self = signaling.welcome?.peerId;
    if (RTCPeerConnection === undefined || self === undefined) {
      throw new WaybillError("unreachable", "there is no WebRTC or no hub");
    }
    const direct: DirectConnection = new DirectConnection({
      RTCPeerConnection,
      iceServers: ice.servers,
      policy: ice.policy,
      connection,
      bulkOnly: false,
      keys,
      self,
      peer,
      clock,
      offer,
      signal: (data) => signaling.send({ type: "signal", to: peer, data }),
      onOpen: () => this.#happen({ type: "opened", connection }),
      onControl: (data) => this.#init.onControl(data, direct),
      onLane: this.#init.onLane,
      onFrame: this.#init.onFrame,
      onPair: (pair) => this.#init.onPair(direct, pair),
      onClosing: (counted) => context.meter.expect(counted),
      onShaky: () => {
        if (servingOf(this.#state) === connection) this.renew();
      },
      onClosed: (reason, code) => this.#ended(connection, reason, code),
    });
    return direct;
  }

  #ended(connection: string, reason: WaybillError, code: ByeCode): void {
    if (code === BYE.refused) this.#init.context.onProblem(reason);
    this.#sayWhy(connection, code, reason.message);
    this.#happen({ type: "failed", connection });
    // One that was retired concerns the machine no more.
    this.#close(connection);
  }

  /** Closes a connection once both sides have sent what they had for it. */
  #retire(connection: string): void {
    const entry = this.#entries.get(connection);
    const writer = entry?.direct?.writer;
    if (entry === undefined || writer === undefined) {
      this.#close(connection);
      return;
    }
    const { clock } = this.#init.context;
    const until = clock.now() + RETIRE_MS;
    const leave = async () => {
      await writer.drain();
      writer.write(encodeControl({ type: "leaving" }), 20);
      const t = clock.now();
      entry.lastPing = t;
      writer.write(encodeControl({ type: "ping", t }), 40);
    };
    const look = () => {
      const done = entry.arrived && entry.left;
      if (done || clock.now() >= until) this.#close(connection);
      else entry.cancel = clock.after(RETIRE_POLL_MS, look);
    };
    // A writer that was closed has nothing left to send.
    leave().catch(() => undefined);
    look();
  }

  #close(connection: string): void {
    const entry = this.#entries.get(connection);
    if (entry === undefined) return;
    this.#entries.delete(connection);
    entry.cancel();
    entry.direct?.close();
    this.#init.onConnectionGone(connection);
  }

  #sayWhy(connection: string, code: ByeCode, reason: string): void {
    const entry = this.#entries.get(connection);
    if (entry !== undefined) entry.bye ??= { code, reason };
  }

  #bye(connection: string, why: { readonly code: ByeCode; readonly reason: string }): void {
    try {
      const data: Negotiation = {
        kind: "bye",
        connection,
        code: why.code,
        ...(why.reason === "" ? {} : { reason: why.reason.slice(0, 200) }),
      };
      this.#init.context.signaling.send({ type: "signal", to: this.#init.peer, data });
    } catch {
      // A peer that misses it finds out by silence.
    }
  }

  #told(reason: string | undefined): void {
    const text = `peer ${this.#init.peer} refused a direct channel: ${reason ?? "no reason given"}`;
    this.#init.context.onProblem(new WaybillError("forbidden", text));
  }
}

export function freshConnection(): string {
  return randomText(12, cryptoRandom);
}

function replaced({ replaces }: Description): { readonly replaces?: string } {
  return replaces === undefined ? {} : { replaces };
}
