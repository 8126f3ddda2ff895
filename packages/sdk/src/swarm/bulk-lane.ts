// The bulk channel of one connection as bulk transfer sees it: where frames go, and how many may wait there.
import type { Clock } from "./clock.ts";
import { whenChannelLow } from "./channel-room.ts";

export type BulkLane = {
  readonly connection: string;
  /** Whether its connection carries control messages as well. */
  readonly shared: boolean;
  /** Largest frame, header included, that both this path and the peer take. */
  readonly maxFrameBytes: number;
  /** Whether its bytes go through a TURN server now. */
  readonly relayed: boolean;
  /** Accepted and not yet on the wire. */
  readonly bufferedBytes: number;
  /** Hands a frame to the channel; throws when it is closed. */
  send(frame: Uint8Array<ArrayBuffer>): void;
  /** Calls `run` once when the buffer is low again; the result cancels it. */
  whenLow(run: () => void): () => void;
};

/** A message of more stalls the others on its association for longer than it saves calls (DESIGN: 64–256 KiB). */
export const MAX_FRAME_BYTES = 64 * 1024;
/** Below this the channel asks for more: 5 ms at 50 MB/s, the time another task may keep the sender from answering. */
export const LANE_LOW_BYTES = 256 * 1024;

export function createBulkLane(init: {
  readonly channel: RTCDataChannel;
  readonly connection: string;
  readonly shared: boolean;
  readonly maxMessageBytes: number;
  readonly relayed: () => boolean;
  /** Told of bytes the channel has taken. */
  readonly onSent: (bytes: number) => void;
  readonly clock: Clock;
}): BulkLane {
  const { channel, connection, shared, maxMessageBytes, relayed, onSent, clock } = init;
  return {
    connection,
    shared,
    maxFrameBytes: Math.min(MAX_FRAME_BYTES, maxMessageBytes),
    get relayed() {
      return relayed();
    },
    get bufferedBytes() {
      return channel.bufferedAmount;
    },
    send: (frame) => {
      channel.send(frame);
      onSent(frame.byteLength);
    },
    whenLow: (run) => whenChannelLow(channel, LANE_LOW_BYTES, clock, run),
  };
}
