import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ShardRun } from "../artifact/index.ts";
import { WaybillError } from "../protocol/index.ts";
import type { SourceReport } from "./download-report.ts";
import { type DownloadInput, runDownload } from "./download-runner.ts";
import { ShardSet } from "./shard-set.ts";
import { expectedBytes, sampleArtifact } from "./source.conformance.ts";
import type { FetchOptions, Source } from "./source.ts";

const sample = sampleArtifact("packed");
const { map } = sample;

/** A source whose requests are served by a function. */
function sourceOf(
  id: string,
  fetch: (run: ShardRun, options: FetchOptions) => AsyncIterable<Uint8Array>,
  more: Partial<Source> = {},
): Source {
  return {
    id,
    kind: "http",
    cost: "free",
    window: 1,
    shards: () => ShardSet.all(map.count),
    fetch,
    ...more,
  };
}

async function* good({ first, count }: ShardRun): AsyncGenerator<Uint8Array> {
  yield expectedBytes(sample, first, count);
}

/** Brings nothing until it is aborted. */
async function* stuck(_: ShardRun, { signal }: FetchOptions): AsyncGenerator<Uint8Array> {
  await new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  yield new Uint8Array(0);
}

describe("the download's runner", () => {
  let kept: ShardSet;
  let report: readonly SourceReport[];

  beforeEach(() => {
    vi.useFakeTimers();
    kept = ShardSet.empty;
    report = [];
  });

  afterEach(() => vi.useRealTimers());

  const run = (sources: Source[], more: Partial<DownloadInput> = {}) =>
    runDownload({
      map,
      done: ShardSet.empty,
      sources,
      keeper: {
        keep: async (shards) => {
          kept = kept.with(shards);
        },
      },
      onReport: (facts) => (report = facts),
      ...more,
    });

  it("cancels the request that lost to its hedge, and counts no byte twice", async () => {
    let cancelled = false;
    let bytes = 0;
    const slow = sourceOf("slow", async function* (shards, options) {
      try {
        yield* stuck(shards, options);
      } finally {
        cancelled = options.signal.aborted;
      }
    });
    const done = run([slow, sourceOf("good", good)], { onBytes: (_, more) => (bytes += more) });
    await vi.advanceTimersByTimeAsync(5000);
    await done;
    expect(cancelled).toBe(true);
    expect(bytes).toBe(map.bytes);
    expect(kept.size).toBe(map.count);
    expect(report.map(({ use }) => use)).toEqual(["unused", "used"]);
  });

  it("asks again after the wait, told by onRetry, and passes on what the source learned", async () => {
    const waits: number[] = [];
    let tries = 0;
    const busy = sourceOf(
      "busy",
      (shards) => {
        tries += 1;
        if (tries === 1) throw new WaybillError("rate_limited", "slow", { retryAfterMs: 2000 });
        return good(shards);
      },
      { advice: () => ({ maxRequestBytes: 2048 }) },
    );
    const done = run([busy], { onRetry: (_, waitMs) => waits.push(waitMs) });
    await vi.advanceTimersByTimeAsync(1990);
    expect(tries).toBe(1);
    await vi.advanceTimersByTimeAsync(100);
    await done;
    expect(waits).toEqual([2000]);
    // Two shards at most in each: more would outlast the link.
    expect(tries).toBeGreaterThan(map.count / 2);
  });

  it("I3: reads no further while what has come is being written", async () => {
    let asked = 0;
    const eager = sourceOf("eager", async function* (shards) {
      asked += 1;
      yield* good(shards);
    });
    let release: (() => void) | undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const done = run([eager], { keeper: { keep: () => held } });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toBe(1);
    release?.();
    await done;
    expect(asked).toBeGreaterThan(1);
  });

  it("ends with what the keeper throws, and with the signal's reason, and reports all the same", async () => {
    const full = new WaybillError("storage_full", "no space left");
    const failing = run([sourceOf("good", good)], { keeper: { keep: () => Promise.reject(full) } });
    await expect(failing).rejects.toBe(full);
    expect(report).toHaveLength(1);
    const abort = new AbortController();
    const stopping = run([sourceOf("stuck", stuck)], { signal: abort.signal });
    abort.abort();
    await expect(stopping).rejects.toMatchObject({ name: "AbortError" });
  });

  it("gives up a source that turns out to be of no use, and says why", async () => {
    let tell: (reason: string) => void = () => undefined;
    const off = vi.fn<() => void>();
    const gone = sourceOf("peer", stuck, {
      shards: () => ShardSet.empty,
      onShards: () => () => undefined,
      onGone: (listener) => {
        tell = listener;
        return off;
      },
    });
    const failed = run([gone]).catch((error: Error) => error.message);
    await vi.advanceTimersByTimeAsync(10);
    tell("it does not answer");
    expect(await failed).toMatch(/peer: it does not answer/);
    expect(off).toHaveBeenCalledOnce();
    expect(report[0]).toMatchObject({ use: "dropped", why: "dropped: it does not answer" });
  });
});
