import { describe, expect, it } from "vitest";
import { FetchNotice } from "./fetch-notice.ts";

const START = Date.UTC(2026, 0, 2, 4, 6, 0);
const S = 1000;
const MIB = 2 ** 20;

function notice(): FetchNotice {
  return new FetchNotice({ what: "dataset ds4", nowMs: START });
}

describe("a job that waits for bytes", () => {
  it("says so when none has come for ten seconds, once and then every minute", () => {
    const one = notice();
    one.begun(START);
    one.progress(3 * MIB, 23 * MIB, START + 68 * S);
    const said = Array.from({ length: 200 }, (_, i) => i).filter(
      (s) => one.look(START + (68 + s) * S) !== undefined,
    );
    expect(said).toEqual([10, 70, 130, 190]);
  });

  it("names what is missing since when, when it fails, and what goes on with it", () => {
    const one = notice();
    one.begun(START);
    one.arriving(15 * 60 * S);
    one.progress(3 * MIB, 23 * MIB, START + 68 * S);
    expect(one.look(START + 80 * S)).toBe(
      "waiting for dataset ds4: 3 of 23 MiB, nothing since 04:07:08 UTC; fails at 04:22; go on with `waybill push PATH --announce`",
    );
  });

  it("does not take a report without new bytes for progress, and begins anew with new ones", () => {
    const one = notice();
    one.begun(START);
    one.progress(MIB, 2 * MIB, START);
    one.progress(MIB, 2 * MIB, START + 9 * S);
    expect(one.look(START + 10 * S)).toMatch(/1 of 2 MiB, nothing since 04:06:00 UTC$/);
    one.progress(1.5 * MIB, 2 * MIB, START + 11 * S);
    expect(one.look(START + 20 * S)).toBeUndefined();
    expect(one.look(START + 21 * S)).toMatch(/1\.5 of 2 MiB/);
  });

  it("promises no failure of what the room holds whole, and no amount it does not know", () => {
    const one = notice();
    one.begun(START);
    expect(one.look(START + 10 * S)).toBe("waiting for dataset ds4: nothing since 04:06:00 UTC");
  });

  it("says that another job of the worker fetches it", () => {
    expect(notice().look(START + 10 * S)).toMatch(/^waiting for dataset ds4: another job/);
  });
});
