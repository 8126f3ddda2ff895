// What the watches of one client have seen of their jobs: who works on each, and up to which event.
import { type JobEventOf, type JobId, type PeerId, isTerminal } from "../protocol/index.ts";
import type { SeenJob } from "./command-job.ts";
import type { WatchItem } from "./event-merge.ts";

export class SeenJobs {
  readonly #watches = new Map<JobId, Set<Watch>>();

  /** Undefined when nobody watches the job now. */
  of(job: JobId): SeenJob | undefined {
    const watches = [...(this.#watches.get(job) ?? [])];
    // The one that is furthest knows the worker best.
    return watches.sort((a, b) => b.lastSeq - a.lastSeq)[0];
  }

  /** Hands on the items of a watch and notes what they tell, until it ends. */
  async *noting(
    job: JobId,
    items: AsyncIterable<WatchItem>,
  ): AsyncGenerator<WatchItem, void, void> {
    const watch: Watch = { worker: undefined, lastSeq: 0 };
    const watches = this.#watches.get(job) ?? new Set();
    this.#watches.set(job, watches.add(watch));
    try {
      for await (const item of items) {
        if (item.type === "skipped") watch.lastSeq = item.to;
        else watch.lastSeq = item.seq;
        if (item.type === "state") watch.worker = workerAfter(item, watch.worker);
        yield item;
      }
    } finally {
      watches.delete(watch);
      if (watches.size === 0) this.#watches.delete(job);
    }
  }
}

function workerAfter(event: JobEventOf<"state">, before: PeerId | undefined): PeerId | undefined {
  if (event.state === "queued" || isTerminal(event.state)) return undefined;
  return event.worker ?? before;
}

type Watch = { worker: PeerId | undefined; lastSeq: number };
