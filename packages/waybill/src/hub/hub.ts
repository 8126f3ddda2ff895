// The hub: control plane over HTTP and WebSocket, with the embedded object store beside it unless another
// one is named. This file only composes; what things do is in the folders.
//
//   node:http ─▶ app (routes) ─▶ access │ rooms │ uploads │ artifacts │ jobs │ registry ─▶ documents ─▶ S3 API
//        └─ upgrade ─▶ signaling ─▶ dispatcher                                                            │
//                                                                       embedded store │ AWS │ R2 │ … ◀───┘
import { LIMITS, type IcePolicy, type IceServer, type RoomId } from "@waybill/sdk/protocol";
import { join } from "node:path";
import { type StoreInit, createStore, createThreadedStore } from "../store/index.ts";
import { createAreas } from "./areas.ts";
import { IceServers, type TurnInit } from "./ice/ice-servers.ts";
import { listen } from "./http/http-server.ts";
import { type Clock, type Log, silentLog } from "./log.ts";
import { publicStoreEndpoint, urlHost, urlOf } from "./http/addresses.ts";
import { lockDataDir } from "./storage/data-lock.ts";
import { hubSecret, storeCredentials } from "./storage/secret-files.ts";
import { S3Storage } from "./storage/storage.ts";
import type { S3Credentials } from "./storage/presign.ts";

/** The store this package brings: files below the hub's data directory. */
export type EmbeddedStorage = {
  readonly kind: "embedded";
  /** Where the S3 API listens; the hub's host when absent. */
  readonly host?: string;
  /** Default 8701; 0 picks a free one. */
  readonly port?: number;
  /** Whether it runs in a thread of its own, where its work does not hold up the hub's answers; then without `clock`. */
  readonly ownThread?: boolean;
};

/** Any S3-compatible store with conditional writes. */
export type ExternalStorage = {
  readonly kind: "external";
  /** AWS's own when absent. */
  readonly endpoint?: string;
  readonly region: string;
  /** The AWS environment and profile chain when absent. */
  readonly credentials?: S3Credentials;
  /** Whether it joins only parts of one size; known of AWS and R2, and tried out on others, when absent. */
  readonly equalParts?: boolean;
};

export type HubInit = {
  /** Secrets, lock and the embedded store's files. */
  readonly dataDir: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 8700; 0 picks a free one. */
  readonly port?: number;
  readonly storage?: EmbeddedStorage | ExternalStorage;
  /** Default `waybill-uploads`. */
  readonly uploadsBucket?: string;
  /** Default `waybill-rooms`. */
  readonly roomsBucket?: string;
  /** What others reach this hub by, when that is not its host and port. */
  readonly publicUrl?: string;
  /** What presigned URLs name, when clients reach the store by another address than the hub does. */
  readonly s3PublicEndpoint?: string;
  /** When set, only who knows it may create rooms. */
  readonly adminToken?: string;
  /** Signs tokens; hubs of one bucket share it. `WAYBILL_HUB_SECRET`, or a file made once, when absent. */
  readonly secret?: string;
  /** Told to every peer; a TURN server without a credential of its own gets one for each peer (`turn`). */
  readonly iceServers?: readonly IceServer[] | (() => readonly IceServer[]);
  /** What credentials for TURN servers are made with. */
  readonly turn?: TurnInit;
  /** In rooms whose owner set nothing. Default `all`. */
  readonly icePolicy?: IcePolicy;
  /** Bytes a room may relay on one day (UTC), where its owner set nothing. Default: any. */
  readonly relayBudgetBytes?: number;
  /** A room's presence ends after this time without activity. Default 2 h. */
  readonly roomIdleMs?: number;
  /** A worker that has not been heard of for this long loses its job. Default 60 s. */
  readonly leaseMs?: number;
  /** Uploads and temporary datasets go after this time. Default 24 h. */
  readonly uploadTtlMs?: number;
  /** Presigned URLs are good for so many seconds, at most a week. Default an hour; tests want them to expire. */
  readonly presignSeconds?: number;
  /** How often idle sessions and expired uploads are looked for. Default 5 min, less with short times. */
  readonly sweepEveryMs?: number;
  /** Whether `X-Forwarded-For` is from a proxy of ours. */
  readonly trustProxy?: boolean;
  readonly log?: Log;
  readonly clock?: Clock;
};

