import { beforeEach, describe, expect, it } from "vitest";
import { Heartbeat } from "./heartbeat.ts";

let nowMs = 0;
let timers: { atMs: number; run: () => void }[] = [];
const clock = {
  now: () => nowMs,
  after: (ms: number, run: () => void) => {
    const timer = { atMs: nowMs + ms, run };
    timers.push(timer);
    return () => {
      timers = timers.filter((one) => one !== timer);
    };
  },
};
function advance(ms: number): void {
  nowMs += ms;
  const due = timers.filter(({ atMs }) => atMs <= nowMs);
  timers = timers.filter(({ atMs }) => atMs > nowMs);
  for (const { run } of due) run();
}

let pings = 0;
let silences = 0;
let lates = 0;
let open = true;
let wanted = true;
const make = () =>
  new Heartbeat({
    clock,
    ping: () => {
      pings += 1;
    },
    watched: () => open,
    wanted: () => wanted,
    onLate: () => {
      lates += 1;
    },
    onSilence: () => {
      silences += 1;
    },
  });

beforeEach(() => {
  [nowMs, timers, pings, silences, lates, open, wanted] = [0, [], 0, 0, 0, true, true];
});

describe("the pulse of a link", () => {
  it("pings at once and every 5 s, and is content with answers", () => {
    const heartbeat = make();
    heartbeat.start();
    for (let i = 0; i < 10; i++) {
      advance(5000);
      heartbeat.heard();
    }
    expect([pings, silences]).toEqual([11, 0]);
  });

  it("finds a channel dead after 15 s without an answer", () => {
    make().start();
    advance(5000);
    advance(5000);
    expect(silences).toBe(0);
    advance(5000);
    expect(silences).toBe(1);
  });

  it("says when an answer is late, before it gives the channel up", () => {
    const heartbeat = make();
    heartbeat.start();
    advance(5000);
    heartbeat.heard();
    expect(lates).toBe(0);
    advance(5000);
    advance(5000);
    expect([lates, silences]).toEqual([1, 0]);
  });

  it("does not mind silence while there is no channel", () => {
    open = false;
    make().start();
    for (let i = 0; i < 5; i++) advance(5000);
    expect([pings, silences]).toEqual([6, 0]);
  });

  it("wants an answer to a probe within 2 s", () => {
    const heartbeat = make();
    heartbeat.start();
    advance(100);
    heartbeat.probe();
    advance(1999);
    expect(silences).toBe(0);
    advance(1);
    expect(silences).toBe(1);
    advance(100);
    heartbeat.probe();
    heartbeat.heard();
    advance(2000);
    expect(silences).toBe(1);
  });

  it("ends when nobody wants it any more, and when stopped", () => {
    const heartbeat = make();
    heartbeat.start();
    wanted = false;
    advance(5000);
    expect([pings, timers.length]).toEqual([1, 0]);
    wanted = true;
    heartbeat.start();
    heartbeat.probe();
    heartbeat.stop();
    expect(timers).toEqual([]);
  });
});
