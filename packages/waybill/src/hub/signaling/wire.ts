// What carries one peer's messages: a WebSocket, or HTTP requests. What peers may say is decided above it.
import type { Delivery, Priority } from "./router.ts";

/** What a wire tells its owner. */
export type WireEvents = {
  readonly onText: (text: string) => void;
  /** Once, when the wire is gone for whatever reason. */
  readonly onClose: () => void;
};

export interface Wire {
  /** Sends, or answers `busy` when too much waits; for the hub's own messages that closes the wire. */
  send(text: string, priority: Priority): Exclude<Delivery, "absent">;
  close(code: number, reason: string): void;
  /** Stops handing out messages until `release`, where the sender can be slowed. */
  hold(): void;
  release(): void;
}

/** Bytes that may wait for a peer before relayed messages, then the hub's own, are too many (signaling.md §4). */
export const HIGH_WATER_BYTES: Record<Priority, number> = {
  relayed: 1024 * 1024,
  hub: 4 * 1024 * 1024,
};
/** RFC 6455 §7.4.1 and its registry. */
export const TRY_AGAIN_LATER = 1013;
