// The keys of one process as peer links need them (docs/protocol/peer-channel.md §4, §7): what it signs about its connections,
// what others have signed, and the secrets it shares with them. `swarm/link-keys-port.ts` is the type it fits.
import { decodeProtectedHeader } from "jose";
import * as v from "valibot";
import {
  type KeyAgreement,
  type PeerId,
  type PeerInfo,
  type PeerSignature,
  PublicKey,
} from "../protocol/index.ts";
import type { Identity } from "./identity.ts";
import { createAgreement, isKeyOf, verifyAgreement, verifyPeerSignature } from "./peer-keys.ts";

export type LinkKeys = {
  /** Goes into the session's hello; the hub shows it to the others. */
  readonly agreement: KeyAgreement;
  sign(payload: Uint8Array, typ: string): Promise<PeerSignature>;
  /** Whether the key that `peer`'s id is made of has signed `payload` as something of this `typ`. */
  verify(signed: {
    readonly peer: PeerId;
    readonly payload: Uint8Array;
    readonly typ: string;
    readonly signature: PeerSignature;
  }): Promise<boolean>;
  /** Whether a peer's agreement key was signed by the key its id is made of, whatever the hub says. */
  vouches(peer: Pick<PeerInfo, "peerId" | "publicKey" | "agreement">): Promise<boolean>;
  /** The X25519 secret shared with the holder of this key (RFC 7748); 32 bytes. */
  sharedSecret(theirKey: string): Promise<ArrayBuffer>;
};

const Header = v.object({ jwk: v.object({ x: PublicKey }) });

/** Makes a process's agreement key and binds it, and what links sign, to `identity`. */
export async function createLinkKeys(identity: Identity): Promise<LinkKeys> {
  const { agreement, privateKey } = await createAgreement(identity);
  return {
    agreement,
    sign: (payload, typ) => identity.sign(payload, { typ }),
    verify: async ({ peer, payload, typ, signature }) => {
      const publicKey = keyOf(signature);
      return (
        publicKey !== undefined &&
        (await isKeyOf(publicKey, peer)) &&
        verifyPeerSignature({ publicKey, payload, typ, signature })
      );
    },
    vouches: async ({ peerId, publicKey, agreement: theirs }) =>
      publicKey !== undefined &&
      theirs !== undefined &&
      (await isKeyOf(publicKey, peerId)) &&
      verifyAgreement(publicKey, theirs),
    sharedSecret: async (theirKey) => {
      const jwk = { kty: "OKP", crv: "X25519", x: theirKey };
      const their = await crypto.subtle.importKey("jwk", jwk, { name: "X25519" }, false, []);
      return crypto.subtle.deriveBits({ name: "X25519", public: their }, privateKey, 256);
    },
  };
}

/** The key a signature says it was made with. */
function keyOf(signature: PeerSignature): PublicKey | undefined {
  try {
    return v.parse(Header, decodeProtectedHeader(signature)).jwk.x;
  } catch {
    return undefined;
  }
}
