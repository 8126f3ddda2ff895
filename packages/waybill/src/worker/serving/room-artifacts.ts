// Which artifacts of the cache every member of the room may have: those the hub knows by their id and that are no checkpoints,
// which are for their job's worker alone (docs/protocol/data-server.md §2).
import { type ArtifactId, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import type { HubCalls } from "../ports.ts";

export type RoomArtifactsInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  /** Milliseconds; monotonic. */
  readonly now?: () => number;
};

/** What was not known may have been pushed since. */
const AGAIN_MS = 60_000;
/** A hub that takes longer is asked again later. */
const ASK_MS = 5000;

export class RoomArtifacts {
  readonly #init: RoomArtifactsInit;
  readonly #now: () => number;
  readonly #known = new Set<ArtifactId>();
  readonly #unknown = new Map<ArtifactId, number>();
  readonly #asking = new Map<ArtifactId, Promise<boolean>>();

  constructor(init: RoomArtifactsInit) {
    this.#init = init;
    this.#now = init.now ?? performance.now.bind(performance);
  }

  /** Asks the hub about what it has not told yet; false while it cannot be asked. */
  async knows(artifact: ArtifactId): Promise<boolean> {
    if (this.#known.has(artifact)) return true;
    const deniedMs = this.#unknown.get(artifact);
    if (deniedMs !== undefined && this.#now() - deniedMs < AGAIN_MS) return false;
    const asking = this.#asking.get(artifact) ?? this.#ask(artifact);
    this.#asking.set(artifact, asking);
    return asking.finally(() => this.#asking.delete(artifact));
  }

  async #ask(artifact: ArtifactId): Promise<boolean> {
    const { hub, room } = this.#init;
    try {
      const { kind } = await hub.call(
        "resolveArtifact",
        { params: { room, ref: artifact } },
        { signal: AbortSignal.timeout(ASK_MS), retryForMs: 0 },
      );
      if (kind !== "checkpoint") {
        this.#known.add(artifact);
        this.#unknown.delete(artifact);
        return true;
      }
      this.#unknown.set(artifact, this.#now());
    } catch (error) {
      const isAnswer = error instanceof WaybillError && !error.retryable;
      if (isAnswer) this.#unknown.set(artifact, this.#now());
    }
    return false;
  }
}
