// Peer ids follow from keys, so nobody can take another key's (docs/protocol/signaling.md §2).
import { PeerId, decodeValue } from "@waybill/sdk/protocol";

/** `p_` + 16 characters of the thumbprint (`_` as `-`) + `_` + instance. */
export function peerIdOf(thumbprint: string, instance: string): PeerId {
  return decodeValue(PeerId, `${keyPart(thumbprint)}${instance}`, "peer id");
}

/** Whether `peer` is one of the processes that hold the key with this thumbprint. */
export function ownsPeer(thumbprint: string, peer: PeerId | undefined): boolean {
  return peer !== undefined && peer.startsWith(keyPart(thumbprint));
}

function keyPart(thumbprint: string): string {
  return `p_${thumbprint.slice(0, 16).replaceAll("_", "-")}_`;
}
