import { describe, expect, it } from "vitest";
import { WaybillError } from "../protocol/index.ts";
import { backoffMs, delay, retry } from "./backoff.ts";

describe("backoff", () => {
  it("doubles up to its cap and stays between half and all of it", () => {
    const most = (attempt: number) =>
      backoffMs(attempt, { baseMs: 100, capMs: 1000, random: () => 1 });
    const least = (attempt: number) =>
      backoffMs(attempt, { baseMs: 100, capMs: 1000, random: () => 0 });
    expect([0, 1, 2, 3, 4, 9].map(most)).toEqual([100, 200, 400, 800, 1000, 1000]);
    expect([0, 1, 2, 3, 4, 9].map(least)).toEqual([50, 100, 200, 400, 500, 500]);
  });

  it("stops waiting when its signal is aborted", async () => {
    const stop = new AbortController();
    const waiting = delay(60_000, stop.signal);
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("retry", () => {
  const clock = () => {
    let ms = 0;
    return {
      now: () => ms,
      sleep: async (wait: number) => {
        ms += wait;
      },
      random: () => 1,
    };
  };

  it("tries again after a retryable error and gives the result", async () => {
    const waits: number[] = [];
    const result = await retry(
      async (attempt) => {
        if (attempt < 3) throw new WaybillError("unreachable", "hub is down");
        return attempt;
      },
      { forMs: 60_000, ...clock(), onRetry: (_, waitMs) => waits.push(waitMs) },
    );
    expect(result).toBe(3);
    expect(waits).toEqual([100, 200, 400]);
  });

  it("does not try again after an error that cannot pass", async () => {
    let tries = 0;
    const failing = retry(
      async () => {
        tries += 1;
        throw new WaybillError("forbidden", "no");
      },
      { forMs: 60_000, ...clock() },
    );
    await expect(failing).rejects.toMatchObject({ code: "forbidden" });
    expect(tries).toBe(1);
  });

  it("gives up with the last error when its time is over", async () => {
    const time = clock();
    const failing = retry(
      async () => {
        throw new WaybillError("unreachable", "hub is down");
      },
      { forMs: 5000, ...time },
    );
    await expect(failing).rejects.toMatchObject({ code: "unreachable" });
    expect(time.now()).toBeLessThanOrEqual(5000);
  });

  it("waits as long as the server asks", async () => {
    const waits: number[] = [];
    await retry(
      async (attempt) => {
        if (attempt === 0)
          throw new WaybillError("rate_limited", "slow down", { retryAfterMs: 3000 });
      },
      { forMs: 60_000, ...clock(), onRetry: (_, waitMs) => waits.push(waitMs) },
    );
    expect(waits).toEqual([3000]);
  });

  it("has its own patience for each error when that is asked for", async () => {
    const errors = ["away", "away", "wrong"];
    const running = retry(
      async () => {
        throw new WaybillError("unreachable", errors.shift() ?? "");
      },
      {
        ...clock(),
        forMs: (error) => (error instanceof Error && error.message === "wrong" ? 500 : 60_000),
      },
    );
    await expect(running).rejects.toThrow("wrong");
    expect(errors).toEqual([]);
  });
});
