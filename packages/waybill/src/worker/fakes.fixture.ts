// A hub, a session, links and transfers in memory, for tests of the worker. The hub keeps the rules of
// docs/protocol/events.md that a worker must hold to: consecutive numbers, fencing, an outcome at the end.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir } from "node:fs/promises";
import * as v from "valibot";
import {
  ArtifactId,
  ArtifactManifest,
  LIMITS,
  type HubToPeer,
  type JobAssignment,
  type JobCommand,
  type JobEvent,
  type JobId,
  JobSpec,
  ModelId,
  PeerId,
  RoomId,
  type RouteInput,
  type RouteName,
  type RouteOutput,
  WaybillError,
  cryptoRandom,
  newJobId,
} from "@waybill/sdk/protocol";
import type { SampleImage } from "@waybill/sdk/swarm";
import { abortReason, delay } from "@waybill/sdk/timing";
import type {
  CommandAck,
  CommandOrigin,
  EventLogReader,
  FeedPort,
  HubCalls,
  SessionListener,
  SessionPort,
  TransferPort,
} from "./ports.ts";
import type { WorkerTiming } from "./timing.ts";

export const ROOM = v.parse(RoomId, "lab");
const WORKER_ID = v.parse(PeerId, "p_AAAAAAAAAAAAAAAA_w1");

/** Short enough for tests, long enough for a slow machine. */
export const TEST_TIMING: WorkerTiming = {
  leaseMs: 200,
  diskMs: 20,
  systemMs: 100,
  flushMs: 50,
  stopGraceMs: 5000,
  cancelGraceMs: 1000,
  shutdownGraceMs: 5000,
  saveMs: 5000,
  saveUnknownMs: 100,
  leaveFlushMs: 2000,
  leaveGraceMs: 2000,
  leaveMs: 10_000,
  verifyMs: 3000,
  adjustMs: 5000,
  checkpointMs: 5000,
  resultSamplesMs: 2000,
  hubLostMs: 100,
  endAgainMs: 20,
  lingerMs: 10,
  shutdownMs: 5000,
  quietMs: 5,
  pollMs: 50,
};

/** An assignment of a new job with this specification. */
export function assign(
  spec: v.InferInput<typeof JobSpec>,
  rest: Partial<JobAssignment> = {},
): JobAssignment {
  return {
    job: newJobId(Date.now(), cryptoRandom),
    room: ROOM,
    spec: v.parse(JobSpec, spec),
    attempt: 1,
    firstSeq: 3,
    seqReserved: 100_002,
    leaseUntil: new Date(Date.now() + 60_000).toISOString(),
    submittedBy: "ada",
    ...rest,
  };
}

type Answers = { [N in RouteName]?: (input: RouteInput<N>) => Promise<RouteOutput<N>> };

export class FakeHub implements HubCalls {
  /** Stored events by job. */
  readonly stored = new Map<JobId, JobEvent[]>();
  readonly ended = new Map<JobId, RouteInput<"endJob">["body"]>();
  readonly publications: RouteInput<"publishModel">["body"][] = [];
  readonly samples = new Map<string, Uint8Array>();
  readonly calls: RouteName[] = [];
  readonly checkpoints: RouteInput<"recordCheckpoint">["body"][] = [];
  /** What a renewal said last of it. */
  adjusted: RouteInput<"renewLease">["body"]["adjusted"];
  /** Every call fails as unreachable while set. */
  down = false;
  /** Attempts of this job are refused. */
  stale: JobId | undefined;
  /** Only these routes refuse; all of them when absent. */
  staleRoutes: ReadonlySet<RouteName> | undefined;
  seqReserve = 100_000;

  async call<N extends RouteName>(
    name: N,
    input: RouteInput<N>,
    options: {
      signal?: AbortSignal | undefined;
      bytes?: Uint8Array<ArrayBuffer>;
      retryForMs?: number;
    } = {},
  ): Promise<RouteOutput<N>> {
    const endMs = performance.now() + (options.retryForMs ?? Number.POSITIVE_INFINITY);
    while (this.down) {
      if (performance.now() > endMs) throw new WaybillError("unreachable", "the hub is away");
      await delay(5, options.signal);
    }
    if (options.signal?.aborted === true) throw abortReason(options.signal);
    this.calls.push(name);
    const params: Record<string, unknown> = Object(input.params ?? {});
    const concerned = [params["job"], Object(input.body)["job"]];
    const refuses = this.staleRoutes?.has(name) ?? true;
    if (refuses && this.stale !== undefined && concerned.includes(this.stale)) {
      throw new WaybillError("stale_attempt", "another attempt is current");
    }
    if (name === "putSample" && options.bytes !== undefined) {
      this.samples.set(String(params["file"]), options.bytes);
    }
    const answer = this.#answers[name];
    if (answer === undefined) throw new WaybillError("internal", `no answer to ${name}`);
    return answer(input);
  }

