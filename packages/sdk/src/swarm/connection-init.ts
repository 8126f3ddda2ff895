// What one peer connection is made of, and what it tells.
import type {
  ByeCode,
  IcePolicy,
  IceServer,
  Negotiation,
  PeerId,
  WaybillError,
} from "../protocol/index.ts";
import type { BulkLane } from "./bulk-lane.ts";
import type { Clock } from "./clock.ts";
import type { LinkKeysPort } from "./link-keys-port.ts";
import type { PeerConnectionConstructor } from "./rtc-types.ts";
import type { SelectedPair } from "./selected-pair.ts";

export type Description = Extract<Negotiation, { kind: "description" }>;

export type DirectConnectionInit = {
  readonly RTCPeerConnection: PeerConnectionConstructor;
  readonly iceServers: readonly IceServer[];
  readonly policy: IcePolicy;
  readonly connection: string;
  /** Only a bulk channel: a further connection of a link. */
  readonly bulkOnly: boolean;
  readonly keys: LinkKeysPort;
  readonly self: PeerId;
  readonly peer: PeerId;
  readonly clock: Clock;
  /** Goes with an offer. */
  readonly offer?: Pick<Description, "replaces" | "bulk">;
  readonly signal: (message: Negotiation) => void;
  /** The control channel is open, or the bulk channel of a connection that has no other. */
  readonly onOpen: (pair: SelectedPair | undefined) => void;
  readonly onControl: (data: unknown) => void;
  readonly onLane: (lane: BulkLane) => void;
  readonly onFrame: (data: unknown, lane: BulkLane) => void;
  /** Every 5 s, and once more when it closes. */
  readonly onPair: (pair: SelectedPair) => void;
  /** It is closed; its last count is told when this resolves. */
  readonly onClosing: (counted: Promise<void>) => void;
  /** It may be about to fail. */
  readonly onShaky: () => void;
  /** Called once, when it failed or the peer closed it; not after `close()`. */
  readonly onClosed: (reason: WaybillError, code: ByeCode) => void;
};
