// All areas of the hub over one storage, as one app. Nothing here decides anything; it says who knows whom.
import {
  type ArtifactId,
  type ArtifactRecord,
  type JobId,
  type ModelId,
  PROTOCOL_VERSION,
  type RoomId,
  WaybillError,
  cryptoRandom,
  randomText,
} from "@waybill/sdk/protocol";
import { VERSION } from "../version.ts";
import { createAccessArea } from "./access/access-area.ts";
import { Authenticator } from "./access/authenticator.ts";
import { Tokens } from "./access/tokens.ts";
import { createApp } from "./app.ts";
import { createArrivingArea } from "./arriving/arriving-area.ts";
import { ArtifactRecords } from "./artifacts/artifact-records.ts";
import { readableCheckpoint } from "./artifacts/checkpoint-records.ts";
import { createArtifactsArea } from "./artifacts/artifacts-area.ts";
import { Documents } from "./bucket/documents.ts";
import { withAvailability } from "./holders/availability.ts";
import { createHoldersArea } from "./holders/holders-area.ts";
import type { Caller } from "./http/handler.ts";
import { createHealth } from "./http/health.ts";
import { remoteAddress, remoteOfRequest } from "./http/http-server.ts";
import { RateLimit } from "./http/rate-limit.ts";
import { createIceArea } from "./ice/ice-area.ts";
import type { IceServers } from "./ice/ice-servers.ts";
import { RelayMeter } from "./ice/relay-meter.ts";
import { claimedJob, heldJob } from "./jobs/fence.ts";
import { createJobArea } from "./jobs/index.ts";
import type { Clock, Log } from "./log.ts";
import { createReceiptsArea } from "./receipts/receipts-area.ts";
import { SigningKeys } from "./receipts/signing-keys.ts";
import {
  careHandlers,
  createRegistryArea,
  createRetentionArea,
  keepJournal,
  withFindableArtifacts,
} from "./registry/index.ts";
import { RoomDirectory } from "./rooms/room-directory.ts";
import { RoomPolicies, type RoomPolicy } from "./rooms/room-policies.ts";
import { createRoomsArea } from "./rooms/rooms-area.ts";
import { RoomSessions } from "./rooms/sessions.ts";
import { type Signaling, createSignaling } from "./signaling/index.ts";
import type { Storage } from "./storage/storage.ts";
import { createSweeper } from "./sweeper/sweeper.ts";
import { createUploadsArea } from "./uploads/uploads-area.ts";

export type AreasInit = {
  readonly storage: Storage;
  /** Signs tokens. */
  readonly secret: Uint8Array;
  readonly adminToken?: string | undefined;
  readonly iceServers: IceServers;
  /** What holds in rooms whose owner set nothing. */
  readonly policy: RoomPolicy;
  readonly roomIdleMs: number;
  readonly uploadTtlMs: number;
  /** How long presigned URLs are good. */
  readonly presignSeconds: number;
  readonly sweepEveryMs: number;
  /** As `JobAreaDeps`. */
  readonly leaseMs?: number | undefined;
  readonly trustProxy: boolean;
  readonly log: Log;
  readonly clock: Clock;
};

export type Areas = {
  readonly app: ReturnType<typeof createApp>;
  readonly signaling: Signaling;
  start(): void;
  /** Idempotent. */
  stop(): Promise<void>;
  /** One round of the sweeper now. */
  sweep(): Promise<void>;
};

/** A lab of 64 machines joins at once; after that a guess each 10 s a network, 1 s over all. */
const JOINS = {
  what: "failed attempts to join",
  perRemote: { burst: 64, everyMs: 10_000 },
  global: { burst: 512, everyMs: 1000 },
};
/** Rooms cost an object each; scripts make many at once. */
const ROOMS = {
  what: "new rooms",
  perRemote: { burst: 120, everyMs: 1000 },
  global: { burst: 600, everyMs: 250 },
};

/** A peer refreshes its credentials every 5 minutes at most; pages that are loaded again and again ask more. */
const ICE_SERVERS = {
  what: "requests for ICE servers",
  perRemote: { burst: 20, everyMs: 15_000 },
  global: { burst: 20_000, everyMs: 1 },
};