  /** Events of a job as a viewer who reads the stored segments has them. */
  events(job: JobId): JobEvent[] {
    return this.stored.get(job) ?? [];
  }

  #append(job: JobId, events: readonly JobEvent[]): void {
    const stored = this.stored.get(job) ?? [];
    this.stored.set(job, stored);
    for (const event of events) {
      const last = stored.at(-1)?.seq;
      const same = stored.find(({ seq }) => seq === event.seq);
      if (same !== undefined) {
        if (JSON.stringify(same) === JSON.stringify(event)) continue;
        throw new WaybillError("conflict", `event ${event.seq} differs`);
      }
      if (last !== undefined && event.seq !== last + 1) {
        throw new WaybillError("conflict", `event ${event.seq} follows ${last}`);
      }
      stored.push(event);
    }
  }

  #enter(body: RouteInput<"publishModel">["body"]): RouteOutput<"publishModel"> {
    this.publications.push(body);
    const { trained_by, metrics, config } = body.training;
    return {
      id: v.parse(ModelId, body.id),
      alias: body.alias as never,
      model_type: body.model_type as never,
      tags: body.tags as never,
      artifact: body.artifact as never,
      storage: { s3_path: `rooms/${ROOM}/models/${body.id}/`, size_bytes: 7, files: ["m"] },
      training: { trained_by, trained_at: new Date().toISOString(), metrics, config },
      availability: { in_s3: true, cached_on_workers: [] },
    };
  }

  readonly #answers: Answers = {
    appendEvents: async ({ params, body }) => {
      this.#append(params.job as JobId, body.events as JobEvent[]);
      return { lastSeq: body.events.at(-1)?.seq ?? 0 };
    },
    readEvents: async ({ params }) => ({
      events: [],
      more: false,
      lastSeq: this.events(params.job as JobId).at(-1)?.seq ?? 0,
      state: "running",
    }),
    renewLease: async ({ body }) => {
      if (body.adjusted !== undefined) this.adjusted = body.adjusted;
      const leaseUntil = new Date(Date.now() + 60_000).toISOString();
      return { leaseUntil, seqReserved: body.lastSeq + this.seqReserve };
    },
    reserveModel: async ({ body }) => ({ model: v.parse(ModelId, body.digest.slice(0, 8)) }),
    version: async () => ({ version: "0.0.0", protocol: 1 }),
    recordModel: async ({ params, body }) => ({
      artifact: v.parse(ArtifactId, body.artifact),
      name: "model" as never,
      kind: "model",
      layout: "plain",
      files: 1,
      bytes: 7,
      manifestBytes: 100,
      s3Path: `rooms/${ROOM}/models/${params.model}.${body.attempt}/`,
      createdAt: new Date().toISOString(),
    }),
    putSample: async () => ({ ok: true }),
    showModel: async ({ params }) => {
      throw new WaybillError("not_found", `no model ${params.model}`);
    },
    recordCheckpoint: async ({ body }) => {
      this.checkpoints.push(body);
      const artifact = v.parse(ArtifactId, body.artifact);
      const at = new Date().toISOString();
      return { resume: { artifact, bytes: 7, attempt: body.attempt, at, data: body.data } };
    },
    publishModel: async ({ body }) => this.#enter(body),
    publishModels: async ({ body }) => ({ models: body.models.map((one) => this.#enter(one)) }),
    endJob: async ({ params, body }) => {
      const job = params.job as JobId;
      this.#append(job, body.events as JobEvent[]);
      this.ended.set(job, body);
      return {
        job,
        room: ROOM,
        spec: v.parse(JobSpec, { command: ["x"] }),
        state: body.state,
        submittedBy: "ada",
        submittedAt: new Date().toISOString(),
        attempt: body.attempt,
        seqReserved: 0,
      };
    },
  };
}

/** A session whose other end is the test. */
export class FakeSession implements SessionPort {
  readonly sent: Parameters<SessionPort["send"]>[0][] = [];
  online = true;
  #listener: SessionListener | undefined;

  start(listener: SessionListener): void {
    this.#listener = listener;
    this.receive({
      type: "welcome",
      protocol: 1,
      version: "0",
      peerId: WORKER_ID,
      room: ROOM,
      role: "worker",
      peers: [],
      iceServers: [],
      keepAliveMs: 15_000,
    });
  }

  async stop(): Promise<void> {
    this.#listener = undefined;
  }

  send(message: Parameters<SessionPort["send"]>[0]): boolean {
    if (this.online) this.sent.push(message);
    return this.online;
  }

  receive(message: HubToPeer): void {
    this.#listener?.onMessage(message);
  }
}

/** Links without peers: readers are the test's to read, commands the test's to send. */
export class FakeFeed implements FeedPort {
  readonly readers = new Map<JobId, EventLogReader>();
  /** Shown to live viewers. */
  readonly images: SampleImage[] = [];
  #handler: Parameters<FeedPort["onCommand"]>[0] | undefined;

  add(job: JobId, reader: EventLogReader): void {
    this.readers.set(job, reader);
  }

  showSample(_: JobId, image: SampleImage): void {
    this.images.push(image);
  }

  remove(job: JobId): void {
    this.readers.delete(job);
  }

  onCommand(handler: Parameters<FeedPort["onCommand"]>[0]): void {
    this.#handler = handler;
  }

  async stop(): Promise<void> {
    this.readers.clear();
  }

  /** Sends a command as a member and collects the answers. */
  command(command: JobCommand): CommandAck[] {
    const acks: CommandAck[] = [];
    const from: CommandOrigin = { peerId: WORKER_ID, role: "member", name: "ada" };
    this.#handler?.(command, from, (ack) => acks.push(ack));
    return acks;
  }
}

export type FakeTransfers = TransferPort & {
  /** Trees that can be pulled, by artifact. */
  readonly trees: Map<string, string>;
  readonly pushed: string[][];
  /** Every push that was begun. */
  readonly requests: Parameters<TransferPort["push"]>[0][];
  /** Awaited in every pull before any bytes come; a test may make it anew for each. */
  pullGate: Promise<void>;
  /** Awaited in every push after its bytes were read. */
  gate: Promise<void>;
};

/** What a pull of a tree without files knows of it. */
export function emptyManifest(name = "tree"): ArtifactManifest {
  const fields = { format: 1, name, layout: "plain", shardBytes: LIMITS.shardBytes, files: [] };
  return v.parse(ArtifactManifest, fields);
}

/** Copies directories instead of talking to a store. */
export function fakeTransfers(): FakeTransfers {
  const fake: FakeTransfers = {
    trees: new Map(),
    pushed: [],
    requests: [],
    gate: Promise.resolve(),
    pullGate: Promise.resolve(),
    pull: async ({ artifact, dir, signal }) => {
      const tree = fake.trees.get(artifact);
      if (tree === undefined) throw new WaybillError("not_found", `no artifact ${artifact}`);
      await Promise.race([fake.pullGate, untilAborted(signal)]);
      signal.throwIfAborted();
      await mkdir(dir, { recursive: true });
      await cp(tree, dir, { recursive: true });
      return { bytes: 10, seconds: 0.1, sources: { s3: 10 }, manifest: emptyManifest() };
    },
    push: async (request) => {
      const { dir, signal } = request;
      fake.requests.push(request);
      const files = await readdir(dir, { recursive: true });
      await Promise.race([fake.gate, untilAborted(signal)]);
      fake.pushed.push(files);
      const text = `${files.join("\n")}${fake.requests.length}`;
      const artifact = v.parse(ArtifactId, fakeDigest(Buffer.from(text)));
      return { artifact, bytes: 7, sentBytes: 7, files: files.length, seconds: 0.1, warnings: [] };
    },
    close: () => undefined,
  };
  return fake;
}

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(abortReason(signal));
    if (signal.aborted) fail();
    signal.addEventListener("abort", fail, { once: true });
  });
}

export function fakeDigest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
