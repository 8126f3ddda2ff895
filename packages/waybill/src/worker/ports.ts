// What the worker needs from the rest of the project, as narrow interfaces: the hub's HTTP API, the
// signaling session, the control links and the transfers. `adapters.ts` fits the SDK's to them.
import type {
  ArtifactId,
  ArtifactManifest,
  ArtifactName,
  HubToPeer,
  JobCommand,
  JobEvent,
  JobId,
  ModelId,
  PeerId,
  PeerToHub,
  RoomId,
  RouteInput,
  RouteName,
  RouteOutput,
  Serving,
  UploadPurpose,
  WorkerCapabilities,
} from "@waybill/sdk/protocol";
import type { SampleImage } from "@waybill/sdk/swarm";

/** The hub's HTTP API; `HubClient` is one. */
export type HubCalls = {
  call<N extends RouteName>(
    name: N,
    input: RouteInput<N>,
    options?: {
      readonly signal?: AbortSignal | undefined;
      readonly retryForMs?: number;
      readonly bytes?: Uint8Array<ArrayBuffer>;
    },
  ): Promise<RouteOutput<N>>;
};

/** What a worker says of itself in each hello. */
export type WorkerHello = {
  readonly capabilities: WorkerCapabilities;
  readonly jobs: readonly { readonly job: JobId; readonly attempt: number }[];
  /** Artifacts in its cache, most recently used first. */
  readonly cached: readonly ArtifactId[];
  /** How it serves them; absent when it does not. */
  readonly serves?: Serving | undefined;
};

export type SessionListener = {
  onMessage(message: HubToPeer): void;
  /** The connection is gone and is being made again. */
  onOffline(reason: string): void;
  /** The hub refused for good (token, protocol version): nobody reconnects. */
  onRefused(error: Error): void;
};

/** The signaling socket; reconnects by itself. */
export type SessionPort = {
  start(listener: SessionListener): void;
  stop(): Promise<void>;
  /** Whether the message went out; `false` while offline: hello tells the hub what it missed. */
  send(message: Exclude<PeerToHub, { type: "hello" | "ping" }>): boolean;
};

/** A job's events as live subscribers read them. */
export type EventLogReader = {
  readonly firstSeq: number;
  /** Last event subscribers may see; `firstSeq - 1` while there is none. */
  readonly lastSeq: number;
  /** Up to `limit` consecutive events after `sinceSeq`. */
  read(sinceSeq: number, limit: number): Promise<JobEvent[]>;
  /** Told after `lastSeq` has grown; returns the unsubscriber. */
  subscribe(listener: () => void): () => void;
};

export type CommandOrigin = {
  readonly peerId: PeerId;
  readonly role: string;
  readonly name: string;
};

export type CommandAck = {
  readonly stage: "received" | "applied" | "rejected";
  readonly message?: string | undefined;
};

/** Live subscribers and their commands, over whatever path they have. */
export type FeedPort = {
  add(job: JobId, reader: EventLogReader): void;
  remove(job: JobId): void;
  /** Shows a sample image to live viewers that ask for them. */
  showSample(job: JobId, image: SampleImage): void;
  onCommand(
    handler: (command: JobCommand, from: CommandOrigin, ack: (ack: CommandAck) => void) => void,
  ): void;
  stop(): Promise<void>;
};

export type TransferProgress = { readonly bytes: number; readonly total: number };

/** Moves artifacts between the room and this machine's disk. */
export type TransferPort = {
  /**
   * Makes `dir` hold the artifact, verified; files that are right already are kept, and what older versions in
   * `cacheDir` hold is not fetched.
   */
  pull(request: {
    readonly room: RoomId;
    readonly artifact: ArtifactId;
    readonly dir: string;
    /** Complete artifacts under their ids. */
    readonly cacheDir: string;
    /** Told before anything is written, and waited for. */
    readonly onSize: (bytes: number) => Promise<void>;
    readonly signal: AbortSignal;
    readonly onProgress: (progress: TransferProgress) => void;
    /** Told when the artifact is still being pushed, and given up after `patienceMs` without a new byte. */
    readonly onArriving?: (patienceMs: number) => void;
  }): Promise<{
    readonly bytes: number;
    readonly seconds: number;
    readonly sources: Readonly<Record<string, number>>;
    readonly manifest: ArtifactManifest;
  }>;
  push(request: {
    readonly room: RoomId;
    readonly dir: string;
    readonly name: ArtifactName;
    readonly purpose: UploadPurpose;
    /** The model this one was trained from: what it has is copied, not sent. */
    readonly parent?: ModelId | undefined;
    /** The same of an artifact. */
    readonly base?: ArtifactId | undefined;
    /** Leaves the link to others: a few bodies at a time. */
    readonly background?: boolean;
    readonly signal: AbortSignal;
    readonly onProgress: (progress: TransferProgress) => void;
  }): Promise<{
    readonly artifact: ArtifactId;
    readonly bytes: number;
    readonly sentBytes: number;
    readonly files: number;
    readonly seconds: number;
    /** What the artifact consists of, if the pusher can say. */
    readonly manifest?: ArtifactManifest;
    /** What was left out of the artifact, and other things the user should know. */
    readonly warnings: readonly string[];
  }>;
  /** Closes kept connections, when nothing moves any more. */
  close(): void;
};

/** The object store by the worker's own credentials, for when no hub can be reached. */
export type StorePort = {
  /** Fills `prefix` with the tree, `artifact.json` last; goes on with what is there. */
  upload(request: {
    readonly room: RoomId;
    readonly dir: string;
    /** Of the rooms bucket; ends in `/`. */
    readonly prefix: string;
    readonly name: ArtifactName;
    readonly purpose: UploadPurpose;
    readonly signal: AbortSignal;
    readonly onProgress: (progress: TransferProgress) => void;
  }): ReturnType<TransferPort["push"]>;
  /** Removes everything below a prefix. */
  remove(prefix: string, signal: AbortSignal): Promise<void>;
  close(): void;
};

/** One line for the operator; never a secret. */
export type Log = (level: "info" | "warn" | "error", message: string) => void;
