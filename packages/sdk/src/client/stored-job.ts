// What the hub knows of one job: its document and stored events. An answer of undefined means that asking again
// later may help; what the hub refuses for good is thrown.
import type { HubClient } from "../hub-client/index.ts";
import {
  type JobId,
  type RoomId,
  type RouteInput,
  type RouteName,
  type RouteOutput,
  isRetryable,
} from "../protocol/index.ts";

export type StoredJobInit = {
  readonly hub: Pick<HubClient, "call">;
  readonly room: RoomId;
  readonly job: JobId;
  readonly signal: AbortSignal;
};

export class StoredJob {
  readonly #init: StoredJobInit;

  constructor(init: StoredJobInit) {
    this.#init = init;
  }

  /** A page of stored events after `since`. */
  events(since: number, limit?: number): Promise<RouteOutput<"readEvents"> | undefined> {
    const { room, job } = this.#init;
    const most = limit === undefined ? {} : { limit: String(limit) };
    return this.#ask("readEvents", {
      params: { room, job },
      query: { since: String(since), ...most },
    });
  }

  document(): Promise<RouteOutput<"showJob"> | undefined> {
    const { room, job } = this.#init;
    return this.#ask("showJob", { params: { room, job } });
  }

  async #ask<N extends RouteName>(
    route: N,
    input: RouteInput<N>,
  ): Promise<RouteOutput<N> | undefined> {
    const { hub, signal } = this.#init;
    try {
      // Tried once: whoever watches has other news to react to than the end of a retry.
      return await hub.call(route, input, { signal, retryForMs: 0 });
    } catch (error) {
      if (signal.aborted || isRetryable(error)) return undefined;
      throw error;
    }
  }
}
