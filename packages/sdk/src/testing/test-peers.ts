// Peers with keys of their own for tests of links: their ids are made of their keys, as a hub would.
import {
  createLinkKeys,
  generateIdentityKey,
  loadIdentity,
  type LinkKeys,
} from "../hub-client/index.ts";
import { PeerId, type PeerInfo, decodeValue } from "../protocol/index.ts";

export type TestPeer = {
  readonly peerId: PeerId;
  readonly keys: LinkKeys;
  /** What the hub shows of it. */
  readonly shown: Pick<PeerInfo, "publicKey" | "agreement">;
};

/** Makes so many peers, in ascending order of their ids. */
export async function makePeers(count: number): Promise<TestPeer[]> {
  const peers = await Promise.all(Array.from({ length: count }, (_, i) => makePeer(`t${i}`)));
  return peers.sort((a, b) => (a.peerId < b.peerId ? -1 : 1));
}

async function makePeer(instance: string): Promise<TestPeer> {
  const identity = await loadIdentity(await generateIdentityKey());
  const keys = await createLinkKeys(identity);
  const { publicKey, thumbprint } = identity;
  const id = `p_${thumbprint.slice(0, 16).replaceAll("_", "-")}_${instance}`;
  return {
    peerId: decodeValue(PeerId, id, "peer id"),
    keys,
    shown: { publicKey, agreement: keys.agreement },
  };
}
