// A regional cache: a member of a room that serves the room's artifacts to those near it, and fetches what it does not have
// once for all of them (docs/protocol/data-server.md §4).
//
//   readers ══ranges══▶ data server ── ProxyTrees ──┬─ whole ──▶ artifact cache
//                                                   └─ Fills ──one pull each──▶ the room's store, or the upstream cache
import { resolve } from "node:path";
import { type HubClient, type SignalingSession, createSession } from "@waybill/sdk/hub-client";
import type { GrowingTree } from "@waybill/sdk/client";
import {
  DATA_PORT,
  type PeerId,
  type RoomId,
  type Serving,
  WaybillError,
} from "@waybill/sdk/protocol";
import { CachedProvider } from "../data-server/cached-provider.ts";
import { type DataServer, startDataServer } from "../data-server/data-server.ts";
import { ArtifactCache } from "../worker/cache/artifact-cache.ts";
import { type DiskAmount, diskBytes } from "../worker/cache/disk-amount.ts";
import { type DataDir, openDataDir } from "../worker/data-dir/data-dir.ts";
import { MIN_FREE_BYTES } from "../worker/jobs/disk-guard.ts";
import type { Log } from "../worker/ports.ts";
import { TokenRenewal } from "../worker/token-renewal.ts";
import { Fills, type FillsEvent } from "./fills.ts";
import { type Origin, type Upstream, roomOrigin } from "./origin.ts";
import { ProxyCounters, type ProxyStats } from "./proxy-stats.ts";
import { ProxyTrees } from "./proxy-trees.ts";

export type CacheProxyEvent =
  | { readonly type: "ready"; readonly peerId: PeerId; readonly urls: readonly string[] }
  | { readonly type: "online" }
  | { readonly type: "offline"; readonly reason: string }
  /** The hub refused for good. */
  | { readonly type: "refused"; readonly error: Error }
  | { readonly type: "log"; readonly level: Parameters<Log>[0]; readonly message: string }
  | FillsEvent;

export type CacheProxyInit = {
  readonly hub: HubClient;
  readonly room: RoomId;
  /** Shown to the others in the room. */
  readonly name: string;
  /** What this proxy is known by, and its cache; no other process and no other room may use it: all of it is served. */
  readonly dir: string;
  /** Most the cache may take. Default: half of its file system. */
  readonly maxBytes?: DiskAmount | undefined;
  /** Left free on the cache's file system. Default 256 MiB. */
  readonly minFreeBytes?: DiskAmount | undefined;
  /** Absent: the room's store. */
  readonly upstream?: Upstream | undefined;
  readonly listen: { readonly host?: string | undefined; readonly port?: number | undefined };
  /** Takes a renewed token to keep. */
  readonly onToken: (token: string) => void | Promise<void>;
  readonly onEvent: (event: CacheProxyEvent) => void;
};

export interface CacheProxy extends AsyncDisposable {
  /** Where it serves, with the token. */
  readonly addresses: Serving["addresses"];
  readonly stats: ProxyStats;
  /** Ends answers and fills, which go on where they were the next time. Idempotent. */
  stop(): Promise<void>;
}

/** Fifty readers with eight requests each, and some that go. A request holds an eighth of a MiB and what its socket does. */
const MAX_REQUESTS = 512;

/** What was read when something new came goes a moment after that. */
const UPKEEP_MS = 10_000;

/** A cluster may have one address, and all of it starts at once. */
const DOOR = { strangers: 512, strangersPerAddress: 256 };

/** Opens the cache, serves it and joins the room; throws `conflict` while another process has the directory. */
export async function startCacheProxy(init: CacheProxyInit): Promise<CacheProxy> {
  const dir = await openDataDir(resolve(init.dir), "desktop");
  const maxBytes = await diskBytes(init.maxBytes ?? { percent: 50 }, dir.cacheDir);
  const minFreeBytes = await diskBytes(init.minFreeBytes ?? MIN_FREE_BYTES, dir.cacheDir);
  const proxy = new Proxy({ ...init, maxBytes, minFreeBytes }, dir);
  try {
    await proxy.start();
  } catch (error) {
    await proxy.stop();
    throw error;
  }
  return proxy;
}

type ProxyInit = CacheProxyInit & { readonly maxBytes: number; readonly minFreeBytes: number };

