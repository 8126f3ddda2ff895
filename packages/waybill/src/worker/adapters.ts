// Fits the SDK to the worker's ports: the signaling session, links over WebRTC or the hub's relay, transfers.
import { scanTree } from "@waybill/sdk/artifact";
import { pullArtifact, pushArtifact } from "@waybill/sdk/client";
import {
  type HubClient,
  type LinkKeys,
  type SignalingSession,
  createSession,
} from "@waybill/sdk/hub-client";
import { blake3Hex, createByteTransport } from "@waybill/sdk/platform";
import {
  type ArtifactId,
  type ModelId,
  type PeerId,
  type RoomId,
  WaybillError,
  isAbort,
} from "@waybill/sdk/protocol";
import {
  type PeerConnectionConstructor,
  type PeerLinks,
  createEventFeed,
  createPeerLinks,
} from "@waybill/sdk/swarm";
import type { FeedPort, SessionListener, SessionPort, TransferPort } from "./ports.ts";
import type { WorkerInit } from "./worker.ts";

export type ConnectInit = {
  readonly hub: HubClient;
  readonly room: RoomId;
  /** Shown to the others in the room. */
  readonly name: string;
  /** Of this process; what links prove and encrypt with. */
  readonly keys: LinkKeys;
  /** Absent: viewers are served through the hub's relay only. */
  readonly RTCPeerConnection?: PeerConnectionConstructor | undefined;
  /** Takes a renewed token to keep. */
  readonly onToken?: (token: string) => void | Promise<void>;
  /** A data set that is still being pushed is waited for so long without a new byte. Default 15 minutes. */
  readonly dataWaitMs?: number;
};

type Connected = Pick<
  WorkerInit,
  "hub" | "room" | "name" | "createSession" | "createFeed" | "transfer" | "digest" | "token"
>;

/** Everything of a `WorkerInit` that talks to the outside. */
export function connectWorker(init: ConnectInit): Connected {
  const { hub, room, name } = init;
  const sessions = new WeakMap<SessionPort, SignalingSession>();
  // The feed's and the transfers'.
  let links: PeerLinks | undefined;
  let session: SignalingSession | undefined;
  return {
    hub,
    room,
    name,
    createSession: ({ instance, hello }) => {
      const worker = () => {
        const { capabilities, jobs, cached } = hello();
        return { capabilities, jobs: [...jobs], cached: [...cached] };
      };
      const serves = () => hello().serves;
      const { agreement } = init.keys;
      session = createSession({ hub, room, name, instance, agreement, serves, worker });
      const port = sessionPort(session);
      sessions.set(port, session);
      return port;
    },
    createFeed: (port) => {
      const signaling = sessions.get(port);
      if (signaling === undefined) throw new TypeError("the feed needs this worker's own session");
      const { keys, RTCPeerConnection } = init;
      links = createPeerLinks({
        signaling,
        keys,
        RTCPeerConnection,
        iceServers: () => hub.call("iceServers", { params: { room } }),
      });
      return feedPort(links);
    },
    // Without direct channels there are no bytes to be had from peers.
    transfer: transferPort(hub, init.dataWaitMs, {
      links: () => (init.RTCPeerConnection === undefined ? undefined : links),
      own: () => session?.welcome?.peerId,
    }),
    digest: blake3Hex,
    token: {
      current: () => hub.credential?.token,
      renewed: async (token) => {
        const identity = hub.credential?.identity;
        if (identity !== undefined) hub.useCredential({ token, identity });
        await init.onToken?.(token);
      },
    },
  };
}

function sessionPort(session: SignalingSession): SessionPort {
  const off: (() => void)[] = [];
  return {
    start: (listener: SessionListener) => {
      const pass = (message: Parameters<SessionListener["onMessage"]>[0]) =>
        listener.onMessage(message);
      off.push(
        session.on("welcome", pass),
        session.on("job.offer", pass),
        session.on("job.revoke", pass),
        session.on("job.command", pass),
        session.on("closed", ({ code, reason }) =>
          listener.onOffline(reason === "" ? `the connection closed (${code})` : reason),
        ),
        session.on("failed", (error) => listener.onRefused(error)),
      );
      session.start();
    },
    stop: async () => {
      for (const one of off) one();
      await session.stop();
    },
    send: (message) => {
      try {
        session.send(message);
        return true;
      } catch (error) {
        if (isAbort(error)) throw error;
        return false;
      }
    },
  };
}

function feedPort(links: PeerLinks): FeedPort {
  const feed = createEventFeed({ links });
  return {
    add: (job, reader) => feed.add(job, reader),
    remove: (job) => feed.remove(job),
    showSample: (job, image) => feed.showSample(job, image),
    onCommand: (handler) => {
      feed.onCommand((command, from, ack) => {
        handler(command, from, ({ stage, message }) => ack(stage, message));
      });
    },
    stop: async () => {
      feed.stop();
      await links.stop();
    },
  };
}

/** Enough to fill a link that nobody else uses. */
const BACKGROUND_BODIES = 2;

function transferPort(
  hub: HubClient,
  dataWaitMs: number | undefined,
  peers: {
    readonly links: () => PeerLinks | undefined;
    /** This worker as a peer, which does not ask itself. */
    readonly own: () => PeerId | undefined;
  },
): TransferPort {
  const retryForMs = Number.POSITIVE_INFINITY;
  // One for all jobs: its connections to the store stay open between them.
  const transport = createByteTransport();
  return {
    pull: async (request) => {
      const { room, artifact, dir, cacheDir, onSize, signal, onProgress, onArriving } = request;
      const pulled = await pullArtifact(hub, {
        room,
        ref: artifact,
        dir,
        cacheDir,
        // The trainer reads it next.
        readSoon: true,
        overwrite: true,
        signal,
        onProgress,
        onArriving,
        onTree: ({ map }) => onSize(map.bytes),
        transport,
        peers: peers.links(),
        holders: { without: peers.own() },
        ...(dataWaitMs === undefined ? {} : { waitMs: dataWaitMs }),
      });
      const { bytes, seconds, sources, manifest } = pulled;
      return { bytes, seconds, sources, manifest };
    },
    push: async (request) => {
      const { room, dir, name, purpose, parent, signal, onProgress } = request;
      // A stray link in the output must not cost hours of training.
      const scan = await scanTree(dir, { signal, unsendable: "skip" });
      const base =
        request.base ??
        (parent === undefined ? undefined : await artifactOf(hub, room, parent, signal));
      const options = { room, path: dir, scan, name, purpose, base, signal, onProgress };
      const pace = request.background === true ? { concurrency: BACKGROUND_BODIES } : {};
      return pushArtifact(hub, { ...options, ...pace, retryForMs, transport });
    },
    close: () => transport.close(),
  };
}

/** The artifact of a model of the room; undefined when it cannot be told: it only would save bytes. */
async function artifactOf(
  hub: HubClient,
  room: RoomId,
  model: ModelId,
  signal: AbortSignal,
): Promise<ArtifactId | undefined> {
  try {
    const { model: entry } = await hub.call("showModel", { params: { room, model } }, { signal });
    return entry.artifact;
  } catch (error) {
    if (error instanceof WaybillError) return undefined;
    throw error;
  }
}
