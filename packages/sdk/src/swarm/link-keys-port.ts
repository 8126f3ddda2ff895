// What links need of this process's keys. `LinkKeys` of `hub-client/` fits; the swarm itself knows no identity.
import type { KeyAgreement, PeerId, PeerInfo, PeerSignature } from "../protocol/index.ts";

export type LinkKeysPort = {
  /** Our own, as the hub shows it to the others. */
  readonly agreement: KeyAgreement;
  sign(payload: Uint8Array, typ: string): Promise<PeerSignature>;
  /** Whether the key that `peer`'s id is made of has signed `payload` as something of this `typ`. */
  verify(signed: {
    readonly peer: PeerId;
    readonly payload: Uint8Array;
    readonly typ: string;
    readonly signature: PeerSignature;
  }): Promise<boolean>;
  /** Whether a peer's agreement key was signed by the key its id is made of. */
  vouches(peer: Pick<PeerInfo, "peerId" | "publicKey" | "agreement">): Promise<boolean>;
  /** The X25519 secret shared with the holder of this key. */
  sharedSecret(theirKey: string): Promise<ArrayBuffer>;
};
