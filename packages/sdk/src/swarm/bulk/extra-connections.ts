// The further connections of a link, for bulk only: opened and closed as their number is wanted, and answered when
// the peer wants them. Each is negotiated once and never replaced; one that breaks is simply gone.
import {
  BYE,
  type ByeCode,
  type Negotiation,
  type PeerId,
  WaybillError,
  messageOf,
} from "../../protocol/index.ts";
import type { BulkLane } from "../bulk-lane.ts";
import type { Candidate } from "../candidates.ts";
import type { Description } from "../connection-init.ts";
import { DirectConnection } from "../direct-connection.ts";
import type { IceNow } from "../ice-source.ts";
import type { LinkContext } from "../link-context.ts";
import { NEGOTIATE_MS } from "../negotiation-state.ts";
import { freshConnection } from "../negotiator.ts";
import { MAX_ASSOCIATIONS } from "./association-count.ts";

export type ExtraConnectionsInit = {
  readonly context: LinkContext;
  readonly peer: PeerId;
  readonly signal: (data: Negotiation) => void;
  readonly onLane: (lane: BulkLane) => void;
  readonly onFrame: (data: unknown, lane: BulkLane) => void;
  readonly onGone: (connection: string) => void;
};

type Extra = {
  readonly ours: boolean;
  direct: DirectConnection | undefined;
  readonly early: Candidate[];
  cancel: () => void;
};

/** As `candidates.ts` keeps of one connection. */
const MAX_EARLY = 128;

export class ExtraConnections {
  readonly #init: ExtraConnectionsInit;
  readonly #all = new Map<string, Extra>();

  constructor(init: ExtraConnectionsInit) {
    this.#init = init;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Offers so many more; fewer when there is no room or no way to signal. */
  open(count: number): void {
    for (let i = 0; i < count && this.#all.size < MAX_ASSOCIATIONS; i++) {
      this.#begin(freshConnection(), true, (direct) => direct.offer());
    }
  }

  /** Those this side has opened, the newest first. */
  get ours(): string[] {
    return [...this.#all]
      .flatMap(([connection, { ours }]) => (ours ? [connection] : []))
      .toReversed();
  }

  /** Takes negotiation data if it concerns one of these. */
  signaled(data: Negotiation): boolean {
    const { connection } = data;
    const extra = this.#all.get(connection);
    if (data.kind === "description" && data.sdpType === "offer" && data.bulk === true) {
      if (extra === undefined) this.#offered(data);
      return true;
    }
    if (extra === undefined) return false;
    if (data.kind === "candidate") {
      if (extra.direct === undefined) {
        if (extra.early.length < MAX_EARLY) extra.early.push(data);
      } else extra.direct.addCandidate(data);
    } else if (data.kind === "bye") this.close(connection);
    else if (data.sdpType === "answer") void extra.direct?.apply(data);
    return true;
  }

  /** Closes one; with a code, tells the peer. */
  close(connection: string, code?: ByeCode, reason = ""): void {
    const extra = this.#all.get(connection);
    if (extra === undefined) return;
    this.#all.delete(connection);
    extra.cancel();
    extra.direct?.close();
    this.#init.onGone(connection);
    if (code !== undefined) this.#bye(connection, code, reason);
  }

  closeAll(): void {
    for (const connection of this.#all.keys()) this.close(connection, BYE.released);
  }

  #offered(offer: Description): void {
    const { connection } = offer;
    if (this.#all.size >= MAX_ASSOCIATIONS) {
      this.#bye(connection, BYE.unsupported, `there are ${MAX_ASSOCIATIONS} already`);
      return;
    }
    this.#begin(connection, false, (direct) => direct.answer(offer));
  }

  #begin(
    connection: string,
    ours: boolean,
    start: (direct: DirectConnection) => Promise<void>,
  ): void {
    const { clock, ice, onProblem } = this.#init.context;
    const late = () => this.close(connection, BYE.failed, "it did not open in time");
    const extra: Extra = {
      ours,
      direct: undefined,
      early: [],
      cancel: clock.after(NEGOTIATE_MS, late),
    };
    this.#all.set(connection, extra);
    const make = (now: IceNow) => {
      if (this.#all.get(connection) !== extra) return;
      try {
        extra.direct = this.#make(connection, now, extra);
      } catch (cause) {
        const text = `no further connection to ${this.#init.peer}: ${messageOf(cause)}`;
        onProblem(new WaybillError("internal", text, { cause }));
        this.close(connection);
        return;
      }
      void start(extra.direct);
      for (const candidate of extra.early) extra.direct.addCandidate(candidate);
    };
    const now = ice.now();
    if (now instanceof Promise) void now.then(make);
    else make(now);
  }

  #make(connection: string, now: IceNow, extra: Extra): DirectConnection {
    const { context, peer, signal, onLane, onFrame } = this.#init;
    const { RTCPeerConnection, signaling, clock, keys, meter, onProblem } = context;
    const self = signaling.welcome?.peerId;
    if (RTCPeerConnection === undefined || self === undefined) {
      throw new WaybillError("unreachable", "there is no WebRTC or no hub");
    }
    return new DirectConnection({
      RTCPeerConnection,
      iceServers: now.servers,
      policy: now.policy,
      connection,
      bulkOnly: true,
      keys,
      self,
      peer,
      clock,
      offer: { bulk: true },
      signal,
      onOpen: () => extra.cancel(),
      onControl: () => undefined,
      onLane,
      onFrame,
      onPair: (pair) => meter.report(connection, peer, pair),
      onClosing: (counted) => meter.expect(counted),
      // Its frames go over the others when it fails.
      onShaky: () => undefined,
      onClosed: (reason, code) => {
        if (code === BYE.refused) onProblem(reason);
        this.close(connection, code, reason.message);
      },
    });
  }

  #bye(connection: string, code: ByeCode, reason: string): void {
    try {
      const why = reason === "" ? {} : { reason: reason.slice(0, 200) };
      this.#init.signal({ kind: "bye", connection, code, ...why });
    } catch {
      // The peer sees its channel close.
    }
  }
}
