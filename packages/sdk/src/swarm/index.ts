// Links between peers: control messages over WebRTC with the hub's relay as fallback, and the feed of job events.
export {
  createPeerLinks,
  type ControlLink,
  type HeldLink,
  type PeerLinks,
  type PeerLinksInit,
} from "./peer-links.ts";
export { type LinkMessage, type LinkPath, type LinkPeer } from "./peer-link.ts";
export { type CandidateType } from "./sdp.ts";
export { type PeerConnectionConfig, type PeerConnectionConstructor } from "./rtc-types.ts";
export { type LinkKeysPort } from "./link-keys-port.ts";
export { type BulkStreams } from "./bulk/bulk.ts";
export { type BulkWriter } from "./bulk/bulk-sender.ts";
export { type SignalingPort, type SignalIn, type RelayIn } from "./signaling-port.ts";
export { type Clock, systemClock } from "./clock.ts";
export {
  createEventFeed,
  type CommandHandler,
  type EventFeed,
  type EventFeedInit,
} from "./event-feed.ts";
export { type EventLogReader } from "./event-log.ts";
export { type SampleImage } from "./sample-sender.ts";
export { PeerTreeSource, isRelayed } from "./tree/peer-tree-source.ts";
export { TreeServer, type Offered, type ServedTree } from "./tree/tree-server.ts";
export { type TreeLink } from "./tree/tree-link.ts";
