// A hub's job area on a bucket in memory with peers that are only told of: no sockets, no timers to wait for.
import {
  type ArtifactRecord,
  type HubToPeer,
  type JobAssignment,
  type JobEvent,
  type JobId,
  type JobSpec,
  type ModelType,
  type NewJobEvent,
  type PeerId,
  type RoomId,
  type WorkerCapabilities,
} from "@waybill/sdk/protocol";
import { addModel } from "@waybill/sdk/registry";
import { delay } from "@waybill/sdk/timing";
import { Documents } from "../bucket/documents.ts";
import { MemoryBucket, type MemoryBucketInit } from "../bucket/memory-bucket.ts";
import type { Caller } from "../http/handler.ts";
import { silentLog } from "../log.ts";
import { RegistryWriter } from "../registry/room-registry.ts";
import type {
  ConnectedPeer,
  HeldJob,
  SignalingListener,
  WorkerMessage,
} from "../signaling/index.ts";
import { LAB, callOf, callerOf, workerIdOf } from "./call.fixture.ts";
import { type JobAreaDeps, type JobSignaling, createJobArea } from "./job-area.ts";

export const START_MS = Date.parse("2026-01-02T03:04:05.678Z");
const UNET = "unet" as ModelType;

const CAPABILITIES: WorkerCapabilities = {
  // What is silent is gone: most tests want no more of a lost worker.
  kind: "ephemeral",
  platform: "linux",
  arch: "x64",
  cpus: 4,
  memoryBytes: 8e9,
  gpus: [],
  trainers: [],
  commands: true,
  labels: {},
  slots: 1,
  version: "0.0.0",
};

/** `j_` + 16 characters that sort by `n`. */
export const jobIdAt = (n: number) => `j_${String(n).padStart(16, "0")}` as JobId;

export function specOf(over: Partial<JobSpec> = {}): JobSpec {
  return {
    command: ["train"],
    config: {},
    env: {},
    modelType: UNET,
    tags: [],
    requirements: {},
    ...over,
  };
}

/** A worker as the hub sees it, and what the hub told it. */
export class ToldWorker {
  readonly caller: Caller;
  readonly workerId: PeerId;
  readonly told: HubToPeer[] = [];
  readonly peer: ConnectedPeer;

  constructor(key: string, over: Partial<WorkerCapabilities> = {}) {
    this.caller = callerOf("worker", key);
    this.workerId = workerIdOf(key);
    const at = new Date(START_MS).toISOString();
    this.peer = {
      room: LAB,
      info: { peerId: this.workerId, name: key, role: "worker", joinedAt: at },
      caller: this.caller,
      remote: "127.0.0.1",
      worker: { capabilities: { ...CAPABILITIES, ...over }, connectedAt: at },
    };
  }

  all<T extends HubToPeer["type"]>(type: T): Extract<HubToPeer, { type: T }>[] {
    return this.told.filter((each) => each.type === type) as Extract<HubToPeer, { type: T }>[];
  }

  get offers(): JobAssignment[] {
    return this.all("job.offer").map(({ assignment }) => assignment);
  }
}

/** Signaling without sockets. */
class ToldPeers implements JobSignaling {
  readonly broadcasts: HubToPeer[] = [];
  readonly #listeners = new Set<SignalingListener>();
  readonly #here = new Map<PeerId, ToldWorker>();
  /** Called with each message to a worker. */
  onSend: (worker: ToldWorker, message: HubToPeer) => void = () => {};