type HubAddress = {
  readonly url: string;
  readonly s3: {
    readonly endpoint: string;
    readonly region: string;
    readonly uploadsBucket: string;
    readonly roomsBucket: string;
    /** AWS credentials file of the embedded store. */
    readonly credentialsFile?: string;
  };
};

export interface Hub extends AsyncDisposable {
  /**
   * Listens and answers where. Throws `conflict` when port or data directory are in use, `storage_failed`
   * when the store cannot be reached.
   */
  start(): Promise<HubAddress>;
  /** Closes sockets with "restarting", lets requests end, stops the store. Idempotent. */
  stop(): Promise<void>;
  /** Ends idle sessions and expired uploads now, rather than at the next round. */
  sweep(): Promise<void>;
}

const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_PORT = 8700;
const DEFAULT_STORE_PORT = 8701;
/** The embedded store has one region, and tools want one. */
const EMBEDDED_REGION = "us-east-1";
const SWEEP_EVERY_MS = 300_000;
/** Requests under way may take so long to end when the hub stops. */
const STOP_GRACE_MS = 10_000;

/**
 * Makes a hub; does nothing before `start`.
 *
 * @example
 * ```ts
 * await using hub = createHub({ dataDir: "./data", port: 0, storage: { kind: "embedded", port: 0 } });
 * const { url } = await hub.start();
 * ```
 */
export function createHub(init: HubInit): Hub {
  let started: Promise<Running> | undefined;
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    const running = await started?.catch(() => undefined);
    await running?.stop();
  };
  return {
    async start() {
      started ??= startHub(init);
      return (await started).address;
    },
    stop: () => (stopped ??= stop()),
    async sweep() {
      await (await started)?.sweep();
    },
    [Symbol.asyncDispose]() {
      return this.stop();
    },
  };
}

type Running = {
  readonly address: HubAddress;
  readonly stop: () => Promise<void>;
  readonly sweep: () => Promise<void>;
};

