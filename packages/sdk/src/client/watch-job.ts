// Following a job from any machine: the stored log first, then live from the worker that holds the job, over
// the hub's relay or WebRTC; back to the stored log when the worker is gone. `event-merge.ts` makes one stream of it.
import type { JobEvent } from "../protocol/index.ts";
import type { WatchItem } from "./event-merge.ts";
import { JobWatch } from "./job-watch.ts";
import type { WatchDeps, WatchOptions } from "./watch-options.ts";

/**
 * Every event of a job after `sinceSeq`, each once and in order, until its terminal state; goes on across restarts of the hub
 * and loss of either connection. Throws what the hub refuses for good (`not_found`, `forbidden`, …), `AbortError` when
 * `signal` is aborted, `internal` when the stored log has a hole.
 *
 * @example
 * for await (const event of watchJob({ hub, session, links }, { room, job, sinceSeq: 0 })) console.log(event);
 */
export function watchJob(
  deps: WatchDeps,
  options: WatchOptions & { readonly latest?: false | undefined },
): AsyncGenerator<JobEvent, void, void>;
/** As above; while this viewer is too slow, the newest only: items ascend without a gap, `skipped` ones count for their numbers. */
export function watchJob(
  deps: WatchDeps,
  options: WatchOptions,
): AsyncGenerator<WatchItem, void, void>;
export async function* watchJob(
  deps: WatchDeps,
  options: WatchOptions,
): AsyncGenerator<WatchItem, void, void> {
  const watch = new JobWatch(deps, options);
  try {
    watch.start();
    for (;;) {
      const item = watch.items.shift() ?? (await watch.items.next());
      if (item === undefined) return await watch.samplesSettled();
      yield item;
      if (item.type !== "skipped") watch.taken(item.seq);
    }
  } finally {
    watch.stop();
  }
}
