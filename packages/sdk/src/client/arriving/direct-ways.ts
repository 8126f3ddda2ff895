// All ways to the pushing machine as sources of one download. An HTTP address that answers is taken: it is the fastest,
// and where it answers the network is the same. Else its link as a peer, which passes NATs; free, or counted as
// paid where a TURN server relays it.
import type { ShardMap } from "../../artifact/index.ts";
import type { Source } from "../../transfer/index.ts";
import { DirectOffer } from "./direct-offer.ts";
import { DirectSource } from "./direct-source.ts";
import { HttpRoute, type HttpRouteInit } from "./http-route.ts";
import { PeerRoute, type TreePeers } from "./peer-route.ts";

export type DirectWaysInit = HttpRouteInit & {
  /** Absent: only HTTP addresses are tried. */
  readonly peers?: TreePeers | undefined;
};

export class DirectWays {
  readonly sources: readonly Source[];
  readonly #offer: DirectOffer;
  readonly #http: HttpRoute;
  readonly #peer: PeerRoute | undefined;

  constructor(init: DirectWaysInit) {
    const { map, feed, peers } = init;
    this.#offer = new DirectOffer(map, feed);
    this.#http = new HttpRoute(init);
    this.#peer = peers === undefined ? undefined : new PeerRoute({ map, feed, peers });
    this.sources = [
      this.#overHttp(map),
      ...(this.#peer === undefined
        ? []
        : [
            this.#overPeer(map, this.#peer, { relayed: false }),
            this.#overPeer(map, this.#peer, { relayed: true }),
          ]),
    ];
  }

  /** Everything is here, verified: the pushing machine may want to know. */
  delivered(): void {
    this.#peer?.delivered();
  }

  async close(): Promise<void> {
    this.#offer.close();
    await this.#http.close();
    await this.#peer?.close();
  }

  #overHttp(map: ShardMap): Source {
    return new DirectSource({
      id: "the pushing machine",
      kind: "http",
      cost: "free",
      map,
      offer: this.#offer,
      route: this.#http,
    });
  }

  #overPeer(map: ShardMap, route: PeerRoute, { relayed }: { readonly relayed: boolean }): Source {
    return new DirectSource({
      id: relayed ? "the pushing peer, relayed" : "the pushing peer",
      kind: "peer",
      cost: relayed ? "paid" : "free",
      map,
      offer: this.#offer,
      route,
      isChosen: () => this.#http.inner === undefined && route.isRelayed === relayed,
      others: [this.#http],
    });
  }
}
