// Presence, relays and job messages over WebSocket.
export {
  createSignaling,
  type HeldJob,
  type Signaling,
  type SignalingDeps,
  type SignalingListener,
} from "./signaling.ts";
export {
  LocalRouter,
  type ConnectedPeer,
  type Connection,
  type Delivery,
  type Priority,
  type Router,
} from "./router.ts";
export type { WorkerMessage } from "./peer-session.ts";
export { ownsPeer, peerIdOf } from "./peer-id.ts";
