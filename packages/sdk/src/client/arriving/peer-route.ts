// The pushing machine as a peer of the room (docs/protocol/arriving.md §7): the link to the peer that the announcement
// names, for as long as it is announced, and its tree while the link has a path that carries bulk streams.
import type { ShardMap } from "../../artifact/index.ts";
import type { DirectAddress, PeerAddress, PeerId } from "../../protocol/index.ts";
import { PeerTreeSource, type TreeLink, isRelayed } from "../../swarm/index.ts";
import type { ArrivingFeed } from "./arriving-feed.ts";
import type { DirectRoute } from "./direct-route.ts";

/** What reading from peers needs of `PeerLinks`. */
export type TreePeers = { linkTo(peer: PeerId): TreeLink & { release(): void } };

export type PeerRouteInit = {
  readonly map: ShardMap;
  readonly feed: Pick<ArrivingFeed, "account" | "onChange">;
  readonly peers: TreePeers;
};

type Held = {
  readonly address: PeerAddress;
  readonly link: ReturnType<TreePeers["linkTo"]>;
  readonly source: PeerTreeSource;
  readonly off: () => void;
};

export class PeerRoute implements DirectRoute {
  readonly #init: PeerRouteInit;
  readonly #listeners = new Set<() => void>();
  readonly #unsubscribe: () => void;
  #held: Held | undefined;
  #closed = false;

  constructor(init: PeerRouteInit) {
    this.#init = init;
    this.#unsubscribe = init.feed.onChange(() => this.#look());
    this.#look();
  }

  get inner(): PeerTreeSource | undefined {
    return this.#held?.link.path.kind === "webrtc" ? this.#held.source : undefined;
  }

  /** Whether its bytes cost whoever runs the TURN server. */
  get isRelayed(): boolean {
    return this.#held !== undefined && isRelayed(this.#held.link.path);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The link watches its path itself. */
  failed(): void {}

  /** Tells the peer that all of it is here, verified. */
  delivered(): void {
    try {
      const { offer } = this.#held?.address ?? {};
      if (offer !== undefined) this.#held?.link.send({ type: "tree.done", offer });
    } catch {
      // It has no path to us, and will hear of it from the job.
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsubscribe();
    this.#release();
  }

  #look(): void {
    const { done, direct } = this.#init.feed.account;
    const address = done ? undefined : direct.find(isPeer);
    const { peer, offer } = this.#held?.address ?? {};
    if (peer === address?.peer && offer === address?.offer) return;
    this.#release();
    if (address !== undefined) this.#held = this.#hold(address);
    this.#tell();
  }

  #hold(address: PeerAddress): Held {
    const link = this.#init.peers.linkTo(address.peer);
    const source = new PeerTreeSource({ link, offer: address.offer, map: this.#init.map });
    return { address, link, source, off: link.onPath(() => this.#tell()) };
  }

  #release(): void {
    this.#held?.off();
    this.#held?.link.release();
    this.#held = undefined;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function isPeer(address: DirectAddress): address is PeerAddress {
  return "peer" in address;
}
