// Talking to a hub: typed HTTP calls, the key that signs them, the signaling session.
export {
  HubClient,
  type HubClientInit,
  type CallOptions,
  type Credential,
  type Patience,
} from "./http.ts";
export {
  generateIdentityKey,
  loadIdentity,
  tokenHash,
  type Identity,
  type IdentityKey,
  type ProofRequest,
  type DetachedSignature,
  type SignedHeader,
} from "./identity.ts";
export { createLinkKeys, type LinkKeys } from "./link-keys.ts";
export {
  createAgreement,
  isKeyOf,
  verifyAgreement,
  verifyPeerSignature,
  type AgreementKey,
} from "./peer-keys.ts";
export {
  createSession,
  type SessionInit,
  type SessionMessage,
  type SignalingSession,
} from "./session.ts";
export { type SessionClock } from "./session-clock.ts";
export { type SocketConstructor, type SocketLike } from "./socket-like.ts";
export { type SessionEvents, type Welcome } from "./session-events.ts";