  listen(listener: SignalingListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  send(_room: RoomId, peerId: PeerId, message: HubToPeer): boolean {
    const worker = this.#here.get(peerId);
    worker?.told.push(message);
    if (worker !== undefined) this.onSend(worker, message);
    return worker !== undefined;
  }
  broadcast(_room: RoomId, message: HubToPeer): void {
    this.broadcasts.push(message);
  }
  peers(): readonly ConnectedPeer[] {
    return Array.from(this.#here.values(), ({ peer }) => peer);
  }
  rooms(): readonly RoomId[] {
    return this.#here.size > 0 ? [LAB] : [];
  }

  join(worker: ToldWorker, held: readonly HeldJob[] = []): void {
    this.#here.set(worker.workerId, worker);
    for (const listener of this.#listeners) listener.joined?.(worker.peer, held);
  }
  leave(worker: ToldWorker): void {
    this.#here.delete(worker.workerId);
    for (const listener of this.#listeners) listener.left?.(worker.peer);
  }
  hear(worker: ToldWorker, message: WorkerMessage): void {
    for (const listener of this.#listeners) listener.workerMessage?.(worker.peer, message);
  }
}

type World = ReturnType<typeof createWorld>;

/** A bucket, a clock and as many hubs on them as a test wants. */
export function createWorld(bucket: MemoryBucketInit = {}) {
  let nowMs = START_MS;
  const clock = () => nowMs;
  const rooms = new MemoryBucket({ now: clock, ...bucket });
  const records = new Map<string, ArtifactRecord>();
  const checkpoints: ArtifactRecord[] = [];
  const checkpointFiles: JobAreaDeps["checkpoints"] = {
    find: async (_, artifact, job) =>
      checkpoints.find((one) => one.artifact === artifact && one.s3Path.includes(job)),
    of: async (_, job) => checkpoints.filter((one) => one.s3Path.includes(job)),
    jobs: async () => checkpoints.map(({ s3Path }) => s3Path.split("/")[2] as JobId),
    remove: async (_, record) => {
      const at = checkpoints.indexOf(record);
      if (at >= 0) checkpoints.splice(at, 1);
    },
    empty: async () => {},
  };
  const hub = (over: Partial<JobAreaDeps> = {}) => {
    const peers = new ToldPeers();
    const documents = new Documents({ bucket: rooms, now: clock, sleep: async () => {} });
    const area = createJobArea({
      rooms,
      documents,
      signaling: peers,
      artifactRecord: async (_, artifact) => records.get(artifact),
      checkpoints: checkpointFiles,
      presignGet: async (key) => ({ url: `http://store/${key}`, expiresAt: "" }),
      clock,
      log: silentLog,
      ...over,
    });
    area.start();
    return { ...area, ...area.handlers, peers, documents };
  };
  return {
    rooms,
    records,
    checkpoints,
    checkpointFiles,
    hub,
    clock,
    pass: (ms: number) => (nowMs += ms),
  };
}

export type TestHub = ReturnType<World["hub"]>;

export const member = callerOf("member");

export const submit = (hub: TestHub, job: JobId, over: Partial<JobSpec> = {}, caller = member) =>
  hub.submitJob(callOf(caller, { body: { job, spec: specOf(over) } }));

export const show = (hub: TestHub, job: JobId) => hub.showJob(callOf(member, { params: { job } }));

/** Every stored event of a job, page by page. */
export async function replay(hub: TestHub, job: JobId, limit?: number): Promise<JobEvent[]> {
  const events: JobEvent[] = [];
  for (;;) {
    const since = events.at(-1)?.seq ?? 0;
    const query = limit === undefined ? { since } : { since, limit };
    const page = await hub.readEvents(callOf(member, { params: { job }, query }));
    events.push(...page.events);
    if (!page.more) return events;
  }
}

/** Numbers a worker's events from `firstSeq` on. */
export function numbered(
  firstSeq: number,
  attempt: number,
  events: readonly NewJobEvent[],
): JobEvent[] {
  const time = new Date(START_MS).toISOString();
  return events.map((event, i) => ({ seq: firstSeq + i, time, attempt, ...event }));
}

export const lines = (count: number, text = "line"): NewJobEvent[] =>
  Array.from({ length: count }, (_, i) => ({
    type: "log",
    stream: "stdout",
    line: `${text} ${i}`,
  }));

/** Enters a model of a job in the registry, as publishing does. */
export async function publishFor(hub: TestHub, job: JobId, id = "aaaaaaaa") {
  await new RegistryWriter(hub.documents).edit(LAB, (registry) => {
    const entry = {
      id,
      model_type: UNET,
      tags: [],
      artifact: id.padEnd(64, "0"),
      storage: { s3_path: "rooms/lab/x/", size_bytes: 1, files: [] },
      training: {
        job,
        trained_by: "a",
        trained_at: "2026-01-02T03:04:05.678Z",
        metrics: {},
        config: {},
      },
      availability: { in_s3: true, cached_on_workers: [] },
    } as const;
    const by = { who: "a", owner: false, when: "2026-01-02T03:04:05.678Z" };
    const model = entry as unknown as Parameters<typeof addModel>[1];
    return addModel(registry, model, by);
  });
  return id as Parameters<typeof addModel>[1]["id"];
}

/** Resolves with what `check` gives once it does not throw; a busy machine gets time. */
export async function until<T>(check: () => T | Promise<T>): Promise<T> {
  const deadlineMs = Date.now() + 15_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadlineMs) throw error;
      await delay(5);
    }
  }
}

/** Submits a job, and a worker takes it. */
export async function running(
  hub: TestHub,
  job: JobId,
  worker: ToldWorker,
): Promise<JobAssignment> {
  await submit(hub, job);
  if (hub.peers.peers().length === 0) hub.peers.join(worker);
  const offer = await until(() => {
    const found = worker.offers.findLast((each) => each.job === job);
    if (found === undefined) throw new Error("no offer yet");
    return found;
  });
  hub.peers.hear(worker, { type: "job.accept", job, attempt: offer.attempt });
  return offer;
}
