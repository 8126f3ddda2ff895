// What the hub knows of one job: its document and stored events. An answer of undefined means that asking again
// later may help; what the hub refuses for good is thrown.
import type { HubClient } from "../hub-client/index.ts";
import {
  type JobId,
  LIMITS,
  type RoomId,
  type RouteInput,
  type RouteName,
  type RouteOutput,
  isRetryable,
} from "../protocol/index.ts";
import type { Clock } from "../swarm/index.ts";

/** A question this old when the hub is heard again may have been asked over a connection that is dead. */
const OLD_MS = 1000;

export type StoredJobInit = {
  readonly hub: Pick<HubClient, "call">;
  readonly room: RoomId;
  readonly job: JobId;
  readonly signal: AbortSignal;
  readonly clock: Pick<Clock, "now">;
};

/** An image is worth a hub's restart, not more: newer ones wait behind it. */
const SAMPLE_MS = 30_000;

export class StoredJob {
  readonly #init: StoredJobInit;
  #asking: { readonly abort: AbortController; readonly sinceMs: number } | undefined;

  constructor(init: StoredJobInit) {
    this.#init = init;
  }

  /** There is a new connection to the hub: a question that has waited for long is given up, to be asked again. */
  reconnected(): void {
    const asking = this.#asking;
    if (asking !== undefined && this.#init.clock.now() - asking.sinceMs > OLD_MS) {
      asking.abort.abort();
    }
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

  /** The bytes of a sample image; undefined when the store has more of them than may be, or none. Throws when it cannot be reached. */
  async sample(file: string): Promise<Uint8Array | undefined> {
    const { hub, room, job, signal } = this.#init;
    const params = { room, job, file };
    const { url } = await hub.call("readSample", { params }, { signal, retryForMs: SAMPLE_MS });
    const answer = await fetch(url, { signal });
    if (!answer.ok || Number(answer.headers.get("content-length")) > LIMITS.sampleBytes) {
      return undefined;
    }
    return new Uint8Array(await answer.arrayBuffer());
  }

  async #ask<N extends RouteName>(
    route: N,
    input: RouteInput<N>,
  ): Promise<RouteOutput<N> | undefined> {
    const { hub, signal, clock } = this.#init;
    const abort = new AbortController();
    this.#asking = { abort, sinceMs: clock.now() };
    try {
      // Tried once: whoever watches has other news to react to than the end of a retry.
      const options = { signal: AbortSignal.any([signal, abort.signal]), retryForMs: 0 };
      return await hub.call(route, input, options);
    } catch (error) {
      if (signal.aborted || abort.signal.aborted || isRetryable(error)) return undefined;
      throw error;
    } finally {
      this.#asking = undefined;
    }
  }
}
