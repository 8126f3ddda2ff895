import { describe, expect, it } from "vitest";
import {
  type Pace,
  connectionAgeOf,
  flightOf,
  memoryOf,
  paceConfirmed,
  paceFailed,
  pacePath,
  paceTick,
  permitsAheadOf,
  startPace,
} from "./upload-pace.ts";
import { partRule } from "./upload-plan.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const rule = partRule(MIB, GIB);

type Link = {
  /** Of all connections together. */
  readonly bytesPerS: number;
  /** Of one connection: loss and distance. */
  readonly connectionBytesPerS?: number;
  readonly answerMs?: number;
  /** Connections are reset at this age; each body has one of its own. */
  readonly resetMs?: number;
};

type Body = { readonly startedMs: number; readonly size: number; sent: number; answerAtMs: number };

/** A link in virtual time; gives when all was through, what was sent, and the pace in the end. */
function send(totalBytes: number, link: Link, most = 3600_000) {
  const { bytesPerS, connectionBytesPerS = Infinity, answerMs = 1, resetMs = Infinity } = link;
  const stepMs = 10;
  let pace: Pace = startPace(rule, totalBytes);
  let bodies: Body[] = [];
  let left = totalBytes;
  let sentBytes = 0;
  let confirmed = 0;
  let widest = 0;
  let nowMs = 0;
  for (; confirmed < totalBytes && nowMs < most; nowMs += stepMs) {
    const limited = () => {
      const flying = bodies.filter((body) => body.sent < body.size);
      const bytes = flying.reduce((sum, body) => sum + body.size, 0);
      return bytes > 0 && bytes + pace.partBytes > flightOf(pace).bytes;
    };
    while (left > 0 && !limited()) {
      const size = Math.min(pace.partBytes, left);
      left -= size;
      bodies.push({ startedMs: nowMs, size, sent: 0, answerAtMs: Infinity });
    }
    const flying = bodies.filter((body) => body.sent < body.size);
    widest = Math.max(widest, flying.length);
    const share = Math.min(bytesPerS / flying.length, connectionBytesPerS) * (stepMs / 1000);
    for (const body of flying) {
      const bytes = Math.min(share, body.size - body.sent);
      body.sent += bytes;
      sentBytes += bytes;
      if (body.size - body.sent < 1e-6) {
        body.sent = body.size;
        body.answerAtMs = nowMs + answerMs;
      }
    }
    for (const body of bodies.filter(({ startedMs }) => nowMs - startedMs >= resetMs)) {
      bodies = bodies.filter((one) => one !== body);
      left += body.size;
      pace = paceFailed(pace, {
        startedMs: body.startedMs,
        openedMs: body.startedMs,
        nowMs,
        reset: true,
      });
    }
    for (const body of bodies.filter(({ answerAtMs }) => answerAtMs <= nowMs)) {
      bodies = bodies.filter((one) => one !== body);
      confirmed += body.size;
      const { size, startedMs } = body;
      pace = paceConfirmed(pace, { size, startedMs, openedMs: startedMs, nowMs });
    }
    if (nowMs % 250 === 0) pace = paceTick(pace, { nowMs, sentBytes, limited: left > 0 });
  }
  return { pace, seconds: nowMs / 1000, sentBytes, widest, confirmed };
}

