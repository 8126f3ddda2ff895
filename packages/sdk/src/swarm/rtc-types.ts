// The part of the W3C API that links use; browsers' and node-datachannel's both fit.
export type PeerConnection = Pick<
  RTCPeerConnection,
  | "connectionState"
  | "addEventListener"
  | "addIceCandidate"
  | "close"
  | "createAnswer"
  | "createDataChannel"
  | "createOffer"
  | "getStats"
  | "setLocalDescription"
  | "setRemoteDescription"
> & { readonly sctp: { readonly maxMessageSize: number | null } | null };

/** `mtu` is node-datachannel's; browsers ignore it. */
export type PeerConnectionConfig = RTCConfiguration & { readonly mtu?: number };
export type PeerConnectionConstructor = new (config: PeerConnectionConfig) => PeerConnection;
