// Who of those present serves an artifact, nearest first (docs/protocol/data-server.md §2). Pure.
import type { ArtifactId, Holder, PeerId } from "@waybill/sdk/protocol";
import { BlockList, isIPv4, isIPv6 } from "node:net";
import type { ConnectedPeer } from "../signaling/router.ts";

/** More than a download draws from at once. */
const MAX_HOLDERS = 16;

export type Asker = {
  /** The address its request came from. */
  readonly remote: string;
  /** Its own peer. */
  readonly without?: PeerId | undefined;
};

/**
 * Peers that serve and have told the artifact, and those that fill: of the caller's own address first, then of its
 * network, then others; of those equally near, who has it before who would fetch it.
 */
export function holdersOf(
  peers: readonly ConnectedPeer[],
  artifact: ArtifactId,
  asker: Asker,
): Holder[] {
  const near = nearnessTo(asker.remote);
  return peers
    .flatMap(({ info, serves, worker, remote }) => {
      if (serves === undefined || info.peerId === asker.without) return [];
      const has = worker?.cached?.includes(artifact) === true;
      if (!has && serves.fills !== true) return [];
      const told: Holder = { peer: info.peerId, name: info.name, ...serves };
      const distance = near(remote, told);
      const holder: Holder = distance < 2 ? { ...told, near: true } : told;
      return [{ holder, far: distance * 2 + (has ? 0 : 1) }];
    })
    .sort((a, b) => a.far - b.far)
    .slice(0, MAX_HOLDERS)
    .map(({ holder }) => holder);
}

/** 0: connected from the same address. 1: has an address in the same network. 2: anywhere. */
function nearnessTo(asker: string): (remote: string, holder: Holder) => 0 | 1 | 2 {
  const address = plainAddress(asker);
  const network = new BlockList();
  if (isIPv4(address)) network.addSubnet(address, 24, "ipv4");
  if (isIPv6(address)) network.addSubnet(address, 64, "ipv6");
  return (remote, { addresses }) => {
    if (plainAddress(remote) === address) return 0;
    const isBeside = addresses.some(({ url }) => {
      const host = new URL(url).hostname.replaceAll(/[[\]]/g, "");
      return network.check(host, isIPv6(host) ? "ipv6" : "ipv4");
    });
    return isBeside ? 1 : 2;
  };
}

/** IPv4 addresses that came over an IPv6 socket are themselves. */
function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "");
}
