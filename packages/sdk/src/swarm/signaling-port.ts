// What links need of signaling. A `SignalingSession` of `hub-client/` fits; the swarm itself knows no hub.
import type {
  HubToPeer,
  IcePolicy,
  IceServer,
  PeerId,
  PeerInfo,
  PeerToHub,
  RelayBudget,
} from "../protocol/index.ts";

type FromHub<T extends HubToPeer["type"]> = Extract<HubToPeer, { type: T }>;

export type SignalIn = FromHub<"signal">;
export type RelayIn = FromHub<"relay">;

export type SignalingPort = {
  /** Whether `send` can succeed now. */
  readonly online: boolean;
  /** Who we are and who is there, as the hub last said. */
  readonly welcome:
    | {
        readonly peerId: PeerId;
        readonly peers: readonly PeerInfo[];
        readonly iceServers: readonly IceServer[];
        readonly iceExpiresAt?: string | undefined;
        readonly icePolicy?: IcePolicy | undefined;
        readonly relayBudget?: RelayBudget | undefined;
      }
    | undefined;
  /** Bytes that have not left this machine's socket yet. */
  readonly bufferedBytes: number;
  /** Sends now or throws; never queues. */
  send(message: Extract<PeerToHub, { type: "signal" | "relay" | "relay.usage" }>): void;
  on(event: "signal", listener: (message: SignalIn) => void): () => void;
  on(event: "relay", listener: (message: RelayIn) => void): () => void;
  on(event: "presence", listener: (message: FromHub<"presence">) => void): () => void;
  on(event: "error", listener: (message: FromHub<"error">) => void): () => void;
  on(event: "ice.policy", listener: (message: FromHub<"ice.policy">) => void): () => void;
  on(event: "relay.budget", listener: (message: FromHub<"relay.budget">) => void): () => void;
  /** Each time the hub has accepted us. */
  on(
    event: "welcome",
    listener: (message: NonNullable<SignalingPort["welcome"]>) => void,
  ): () => void;
};