/** Composes everything; does no I/O before `start`. */
export function createAreas(init: AreasInit): Areas {
  const { storage, presignSeconds, clock, log } = init;
  const roomsBucket = storage.rooms.bucket;
  const documents = new Documents({ bucket: roomsBucket, now: clock });
  const sessionDocuments = new Documents({ bucket: storage.uploads.bucket, now: clock });
  const rooms = new RoomDirectory(documents);
  const tokens = new Tokens({ secret: init.secret, clock });
  const authenticator = new Authenticator({ tokens, rooms, clock });

  const signaling = createSignaling({
    authenticateHello: async (room, hello, path) => {
      const proven = await authenticator.authenticateHello(room, hello, path);
      sessions.touch(room);
      return proven;
    },
    hubVersion: VERSION,
    remoteOf: (request) => remoteOfRequest(request, init.trustProxy),
    iceFactsFor: (room, peer) => ice.factsFor(room, peer),
    clock,
    log,
  });
  const policies = new RoomPolicies({
    rooms,
    defaults: init.policy,
    onChanged: (room, policy) => {
      signaling.broadcast(room, { type: "ice.policy", policy: policy.icePolicy });
      meter.onPolicy(room, policy);
    },
  });
  const meter = new RelayMeter({
    documents,
    policies,
    hub: randomText(12, cryptoRandom),
    isHere: (room, peer) => signaling.find(room, peer) !== undefined,
    hasPeers: (room) => signaling.peers(room).length > 0,
    broadcast: (room, message) => signaling.broadcast(room, message),
    clock,
    log,
  });
  signaling.listen({
    relayReport: ({ room, info: { peerId, name } }, message) =>
      meter.report({ room, peerId, name }, message),
  });
  const ice = createIceArea({
    servers: init.iceServers,
    policies,
    meter,
    mintLimit: new RateLimit({ ...ICE_SERVERS, clock }),
    log,
  });
  const sessions = new RoomSessions({
    rooms,
    idleMs: init.roomIdleMs,
    clock,
    log,
    onEnded: (room) => signaling.dropRoom(room),
  });
  signaling.listen({ workerMessage: (peer) => sessions.touch(peer.room) });

  const access = createAccessArea({
    documents,
    rooms,
    tokens,
    joinLimit: new RateLimit({ ...JOINS, clock }),
    onKeyRevoked: (room, key) =>
      signaling.expel(
        ({ room: inRoom, caller }) => inRoom === room && caller.workerKey === key,
        "the worker key has been revoked",
      ),
    clock,
    log,
  });
  const records = new ArtifactRecords({ documents, clock });
  const holdsJob = async (room: RoomId, job: JobId, caller: Caller): Promise<boolean> => {
    try {
      await heldJob(documents, { room, job, caller }, clock());
      return true;
    } catch (error) {
      if (error instanceof WaybillError && !error.retryable) return false;
      throw error;
    }
  };
  const uploads = createUploadsArea({
    sessions: sessionDocuments,
    documents,
    storage,
    records,
    assertAttempt: async (room, job, attempt, caller) => {
      await claimedJob(documents, { room, job, attempt, caller }, clock());
    },
    holdsJob,
    ttlMs: init.uploadTtlMs,
    presignSeconds,
    clock,
    log,
  });
  const arriving = createArrivingArea({
    documents: sessionDocuments,
    storage,
    records,
    sessions: uploads.sessions,
    rights: uploads.rights,
    segments: uploads.segments,
    presignSeconds,
    clock,
    log,
  });
  const filled = (room: RoomId, model: ModelId) => uploads.claims.record(room, model);
  const artifactRecord = async (
    room: RoomId,
    artifact: ArtifactId,
    model?: ModelId,
  ): Promise<ArtifactRecord | undefined> => {
    // Two models may be the same bytes, and so the same artifact, in two folders.
    const own = model === undefined ? undefined : await filled(room, model);
    return own?.artifact === artifact ? own : records.find(room, artifact);
  };
  const registry = createRegistryArea({
    rooms: roomsBucket,
    documents,
    artifactRecord,
    announce: (room, message) => signaling.broadcast(room, message),
    clock,
  });
  const jobs = createJobArea({
    rooms: roomsBucket,
    ...(init.leaseMs === undefined ? {} : { leaseMs: init.leaseMs }),
    documents,
    signaling,
    artifactRecord: async (room, artifact) =>
      (await artifactRecord(room, artifact)) ??
      (await arriving.find(room, artifact)) ??
      // It may have arrived between the two looks.
      artifactRecord(room, artifact),
    checkpoints: {
      find: (room, artifact, job) => records.checkpoints.find(room, artifact, job),
      of: (room, job) => records.checkpoints.of(room, job),
      jobs: (room) => records.checkpoints.jobs(room),
      remove: (room, record) => uploads.removeCheckpoint(room, record),
      empty: (room, job) => uploads.emptyCheckpoints(room, job),
    },
    presignGet: async (key) => {
      const request = { method: "GET", bucket: roomsBucket.name, key } as const;
      const signed = await storage.presigner.sign([request], presignSeconds);
      const expiresAt = new Date(signed.expiresAtMs).toISOString();
      return { url: signed.urls[0] ?? "", expiresAt };
    },
    clock,
    log,
  });

  const retention = createRetentionArea({
    documents,
    place: storage.rooms,
    records,
    filled,
    uses: (room) => jobs.uses(room),
    checkpoints: {
      leftovers: (room) => jobs.leftoverCheckpoints(room),
      sweep: (room) => jobs.sweepCheckpoints(room),
    },
    uploads,
    clock,
    log,
  });

  const app = createApp({
    handlers: {
      health: createHealth({ bucket: roomsBucket, clock }),
      version: async () => ({ version: VERSION, protocol: PROTOCOL_VERSION }),
      ...createRoomsArea({
        rooms,
        tokens,
        policies,
        adminToken: init.adminToken,
        createLimit: new RateLimit({ ...ROOMS, clock }),
        presence: (room) => {
          const peers = signaling.peers(room);
          return {
            peers: peers.map((peer) => peer.info),
            workers: peers.filter((peer) => peer.worker !== undefined).length,
          };
        },
        clock,
        log,
      }).handlers,
      ...access.handlers,
      ...ice.handlers,
      ...signaling.pollHandlers,
      ...uploads.handlers,
      ...arriving.handlers,
      ...createArtifactsArea({
        records,
        presigner: storage.presigner,
        presignSeconds,
        buckets: [storage.uploads.bucket, roomsBucket],
        log,
        arriving: (room, ref) => arriving.resolve(room, ref),
        checkpoint: (room, artifact, caller) =>
          readableCheckpoint(
            { checkpoints: records.checkpoints, holdsJob },
            room,
            artifact,
            caller,
          ),
      }).handlers,
      ...createReceiptsArea({
        keys: new SigningKeys({ documents, secret: init.secret, clock }),
        records,
        clock,
        log,
      }).handlers,
      ...withAvailability(withFindableArtifacts(registry.handlers, { records, filled }), (room) =>
        signaling.peers(room),
      ),
      ...retention.handlers,
      ...careHandlers({
        documents,
        filledBy: filled,
        clock,
        log,
      }),
      ...createHoldersArea({ peers: (room) => signaling.peers(room) }).handlers,
      ...jobs.handlers,
    },
    authenticator,
    onActivity: (caller) => sessions.touch(caller.room),
    remoteOf: (context) => remoteAddress(context, init.trustProxy),
    log,
  });

  const sweeper = createSweeper({
    everyMs: init.sweepEveryMs,
    rooms: () => rooms.list(),
    roomDuties: [
      { name: "ending idle sessions", run: (room) => sessions.endIfIdle(room) },
      { name: "removing expired uploads", run: (room) => uploads.sweep(room) },
      { name: "removing checkpoints nobody needs", run: (room) => jobs.sweepCheckpoints(room) },
      { name: "removing segments of finished uploads", run: (room) => arriving.sweep(room) },
      { name: "removing models nobody keeps", run: (room) => retention.sweep(room) },
      {
        name: "keeping the registry's journal",
        run: (room) => keepJournal({ bucket: roomsBucket, clock }, room),
      },
    ],
    duties: [{ name: "removing old invites", run: () => access.sweep() }],
    log,
  });

  return {
    app,
    signaling,
    start() {
      jobs.start();
      meter.start();
      sweeper.start();
    },
    async stop() {
      await sweeper.stop();
      await jobs.stop();
      await signaling.stop();
      await meter.stop();
      await sessions.stop();
    },
    sweep: () => sweeper.sweep(),
  };
}
