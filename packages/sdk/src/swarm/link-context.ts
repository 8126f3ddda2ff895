// What all links of one peer have in common.
import type { WaybillError } from "../protocol/index.ts";
import type { Clock } from "./clock.ts";
import type { IceSource } from "./ice-source.ts";
import type { LinkKeysPort } from "./link-keys-port.ts";
import type { RelayBox } from "./relay-box.ts";
import type { RelayMeter } from "./relay-meter.ts";
import type { PeerConnectionConstructor } from "./rtc-types.ts";
import type { SignalingPort } from "./signaling-port.ts";

export type LinkContext = {
  readonly signaling: SignalingPort;
  readonly RTCPeerConnection: PeerConnectionConstructor | undefined;
  readonly keys: LinkKeysPort;
  readonly ice: IceSource;
  readonly meter: RelayMeter;
  readonly box: RelayBox;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onProblem: (error: WaybillError) => void;
};
