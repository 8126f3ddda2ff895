// A peer that serves and hangs: its connections stay open, and nothing comes (docs/protocol/data-server.md §3).
import { describe, expect, it } from "vitest";
import { ServedCache, isUnderWay } from "../support/served-cache.ts";

describe("a worker that serves a dataset", () => {
  it("and freezes in the middle costs the job seconds: the store brings the rest", async () => {
    await using room = await ServedCache.open(["--data-limit", "6M"]);
    await room.lab.startWorker("two");
    const client = room.train("two");
    await client.until(isUnderWay);
    room.first.child.kill("SIGSTOP");
    const startMs = performance.now();
    const { sources, ...outcome } = await room.outcome(client);
    expect(outcome).toEqual({ exit: 0, state: "completed", digest: room.digest });
    expect(Number(sources["s3"])).toBeGreaterThan(0);
    // Three seconds of silence until the store is asked, and what a busy machine needs.
    expect(performance.now() - startMs).toBeLessThan(30_000);
  });
});