/** Starts part after part; when one fails, those before it are stopped again. */
async function startHub(init: HubInit): Promise<Running> {
  const closers: (() => unknown)[] = [];
  const stop = async () => {
    for (const close of closers.splice(0).toReversed()) await close();
  };
  try {
    return { ...(await startParts(init, closers)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  init: HubInit,
  closers: (() => unknown)[],
): Promise<Omit<Running, "stop">> {
  const { dataDir, host = DEFAULT_HOST, log = silentLog, clock = Date.now } = init;
  const roomIdleMs = init.roomIdleMs ?? LIMITS.roomIdleMs;
  const uploadTtlMs = init.uploadTtlMs ?? LIMITS.uploadTtlMs;
  closers.push(lockDataDir(dataDir));
  const secret = await hubSecret(dataDir, init.secret ?? process.env["WAYBILL_HUB_SECRET"]);

  const store = await openStore(init, host, log, clock, closers);
  const buckets = {
    uploadsBucket: init.uploadsBucket ?? "waybill-uploads",
    roomsBucket: init.roomsBucket ?? "waybill-rooms",
  };
  const storage = new S3Storage({ ...store, ...buckets, uploadTtlMs, clock, log });
  closers.push(() => storage[Symbol.asyncDispose]());
  await storage.prepare();
  // Found out before the first push waits for it.
  await storage.equalParts();

  const iceServers = init.iceServers ?? [];
  const areas = createAreas({
    storage,
    secret,
    adminToken: init.adminToken,
    iceServers: new IceServers({
      servers: typeof iceServers === "function" ? iceServers : () => iceServers,
      turn: init.turn,
      clock,
    }),
    policy: {
      icePolicy: init.icePolicy ?? "all",
      ...(init.relayBudgetBytes === undefined ? {} : { relayBudgetBytes: init.relayBudgetBytes }),
    },
    roomIdleMs,
    leaseMs: init.leaseMs,
    uploadTtlMs,
    presignSeconds: init.presignSeconds ?? LIMITS.presignSeconds,
    sweepEveryMs: init.sweepEveryMs ?? sweepInterval(roomIdleMs, uploadTtlMs),
    trustProxy: init.trustProxy ?? false,
    log,
    clock,
  });
  closers.push(() => areas.stop());
  areas.start();

  const http = await listen({
    fetch: areas.app.fetch,
    host,
    port: init.port ?? DEFAULT_PORT,
    onUpgrade: (request, socket, head, room: RoomId) =>
      areas.signaling.upgrade(request, socket, head, room),
  });
  closers.push(() => http.close(STOP_GRACE_MS));
  // Stopped first: its sockets would keep the server from closing.
  closers.push(() => areas.signaling.stop());

  const url = init.publicUrl ?? urlOf(host, http.port);
  if (init.adminToken === undefined && !isLoopback(host)) {
    log("warn", "anyone who reaches this hub may create rooms; set an admin token to forbid it");
  }
  const { region, publicEndpoint, credentialsFile } = store;
  const s3 = {
    endpoint: publicEndpoint ?? `https://s3.${region}.amazonaws.com`,
    region,
    ...buckets,
    ...(credentialsFile === undefined ? {} : { credentialsFile }),
  };
  return { address: { url, s3 }, sweep: () => areas.sweep() };
}

type OpenedStore = {
  readonly endpoint: string | undefined;
  readonly publicEndpoint: string | undefined;
  readonly region: string;
  readonly credentials: S3Credentials | undefined;
  readonly equalParts: boolean | undefined;
  readonly credentialsFile?: string;
};

async function openStore(
  init: HubInit,
  host: string,
  log: Log,
  clock: Clock,
  closers: (() => unknown)[],
): Promise<OpenedStore> {
  const chosen = init.storage ?? { kind: "embedded" };
  if (chosen.kind === "external") {
    const { endpoint, region, credentials, equalParts } = chosen;
    const publicEndpoint = init.s3PublicEndpoint ?? endpoint;
    return { endpoint, publicEndpoint, region, credentials, equalParts };
  }
  const { file, credentials } = await storeCredentials(init.dataDir);
  const storeHost = chosen.host ?? host;
  const storeInit: StoreInit = {
    dataDir: join(init.dataDir, "store"),
    host: storeHost,
    port: chosen.port ?? DEFAULT_STORE_PORT,
    credentials: [credentials],
    region: EMBEDDED_REGION,
    log: ({ level, message, requestId }) => log(level, `store: ${message}`, { requestId }),
  };
  const store =
    chosen.ownThread === true
      ? createThreadedStore(storeInit)
      : createStore({ ...storeInit, clock: { now: clock } });
  closers.push(() => store.stop());
  const port = Number(new URL((await store.start()).endpoint).port);
  return {
    endpoint: urlOf(storeHost, port),
    publicEndpoint: init.s3PublicEndpoint ?? publicStoreEndpoint(storeHost, port, init.publicUrl),
    region: EMBEDDED_REGION,
    credentials,
    equalParts: false,
    credentialsFile: file,
  };
}

/** Short times want frequent looks; a second is enough for tests and the least worth the listing. */
function sweepInterval(roomIdleMs: number, uploadTtlMs: number): number {
  return Math.max(1000, Math.min(SWEEP_EVERY_MS, roomIdleMs / 4, uploadTtlMs / 4));
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || urlHost(host).startsWith("127.");
}
