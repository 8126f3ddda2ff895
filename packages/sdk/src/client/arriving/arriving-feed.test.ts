// docs/protocol/arriving.md §3: how long a reader asks, and what it believes.
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import {
  type Arriving,
  ArtifactId,
  RoomId,
  type RouteName,
  WaybillError,
} from "../../protocol/index.ts";
import type { HubCalls } from "../push.ts";
import { ArrivingFeed } from "./arriving-feed.ts";

const room = v.parse(RoomId, "lab");
const artifact = v.parse(ArtifactId, "a".repeat(64));
const gone = () => new WaybillError("not_found", "gone");
const away = () => new WaybillError("unreachable", "away");

function grown(parts: number): Arriving {
  const segments = Array.from({ length: parts }, (_, at) => ({ part: at + 1, size: 1 }));
  const objects = [{ key: "a", segments }];
  return { done: false, revision: String(parts), unitBytes: 1, objects, direct: [] };
}
const done: Arriving = { done: true, revision: "done", unitBytes: 0, objects: [], direct: [] };

/** A hub whose answer is `answerAt` the virtual time, and a feed that asks it until it ends. */
async function run(
  answerAt: (nowMs: number) => Arriving | WaybillError,
  options: { readonly until?: number; readonly progressAt?: number } = {},
) {
  let nowMs = 0;
  const asked: number[] = [];
  const seen: number[] = [];
  const over = Promise.withResolvers<void>();
  const call = async (name: RouteName): Promise<unknown> => {
    expect(name).toBe("showArriving");
    asked.push(nowMs);
    const answer = answerAt(nowMs);
    if (answer instanceof WaybillError) throw answer;
    return answer;
  };
  const feed = new ArrivingFeed({
    hub: { call: call as HubCalls["call"] },
    room,
    artifact,
    name: "digits",
    waitMs: 900_000,
    now: () => nowMs,
    sleep: async (ms) => {
      nowMs += ms;
      const { progressAt = Infinity, until = 10_000_000 } = options;
      if (nowMs >= progressAt && nowMs - ms < progressAt) feed.noteProgress();
      if (nowMs < until) return;
      over.resolve();
      await new Promise(() => undefined);
    },
  });
  feed.onChange(() => {
    seen.push(nowMs);
    if (feed.account.done) over.resolve();
  });
  feed.failed.addEventListener("abort", () => over.resolve());
  feed.start();
  await over.promise;
  const failure: unknown = feed.failed.reason;
  return { asked, seen, nowMs, failure, account: feed.account };
}

describe("a feed of what arrives", () => {
  it("asks often while it grows, and ends when the artifact is there", async () => {
    const { asked, account } = await run((nowMs) =>
      nowMs > 20_000 ? done : grown(Math.floor(nowMs / 5000) + 1),
    );
    const pauses = asked.slice(1).map((ms, at) => ms - (asked[at] ?? 0));
    expect(Math.max(...pauses)).toBeLessThanOrEqual(750);
    expect(account.done).toBe(true);
  });

  it("tells of changes only", async () => {
    const { seen } = await run((nowMs) => (nowMs > 20_000 ? done : grown(nowMs < 9000 ? 1 : 2)));
    expect(seen).toHaveLength(3);
  });

  it("asks seldom when nothing comes, and gives up after the wait", async () => {
    const { asked, nowMs, failure } = await run(() => grown(1));
    const pauses = asked.slice(1).map((ms, at) => ms - (asked[at] ?? 0));
    expect(Math.max(...pauses)).toBe(3000);
    expect(failure).toMatchObject({ code: "no_source_left" });
    expect(String(failure)).toMatch(/nothing .* 15 min/);
    expect(nowMs).toBeGreaterThan(890_000);
    expect(nowMs).toBeLessThan(920_000);
  });

  it("says whose machine it waited for when the upload was held (36)", async () => {
    const { failure } = await run(() => ({ ...grown(0), held: true, by: "alice@laptop" }));
    expect(failure).toMatchObject({ code: "no_source_left" });
    expect(String(failure)).toMatch(/its bytes are only at alice@laptop/);
  });

  it("does not count the time in which the hub was away", async () => {
    const { nowMs, failure } = await run((now) =>
      now > 10_000 && now < 1_500_000 ? away() : grown(1),
    );
    expect(failure).toMatchObject({ code: "no_source_left" });
    expect(nowMs).toBeGreaterThan(2_300_000);
  });

  it("waits on while bytes come from elsewhere", async () => {
    const { nowMs } = await run(() => grown(1), { progressAt: 600_000 });
    expect(nowMs).toBeGreaterThan(1_490_000);
  });

  it("believes that an upload is gone after 15 seconds", async () => {
    const { failure, nowMs } = await run((now) => (now > 5000 ? gone() : grown(1)));
    expect(failure).toMatchObject({ code: "expired" });
    expect(String(failure)).toMatch(/stopped arriving/);
    expect(nowMs).toBeGreaterThan(20_000);
    expect(nowMs).toBeLessThan(26_000);
  });

  it("goes on when a push that was begun anew announces itself again", async () => {
    const { failure, account } = await run((now) => {
      if (now > 30_000) return done;
      return now > 5000 && now < 15_000 ? gone() : grown(1);
    });
    expect(failure).toBeUndefined();
    expect(account.done).toBe(true);
  });

  it("ends at once for what asking again does not change", async () => {
    const { failure } = await run(() => new WaybillError("forbidden", "no"));
    expect(failure).toMatchObject({ code: "forbidden" });
  });
});
