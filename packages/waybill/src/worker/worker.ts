// The worker daemon: registers with the hub, takes jobs it has a slot for, runs them, and answers viewers.
// A daemon that was killed finds its jobs again in the data directory.
import type { ArtifactId, HubToPeer, PeerId, RoomId, WorkerKind } from "@waybill/sdk/protocol";
import { CachedProvider } from "../data-server/cached-provider.ts";
import type { DataServer } from "../data-server/data-server.ts";
import { ArtifactCache } from "./cache/artifact-cache.ts";
import { type DiskAmount, diskBytes } from "./cache/disk-amount.ts";
import { detectCapabilities } from "./capabilities/capabilities.ts";
import { type DataDir, openDataDir } from "./data-dir/data-dir.ts";
import { createGpuReader } from "./events/gpus.ts";
import { MIN_FREE_BYTES, freeBytesOf } from "./jobs/disk-guard.ts";
import { JobBoard } from "./jobs/job-board.ts";
import type { RunContext } from "./jobs/run-parts.ts";
import type {
  CommandAck,
  FeedPort,
  HubCalls,
  Log,
  SessionPort,
  StorePort,
  TransferPort,
  WorkerHello,
} from "./ports.ts";
import { CachedNotice } from "./serving/cached-notice.ts";
import { RoomArtifacts } from "./serving/room-artifacts.ts";
import { type ServingInit, serveCache, servingOf } from "./serving/serve-cache.ts";
import { WORKER_TIMING, type WorkerTiming } from "./timing.ts";
import { TokenRenewal } from "./token-renewal.ts";
import type { WorkerEventListener } from "./worker-events.ts";

export type { WorkerEvent } from "./worker-events.ts";

export type WorkerInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  /** Shown to the others in the room. */
  readonly name: string;
  readonly kind: WorkerKind;
  readonly dataDir: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Programs jobs may name, with their arguments. */
  readonly trainers?: Readonly<Record<string, readonly string[]>>;
  /** Whether jobs may bring a command, code and environment of their own. Default: yes. */
  readonly commands?: boolean;
  /** Jobs at once. Default 1. */
  readonly slots?: number;
  readonly version: string;
  /** Names of variables handed to trainers although they look like secrets. */
  readonly passEnv?: readonly string[];
  /** Where the artifact cache lies; several workers may share it. Default: in `dataDir`. */
  readonly cacheDir?: string;
  /** Size of the artifact cache. Default: half of its file system. */
  readonly cacheBytes?: DiskAmount;
  /** What the cache leaves free on its file system. Default 256 MiB. */
  readonly cacheFreeBytes?: DiskAmount;
  /** Whether checkpoints are kept in the room while training goes on. Default: on workers of kind `ephemeral`. */
  readonly checkpoints?: boolean;
  /** A job is failed before its disk has less than this free. Default 256 MiB. */
  readonly minFreeBytes?: number;
  /** Bytes free where a directory lies. Default: what the operating system says. */
  readonly freeBytes?: (dir: string) => Promise<number>;
  /** Makes the signaling session; `hello` is asked at every connect. */
  readonly createSession: (init: {
    readonly instance: string;
    readonly hello: () => WorkerHello;
  }) => SessionPort;
  /** Makes the links to viewers on that session. */
  readonly createFeed: (session: SessionPort) => FeedPort | Promise<FeedPort>;
  readonly transfer: TransferPort;
  /** Serves the cache to members of the room. Default: not. */
  readonly serving?: ServingInit;
  /** The object store by credentials of this worker's own, for when the hub cannot be reached. */
  readonly store?: StorePort;
  /** Lower-case hex BLAKE3-256. */
  readonly digest: (bytes: Uint8Array) => string;
  /** The token in use, and who takes a fresh one. */
  readonly token?: {
    readonly current: () => string | undefined;
    readonly renewed: (token: string) => void | Promise<void>;
  };
  readonly onEvent: WorkerEventListener;
  readonly timing?: Partial<WorkerTiming>;
  readonly now?: () => number;
};

export type Worker = AsyncDisposable & {
  /** Opens the data directory, takes up jobs left there and connects; throws `conflict` while another daemon has it. */
  start(): Promise<void>;
  /** Ends running jobs as `interrupted`, stores what is left of them and disconnects. Idempotent. */
  stop(): Promise<void>;
};

/**
 * Makes a worker; nothing happens before `start()`.
 *
 * @example
 * const worker = createWorker({ hub, room, name: "lab-3", kind: "desktop", dataDir, version, onEvent: console.log,
 *   ...connectWorker({ hub, room, name: "lab-3" }) });
 * await worker.start();
 */
export function createWorker(init: WorkerInit): Worker {
  return new Daemon(init);
}

class Daemon implements Worker {
  readonly #init: WorkerInit;
  readonly #timing: WorkerTiming;
  readonly #now: () => number;
  readonly #log: Log;
  #dir: DataDir | undefined;
  #cache: ArtifactCache | undefined;
  #session: SessionPort | undefined;
  #feed: FeedPort | undefined;
  #board: JobBoard | undefined;
  #renewal: TokenRenewal | undefined;
  #notice: CachedNotice | undefined;
  #server: DataServer | undefined;
  #trees: CachedProvider | undefined;
  /** Said once the worker is ready, which whoever started it hears first. */
  readonly #unsaid: Parameters<Log>[] = [];
  #workerId: PeerId | undefined;
  #stopping: Promise<void> | undefined;

  constructor(init: WorkerInit) {
    this.#init = init;
    this.#timing = { ...WORKER_TIMING, ...init.timing };
    this.#now = init.now ?? Date.now;
    this.#log = (level, message) => init.onEvent({ type: "log", level, message });
  }