class Proxy implements CacheProxy {
  readonly #init: ProxyInit;
  readonly #dir: DataDir;
  readonly #counters = new ProxyCounters();
  readonly #origin: Origin;
  readonly #cache: ArtifactCache;
  readonly #whole: CachedProvider;
  readonly #fills: Fills;
  readonly #trees: ProxyTrees;
  readonly #session: SignalingSession;
  readonly #renewal: TokenRenewal;
  #server: DataServer | undefined;
  #running = 0;
  #stopping: Promise<void> | undefined;

  constructor(init: ProxyInit, dir: DataDir) {
    this.#init = init;
    this.#dir = dir;
    const { hub, room, name, upstream, maxBytes, minFreeBytes, onEvent } = init;
    const log: Log = (level, message) => onEvent({ type: "log", level, message });
    const onReceived = (bytes: number) => (this.#counters.originBytes += bytes);
    this.#origin = roomOrigin({ hub, room, upstream, onReceived });
    const { cacheDir } = dir;
    const upkeepMs = UPKEEP_MS;
    const cache = new ArtifactCache({ cacheDir, maxBytes, minFreeBytes, upkeepMs, log });
    this.#cache = cache;
    // All of it came from this room.
    this.#whole = new CachedProvider({ cache, isShared: async () => true });
    this.#fills = new Fills({
      cache,
      origin: this.#origin,
      admit: (tree) => this.#admit(tree),
      onEvent: (event) => this.#filled(event),
    });
    this.#trees = new ProxyTrees({
      whole: this.#whole,
      fills: this.#fills,
      onAsked: (how) => (this.#counters.asked[how] += 1),
    });
    this.#session = createSession({
      hub,
      room,
      name,
      instance: dir.instance,
      serves: () => ({ addresses: [...this.addresses], fills: true }),
    });
    this.#renewal = new TokenRenewal({
      hub,
      room,
      token: () => hub.credential?.token,
      onToken: async (token) => {
        const identity = hub.credential?.identity;
        if (identity !== undefined) hub.useCredential({ token, identity });
        await init.onToken(token);
      },
      now: Date.now,
      log,
    });
  }

  get addresses(): Serving["addresses"] {
    return [...(this.#server?.addresses ?? [])];
  }

  get stats(): ProxyStats {
    const { asked, fills, failedFills, originBytes } = this.#counters;
    return {
      hits: asked.hit,
      shared: asked.shared,
      misses: asked.miss,
      fills,
      failedFills,
      originBytes,
      servedBytes: this.#server?.servedBytes ?? 0,
      filling: this.#running,
    };
  }

  async start(): Promise<void> {
    const { listen, onEvent } = this.#init;
    await this.#cache.start();
    this.#server = await startDataServer({
      trees: this.#trees,
      stats: () => this.stats,
      maxRequests: MAX_REQUESTS,
      door: DOOR,
      listen: {
        host: listen.host,
        ports: listen.port === undefined ? [DATA_PORT, 0] : [listen.port],
      },
    });
    let isKnown = false;
    this.#session.on("welcome", ({ peerId }) => {
      const urls = this.addresses.map(({ url }) => url);
      onEvent(isKnown ? { type: "online" } : { type: "ready", peerId, urls });
      isKnown = true;
    });
    this.#session.on("closed", ({ code, reason }) =>
      onEvent({
        type: "offline",
        reason: reason === "" ? `the connection closed (${code})` : reason,
      }),
    );
    this.#session.on("failed", (error) => onEvent({ type: "refused", error }));
    this.#session.start();
    this.#renewal.start();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** The room is told first: nobody is sent here any more. */
  async #stop(): Promise<void> {
    await this.#session.stop();
    await this.#renewal.stop();
    await this.#server?.stop();
    await this.#fills.stop();
    this.#whole.stop();
    await this.#cache.close();
    this.#origin.close();
    await this.#dir.close();
  }

  /** Refuses what can never fit, before a byte of it is fetched; the cache finds room for the rest, or says that there is none. */
  #admit({ artifact, map: { bytes } }: GrowingTree): void {
    const { maxBytes } = this.#init;
    if (bytes <= maxBytes) return;
    const what = `${artifact.slice(0, 12)} has ${bytes} bytes, the cache ${maxBytes}`;
    throw new WaybillError("storage_full", what, {
      hint: "start the cache with a larger --cache-size",
    });
  }

  #filled(event: FillsEvent): void {
    if (event.type === "fill.started") this.#running += 1;
    else this.#running -= 1;
    if (event.type === "fill.whole") this.#counters.fills += 1;
    if (event.type === "fill.failed") this.#counters.failedFills += 1;
    this.#init.onEvent(event);
  }
}
