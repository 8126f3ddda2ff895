import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RateGate, charge, parseRateLimit, rateAt } from "./rate-limit.ts";

const at = (time: string) => new Date(`2026-03-04T${time}:00`);

describe("a rate", () => {
  it("is written in bytes a second with powers of 1024", () => {
    const rate = (text: string) => rateAt(parseRateLimit(text), at("12:00"));
    expect(["750000", "512K", "1.5M", "2g", "10MiB/s", "64kB", "off"].map(rate)).toEqual([
      750_000,
      512 * 1024,
      1.5 * 1024 * 1024,
      2 * 1024 ** 3,
      10 * 1024 * 1024,
      64 * 1024,
      undefined,
    ]);
  });

  it("follows a timetable, whose last line goes on after midnight", () => {
    const limit = parseRateLimit("19:00,10M 08:00,512K 23:30,off");
    const rates = ["00:00", "07:59", "08:00", "18:59", "19:00", "23:29", "23:30"].map((time) =>
      rateAt(limit, at(time)),
    );
    const [slow, fast] = [512 * 1024, 10 * 1024 * 1024];
    expect(rates).toEqual([undefined, undefined, slow, slow, fast, fast, undefined]);
  });

  it("is refused when it says nothing, or two things at once", () => {
    for (const text of [
      "",
      "0",
      "-1",
      "fast",
      "10X",
      "25:00,1M",
      "08:00",
      "8:00,1M 08:00,2M",
      "8:00,1M,2M",
    ]) {
      expect(() => parseRateLimit(text), text).toThrow(`"${text}" is not a rate`);
    }
  });
});

describe("the gate", () => {
  const lab = (text: string, start = "12:00") => {
    let ms = 0;
    const begin = at(start).getTime();
    const gate = new RateGate(parseRateLimit(text), {
      now: () => ms,
      date: () => new Date(begin + ms),
      sleep: async (wait) => {
        ms += wait;
      },
    });
    return { gate, now: () => ms, wait: (more: number) => (ms += more) };
  };

  it("lets through what the rate allows, in pieces of a tenth of a second", async () => {
    const { gate, now } = lab("1M");
    expect(gate.pieceBytes).toBe(104_857);
    for (let sent = 0; sent < 10 * 1024 * 1024; sent += gate.pieceBytes)
      await gate.pass(gate.pieceBytes);
    expect(now()).toBeGreaterThan(9_800);
    expect(now()).toBeLessThan(10_200);
  });

  it("makes up for a pause by a tenth of a second at most", async () => {
    const { gate, now, wait } = lab("1M");
    await gate.pass(1024 * 1024);
    wait(60_000);
    const before = now();
    await gate.pass(1024 * 1024);
    expect(now() - before).toBeCloseTo(900, 0);
  });

  it("holds nobody up where there is no limit", async () => {
    const { gate, now } = lab("off");
    await gate.pass(1e12);
    expect(now()).toBe(0);
  });

  it("lets go when a faster stretch begins", async () => {
    const { gate, now } = lab("08:00,1K 12:10,off");
    await gate.pass(1024 * 3600);
    expect(now()).toBe(600_000);
  });

  it("never lets more through than the rate and one burst, however it is used", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5000), fc.nat(3000)), { maxLength: 60 }), (steps) => {
        const bytesPerS = 1000;
        let [nowMs, paidMs, sent] = [0, Number.NEGATIVE_INFINITY, 0];
        for (const [bytes, pauseMs] of steps) {
          const step = charge(paidMs, bytes, { bytesPerS, nowMs });
          paidMs = step.paidMs;
          sent += bytes;
          nowMs += step.waitMs;
          expect(sent).toBeLessThanOrEqual(((nowMs + 100) * bytesPerS) / 1000 + 1e-6);
          nowMs += pauseMs;
        }
      }),
    );
  });
});
