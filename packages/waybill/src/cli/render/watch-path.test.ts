import type { WatchPath } from "@waybill/sdk/client";
import { beforeEach, describe, expect, it } from "vitest";
import { PathNotice, describePath } from "./watch-path.ts";

const webrtc = (rttMs?: number, candidateType: "host" | "relay" = "host"): WatchPath => ({
  kind: "webrtc",
  candidateType,
  rttMs,
});
const hub = (transport: "websocket" | "polling", rttMs?: number): WatchPath => ({
  kind: "relay",
  transport,
  rttMs,
});
const stored: WatchPath = { kind: "stored" };

describe("a path in words", () => {
  it.each([
    [webrtc(3.2), "webrtc (direct, 3 ms)"],
    [webrtc(0.3), "webrtc (direct, <1 ms)"],
    [webrtc(40, "relay"), "webrtc (turn, 40 ms)"],
    [hub("websocket", 12), "hub (websocket, 12 ms)"],
    [hub("polling", 80), "hub (long polling, 80 ms)"],
    [hub("websocket"), "hub (websocket)"],
    [stored, "stored log"],
  ])("%j is %s", (path, words) => {
    expect(describePath(path)).toBe(words);
  });
});

describe("the notice of a path", () => {
  let shown: string[];
  let nowMs: number;
  let timers: { at: number; run: () => void }[];
  let notice: PathNotice;
  const pass = (ms: number) => {
    nowMs += ms;
    const due = timers.filter(({ at }) => at <= nowMs);
    timers = timers.filter(({ at }) => at > nowMs);
    for (const { run } of due) run();
  };
  beforeEach(() => {
    shown = [];
    timers = [];
    nowMs = 0;
    notice = new PathNotice({
      show: (path) => shown.push(describePath(path)),
      after: (ms, run) => {
        const timer = { at: nowMs + ms, run };
        timers.push(timer);
        return () => (timers = timers.filter((one) => one !== timer));
      },
    });
  });

  it("comes once, when the path has settled and its round trip is known", () => {
    notice.changed(stored);
    pass(50);
    notice.changed(hub("websocket"));
    pass(100);
    notice.changed(hub("websocket", 1.4));
    pass(100);
    notice.changed(webrtc());
    pass(100);
    notice.changed(webrtc(3));
    pass(299);
    expect(shown).toEqual([]);
    pass(1);
    expect(shown).toEqual(["webrtc (direct, 3 ms)"]);
    pass(10_000);
    expect(shown).toHaveLength(1);
  });

  it("comes again for every change that lasts, not for one that is undone at once", () => {
    notice.changed(webrtc(3));
    pass(300);
    notice.changed(hub("websocket", 10));
    pass(200);
    notice.changed(webrtc(4));
    pass(2000);
    notice.changed(hub("polling", 80));
    pass(300);
    notice.changed(webrtc(4));
    pass(300);
    expect(shown).toEqual([
      "webrtc (direct, 3 ms)",
      "hub (long polling, 80 ms)",
      "webrtc (direct, 4 ms)",
    ]);
  });

  it("does not wait for a round trip for ever", () => {
    notice.changed(webrtc());
    pass(1299);
    expect(shown).toEqual([]);
    pass(1);
    expect(shown).toEqual(["webrtc (direct)"]);
  });

  it("is not lost when the watch ends before it", () => {
    notice.changed(hub("websocket", 2));
    notice.end();
    notice.end();
    expect(shown).toEqual(["hub (websocket, 2 ms)"]);
  });
});
