import { WaybillError } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { RetryNotice } from "./retry-notice.ts";

function setup() {
  const notes: string[] = [];
  const records: object[] = [];
  const clock = { ms: Date.parse("2026-01-02T03:04:05Z") };
  const output = {
    note: (text: string) => void notes.push(text),
    record: (value: object) => void records.push(value),
  };
  return { notes, records, clock, notice: new RetryNotice({ output, now: () => clock.ms }) };
}

const away = new WaybillError("unreachable", "hub http://h could not be reached (ECONNREFUSED)", {
  hint: "start it",
});

describe("a notice of retries", () => {
  it("comes before two seconds of failures have become three, with the hint once", () => {
    const { notes, records, clock, notice } = setup();
    const startMs = clock.ms;
    let elapsedMs = 0;
    for (const waitMs of [100, 200, 400, 800, 1600]) {
      notice.failed(away, waitMs, { elapsedMs, leftMs: 30_000 - elapsedMs });
      elapsedMs += waitMs;
      if (notes.length === 0) clock.ms = startMs + elapsedMs;
    }
    expect(clock.ms - startMs).toBe(1500);
    const until = new Date(startMs + 30_000).toTimeString().slice(0, 8);
    expect(notes).toEqual([`${away.message}; trying again until ${until}`, "  start it"]);
    expect(records).toEqual([
      {
        type: "retry",
        code: "unreachable",
        message: away.message,
        waitMs: 1600,
        until: "2026-01-02T03:04:35.000Z",
      },
    ]);
  });

  it("comes again after 30 s, 60 s, 120 s, … while it goes on", () => {
    const { notes, clock, notice } = setup();
    const startMs = clock.ms;
    const told: number[] = [];
    for (; clock.ms - startMs < 1_000_000; clock.ms += 1000) {
      const before = notes.length;
      notice.failed(away, 1000);
      if (notes.length > before) told.push((clock.ms - startMs) / 1000);
    }
    expect(told).toEqual([1, 30, 89, 208, 447, 746]);
    expect(notes.filter((note) => note.includes("start it"))).toHaveLength(1);
  });

  it("does not come for what passes, and begins anew when it worked meanwhile", () => {
    const { notes, clock, notice } = setup();
    for (let round = 0; round < 20; round++) {
      notice.failed(away, 500);
      clock.ms += 1000;
      notice.worked();
    }
    expect(notes).toEqual([]);
    notice.progressed(10);
    notice.failed(away, 100);
    clock.ms += 1900;
    notice.progressed(10);
    notice.failed(away, 100);
    expect(notes).toHaveLength(2);
  });

  it("comes at once when a single try took long", () => {
    const { notes, notice } = setup();
    notice.failed(away, 100, { elapsedMs: 10_000 });
    expect(notes[0]).toBe(`${away.message}; trying again`);
  });
});