describe("the pace of an upload", () => {
  it("begins with more at once where a round trip is long, and waits there for warm connections", () => {
    const start = (pathMs: number, concurrency = Infinity) =>
      startPace(rule, GIB, concurrency, pathMs);
    const windows = [1, 50, 60, 150, 600].map((pathMs) => start(pathMs).window);
    expect(windows).toEqual([1, 1, 4, 8, 8]);
    expect(start(150, 3).window).toBe(3);
    expect(flightOf(start(1)).bodies).toBe(24);
    expect(flightOf(start(150)).bodies).toBe(8);
    const cut = { startedMs: 0, openedMs: 0, nowMs: 6000, reset: true };
    expect(flightOf(paceFailed(paceFailed(start(1), cut), cut)).bodies).toBeLessThanOrEqual(2);
    expect(permitsAheadOf(start(1))).toBe(5 * MIB);
    expect(permitsAheadOf(start(150))).toBe(20 * MIB);
  });

  it("takes a path for near after all when a later call was quicker", () => {
    const far = startPace(rule, GIB, Infinity, 80);
    expect(far.window).toBe(5);
    expect(pacePath(far, 90, false)).toBe(far);
    expect(pacePath(far, undefined, true)).toBe(far);
    expect(pacePath(far, 150, true).window).toBe(8);
    expect(pacePath(far, 8, true)).toEqual(startPace(rule, GIB, Infinity, 8));
    expect(pacePath(far, 8, false).window).toBe(5);
  });

  it("is not hurried by small bodies: a whole part is quick, or none", () => {
    const times = { startedMs: 0, openedMs: 0, nowMs: 60 };
    expect(paceConfirmed(startPace(rule, GIB), { ...times, size: 1024 }).window).toBe(1);
    expect(paceConfirmed(startPace(rule, GIB), { ...times, size: 5 * MIB }).window).toBe(3);
  });

  it("halves for resets at ages that have nothing in common, and is careful for a minute after one", () => {
    let pace: Pace = { ...startPace(rule, GIB, Infinity, 150), window: 24 };
    const windows = [5000, 20_000, 60_000, 11_000].map((ageMs, at) => {
      const nowMs = 100_000 + at * 4000;
      pace = paceFailed(pace, {
        startedMs: nowMs - 1,
        openedMs: nowMs - ageMs,
        nowMs,
        reset: true,
      });
      return pace.window;
    });
    expect(windows).toEqual([12, 6, 3, 1]);
    const near = { ...startPace(rule, GIB), window: 4 };
    const cut = { startedMs: 0, openedMs: 0, nowMs: 300_000, reset: true };
    const careful = paceFailed(near, cut);
    expect(flightOf(careful).bodies).toBe(careful.window);
    const later = { startedMs: 361_000, openedMs: 300_000, nowMs: 361_100, size: 1000 };
    expect(flightOf(paceConfirmed(careful, later)).bodies).toBe(24);
  });

  it("starts with one of the smallest parts", () => {
    expect(startPace(rule, GIB)).toMatchObject({ window: 1, partBytes: 5 * MIB });
  });

  it("uses its budget at once on a fast link, and no more than 1/64 of the push", () => {
    for (const size of [GIB, 2 * GIB, 4 * GIB, 16 * GIB]) {
      const { pace, widest, seconds } = send(size, { bytesPerS: 500 * MIB });
      expect(flightOf(pace).bytes).toBeLessThanOrEqual(Math.max(size / 64, 15 * MIB));
      expect(widest).toBeLessThanOrEqual(8);
      expect(seconds).toBeLessThan((size / (500 * MIB)) * 1.1 + 1);
    }
  });

  it("takes larger parts where one connection is fast and the push is large", () => {
    expect(send(4 * GIB, { bytesPerS: 500 * MIB }).pace.partBytes).toBe(8 * MIB);
    expect(send(GIB, { bytesPerS: 500 * MIB }).pace.partBytes).toBe(5 * MIB);
  });

  it("tries no more at once in the first ten seconds of a near path, unless a part takes eight", () => {
    const after = (ticks: number, bytesPerS: number, pathMs = 1) => {
      let pace = startPace(rule, GIB, Infinity, pathMs);
      for (let tick = 1; tick <= ticks; tick++) {
        const nowMs = 250 * tick;
        pace = paceTick(pace, { nowMs, sentBytes: (bytesPerS * nowMs) / 1000, limited: true });
      }
      return pace.window;
    };
    expect([after(38, 2.5e6), after(48, 2.5e6)]).toEqual([1, 2]);
    expect(after(20, 0.5e6)).toBe(2);
    expect(after(20, 2.5e6, 60)).toBeGreaterThan(4);
  });

  it("finds that more connections give nothing on a slow link that they share", () => {
    const { pace, seconds, widest } = send(256 * MIB, { bytesPerS: 2.5e6 });
    expect(pace.window).toBeLessThanOrEqual(3);
    expect(widest).toBeLessThanOrEqual(4);
    expect(seconds).toBeLessThan((256 * MIB) / 2.5e6 + 3);
  });

  it.each([
    ["150 ms and 1 % loss", 118e3, 24],
    ["50 ms and 1 % loss", 353e3, 24],
    ["50 ms and 0.1 % loss", 1.1e6, 20],
  ])("uses many connections where each is slow: %s", (_, connectionBytesPerS, least) => {
    const link = { bytesPerS: 100e6, connectionBytesPerS, answerMs: 150 };
    const { pace, seconds } = send(512 * MIB, link);
    expect(pace.window).toBeGreaterThanOrEqual(least);
    // Within a fifth, and the climb, of 24 connections from the start.
    const ideal = (512 * MIB) / (24 * connectionBytesPerS);
    expect(seconds).toBeLessThan(ideal * 1.2 + 30);
    expect(memoryOf(pace)).toBeLessThanOrEqual(130 * MIB);
  });

  it("I2: lives with a path that resets every connection after 6 s at 20 Mbit/s", () => {
    const total = 256 * MIB;
    const free = send(total, { bytesPerS: 2.5e6 }).seconds;
    const { seconds, confirmed, sentBytes } = send(total, { bytesPerS: 2.5e6, resetMs: 6000 });
    expect(confirmed).toBe(total);
    expect(seconds).toBeLessThan(free * 1.1);
    expect(sentBytes).toBeLessThan(total * 1.1);
  });

  it("halves the bodies once for failures of one moment, and climbs again later", () => {
    let pace = { ...startPace(rule, GIB), window: 8 };
    for (let at = 0; at < 8; at++) {
      pace = paceFailed(pace, { startedMs: 0, openedMs: 0, nowMs: 500, reset: false });
    }
    expect(pace.window).toBe(4);
    expect(paceFailed(pace, { startedMs: 501, openedMs: 0, nowMs: 600, reset: false }).window).toBe(
      2,
    );
  });

  it("does not use a connection again that would be reset under the next part", () => {
    let pace = startPace(rule, GIB);
    expect(connectionAgeOf(pace, 0)).toBe(undefined);
    for (const nowMs of [6000, 12_200]) {
      pace = paceFailed(pace, {
        startedMs: nowMs - 3000,
        openedMs: nowMs - 6000,
        nowMs,
        reset: true,
      });
    }
    const ageMs = connectionAgeOf(pace, 12_300) ?? Infinity;
    expect(ageMs).toBeLessThan(6000);
  });

  it("keeps a store's equal parts", () => {
    const equal = partRule(8 * MIB, GIB, 8 * MIB);
    const pace = paceConfirmed(startPace(equal, 16 * GIB), {
      size: 8 * MIB,
      startedMs: 0,
      openedMs: 0,
      nowMs: 10,
    });
    expect(pace.partBytes).toBe(8 * MIB);
  });
});
