// What watching a job needs, and what its user may ask for.
import type { HubClient } from "../hub-client/index.ts";
import type { HubToPeer, JobId, RoomId } from "../protocol/index.ts";
import type { Clock, PeerLinks } from "../swarm/index.ts";
import type { ReceivedSample } from "./sample-receiver.ts";
import type { HubTransport, WatchPath } from "./watch-path.ts";

type FromHub<T extends HubToPeer["type"]> = Extract<HubToPeer, { type: T }>;

/** What watching needs of a `SignalingSession`. */
type WatchSession = {
  readonly transport?: HubTransport | undefined;
  on(event: "job.changed", listener: (message: FromHub<"job.changed">) => void): () => void;
  on(event: "presence", listener: (message: FromHub<"presence">) => void): () => void;
  on(event: "welcome", listener: () => void): () => void;
};

export type WatchDeps = {
  readonly hub: Pick<HubClient, "call">;
  readonly session: WatchSession;
  readonly links: Pick<PeerLinks, "linkTo">;
  readonly clock?: Clock;
};

export type WatchOptions = {
  readonly room: RoomId;
  readonly job: JobId;
  /** The last event already seen; 0 for all. */
  readonly sinceSeq: number;
  /**
   * While this viewer is slower than the job, it is shown the newest instead of everything: the newest value of each
   * metric, the newest lines of the log, every state, command and result. What was left out is named by `skipped` items.
   */
  readonly latest?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Shows sample images, each once and verified, as soon as they are there: ahead of their events on a direct path. */
  readonly onSample?: ((sample: ReceivedSample) => void) | undefined;
  /** The path has changed, or its round trip was measured for the first time. */
  readonly onPath?: (path: WatchPath) => void;
};
