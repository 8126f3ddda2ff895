// The machines of a scenario, and where each need is met: own cache, then peers, then the regional proxy, then the store,
// as a worker does it (docs/transfer.md).
import type { Assumptions } from "./assumptions.ts";
import { Lru } from "./lru.ts";
import type { Random } from "./random.ts";
import { type Need, type Place, placeOf, roomsOf } from "./workload.ts";

/** What a scenario has besides the store. */
export type Means = {
  readonly caches: boolean;
  readonly peers: boolean;
  readonly proxies: boolean;
};

export type MetBy = "cache" | "peer" | "proxy" | "store";

type Desktop = { readonly cache: Lru; readonly isAlwaysOn: boolean };
type Pod = { readonly cache: Lru; left: number };

const GIGABYTE = 1000;

export class Fleet {
  readonly #assumptions: Assumptions;
  readonly #means: Means;
  readonly #random: Random;
  readonly #desktops: readonly (readonly Desktop[])[];
  readonly #volumes: readonly Lru[];
  readonly #proxies: readonly Lru[];
  readonly #pods = new Map<number, Pod>();
  /** Models of a room that were there at its last need. */
  readonly #known = new Map<number, number>();

  constructor(assumptions: Assumptions, means: Means, random: Random) {
    this.#assumptions = assumptions;
    this.#means = means;
    this.#random = random;
    const { workers, caches } = assumptions;
    const rooms = roomsOf(assumptions);
    this.#desktops = Array.from({ length: rooms }, () =>
      Array.from({ length: workers.desktopsPerRoom }, () => ({
        cache: this.#cache(caches.desktopGigabytes),
        isAlwaysOn: random() < workers.alwaysOnShare,
      })),
    );
    const volumes = Math.ceil(rooms / workers.roomsPerVolume);
    this.#volumes = Array.from({ length: volumes }, () => this.#cache(caches.volumeGigabytes));
    this.#proxies = Array.from({ length: workers.clusters }, () =>
      this.#cache(caches.proxyGigabytes),
    );
  }

  /** Cluster volumes there are. */
  get volumes(): number {
    return this.#volumes.length;
  }

  /** Meets a need; whoever fetched keeps what it has fetched. */
  meet(need: Need): MetBy {
    const { model } = need;
    if (!this.#means.caches) return "store";
    const on = this.#desktopsOn(need);
    this.#train(need, on);
    const { cache, inCluster } = this.#machineFor(need.place, need.room, on);
    if (cache.use(model)) return "cache";
    const by = this.#fetch(need, cache, on, inCluster);
    cache.add(model);
    return by;
  }

  /** What was trained since the room's last need is in the caches of the machines that trained it. */
  #train({ room, known, firstModel }: Need, on: readonly Desktop[]): void {
    const { workers } = this.#assumptions;
    if (!workers.trainersKeep) return;
    for (let index = this.#known.get(room) ?? known; index < known; index++) {
      const { cache } = this.#machineFor(placeOf(workers, this.#random()), room, on);
      cache.add(firstModel + index);
    }
    this.#known.set(room, known);
  }

  /** Somewhere in that place; a pod when nobody's desktop is on. */
  #machineFor(
    place: Place,
    room: number,
    on: readonly Desktop[],
  ): { readonly cache: Lru; readonly inCluster: boolean } {
    const desktop = place === "desktop" ? on[Math.floor(this.#random() * on.length)] : undefined;
    if (desktop !== undefined) return { cache: desktop.cache, inCluster: false };
    const cache = place === "volume" ? this.#volumeOf(room) : this.#podOf(room).cache;
    return { cache, inCluster: true };
  }

  #fetch({ model, room }: Need, own: Lru, on: readonly Desktop[], inCluster: boolean): MetBy {
    const { peers, proxies } = this.#means;
    if (peers && this.#hasPeer(model, room, own, on, inCluster)) return "peer";
    if (!proxies || !inCluster) return "store";
    const proxy = this.#proxies[this.#clusterOf(room)];
    if (proxy?.use(model) === true) return "proxy";
    proxy?.add(model);
    return "store";
  }

  #hasPeer(
    model: number,
    room: number,
    own: Lru,
    on: readonly Desktop[],
    inCluster: boolean,
  ): boolean {
    const { reachableShare, volumeServingShare } = this.#assumptions.peers;
    const desktops = on.some(
      ({ cache }) => cache !== own && cache.has(model) && this.#random() < reachableShare,
    );
    if (desktops || !inCluster) return desktops;
    const volume = this.#volumeOf(room);
    return volume !== own && volume.has(model) && this.#random() < volumeServingShare;
  }

  #desktopsOn({ room, office }: Need): readonly Desktop[] {
    return (this.#desktops[room] ?? []).filter(({ isAlwaysOn }) => isAlwaysOn || office);
  }

  #podOf(room: number): Pod {
    let pod = this.#pods.get(room);
    if (pod === undefined || pod.left === 0) {
      const { caches, workers } = this.#assumptions;
      pod = { cache: this.#cache(caches.podGigabytes), left: workers.fetchesPerPod };
      this.#pods.set(room, pod);
    }
    pod.left -= 1;
    return pod;
  }

  #volumeOf(room: number): Lru {
    const volume = this.#volumes[Math.floor(room / this.#assumptions.workers.roomsPerVolume)];
    if (volume === undefined) throw new RangeError(`room ${room} has no volume`);
    return volume;
  }

  #clusterOf(room: number): number {
    const { clusters, roomsPerVolume } = this.#assumptions.workers;
    return Math.floor(room / roomsPerVolume) % clusters;
  }

  #cache(gigabytes: number): Lru {
    return new Lru((gigabytes * GIGABYTE) / this.#assumptions.workload.modelMegabytes);
  }
}