  async start(): Promise<void> {
    const { kind, room, hub } = this.#init;
    const dir = await openDataDir(this.#init.dataDir, kind, this.#init.cacheDir);
    this.#dir = dir;
    const cache = await openCache(this.#init, dir.cacheDir, this.#log);
    this.#cache = cache;
    const gpus = createGpuReader();
    const capabilities = await detectCapabilities({
      kind,
      trainers: Object.keys(this.#init.trainers ?? {}),
      commands: this.#init.commands ?? true,
      labels: this.#init.labels ?? {},
      slots: this.#init.slots ?? 1,
      version: this.#init.version,
      gpus,
    });
    await this.#serve(cache);
    const session = this.#init.createSession({
      instance: dir.instance,
      hello: () => ({
        capabilities,
        jobs: this.#board?.held ?? [],
        cached: this.#notice?.tell() ?? [],
        serves: servingOf(this.#server?.addresses ?? []),
      }),
    });
    this.#session = session;
    const feed = await this.#init.createFeed(session);
    this.#feed = feed;
    const context: RunContext = {
      hub,
      feed,
      gpus,
      capabilities,
      transfer: this.#init.transfer,
      store: this.#init.store,
      cache,
      trainers: this.#init.trainers ?? {},
      passEnv: this.#init.passEnv ?? [],
      checkpoints: this.#init.checkpoints ?? kind === "ephemeral",
      minFreeBytes: this.#init.minFreeBytes ?? MIN_FREE_BYTES,
      freeBytes: this.#init.freeBytes ?? freeBytesOf,
      timing: this.#timing,
      digest: this.#init.digest,
      now: this.#now,
      log: this.#log,
      workerId: () => this.#workerId,
    };
    const board = new JobBoard({
      context,
      room,
      spoolDir: dir.spoolDir,
      send: (message) => session.send(message),
      onEvent: this.#init.onEvent,
    });
    this.#board = board;
    feed.onCommand((command, from, ack) => board.command(command, from.name, ack));
    await board.takeUp();
    session.start({
      onMessage: (message) => this.#message(message),
      onOffline: (reason) => this.#init.onEvent({ type: "offline", reason }),
      onRefused: (error) => this.#init.onEvent({ type: "refused", error }),
    });
    const { token } = this.#init;
    if (token !== undefined) {
      this.#renewal = new TokenRenewal({
        hub,
        room,
        token: token.current,
        onToken: token.renewed,
        now: this.#now,
        log: this.#log,
      });
      this.#renewal.start();
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Others may have what is cached, and are told of it. */
  async #serve(cache: ArtifactCache): Promise<void> {
    const { hub, room, serving } = this.#init;
    const artifacts = new RoomArtifacts({ hub, room });
    const isShared = (artifact: ArtifactId) => artifacts.knows(artifact);
    this.#notice = new CachedNotice({
      cache,
      isShared,
      send: (list) => this.#session?.send({ type: "worker.cached", artifacts: list }) ?? false,
      log: this.#log,
    });
    this.#notice.start();
    if (serving === undefined) return;
    this.#trees = new CachedProvider({ cache, isShared });
    this.#server = await serveCache(this.#trees, serving, (...said) => this.#unsaid.push(said));
  }

  async #stop(): Promise<void> {
    await this.#notice?.stop();
    await this.#board?.stop(this.#timing.shutdownGraceMs + this.#timing.shutdownMs);
    await this.#server?.stop();
    this.#trees?.stop();
    await this.#renewal?.stop();
    await this.#feed?.stop();
    await this.#session?.stop();
    this.#init.transfer.close();
    this.#init.store?.close();
    await this.#cache?.close();
    await this.#dir?.close();
  }

  #message(message: HubToPeer): void {
    switch (message.type) {
      case "welcome": {
        const first = this.#workerId === undefined;
        this.#workerId = message.peerId;
        this.#notice?.online();
        const { kind } = this.#init;
        if (first) this.#init.onEvent({ type: "ready", workerId: message.peerId, kind });
        else this.#init.onEvent({ type: "online", workerId: message.peerId });
        for (const said of this.#unsaid.splice(0)) this.#log(...said);
        return;
      }
      case "job.offer":
        this.#board?.offered(message.assignment);
        return;
      case "job.revoke":
        this.#board?.revoked(message.job, message.attempt, message.reason);
        return;
      case "job.command": {
        const { id } = message.command;
        let answered = false;
        this.#board?.command(message.command, message.by, (ack) => {
          if (!answered) this.#answer(id, ack);
          answered = true;
        });
        return;
      }
      default:
        // Presence, negotiation and relayed messages are the links' business.
        return;
    }
  }

  /** The hub asks whether the worker has the command: a stage. What comes of it goes to viewers and into the log. */
  #answer(id: string, { stage, message }: CommandAck): void {
    const text = message === undefined ? {} : { message };
    if (stage === "rejected") this.#session?.send({ type: "command.ack", id, stage, ...text });
    else {
      const when = stage === "received" ? text : {};
      this.#session?.send({ type: "command.ack", id, stage: "received", ...when });
    }
  }
}

async function openCache(
  { cacheBytes = { percent: 50 }, cacheFreeBytes = MIN_FREE_BYTES }: WorkerInit,
  cacheDir: string,
  log: Log,
): Promise<ArtifactCache> {
  const cache = new ArtifactCache({
    cacheDir,
    maxBytes: await diskBytes(cacheBytes, cacheDir),
    minFreeBytes: await diskBytes(cacheFreeBytes, cacheDir),
    log,
  });
  await cache.start();
  return cache;
}
