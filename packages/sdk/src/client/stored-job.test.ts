import { describe, expect, it } from "vitest";
import * as v from "valibot";
import { JobId, RoomId } from "../protocol/index.ts";
import { StoredJob } from "./stored-job.ts";

/** A hub that answers nothing until a question is given up. */
function silentHub() {
  let nowMs = 0;
  const call = (_name: string, _input: unknown, options: { signal: AbortSignal }) =>
    new Promise<never>((_, reject) => {
      options.signal.addEventListener("abort", () => reject(options.signal.reason as Error));
    });
  const stored = new StoredJob({
    hub: { call },
    room: v.parse(RoomId, "lab"),
    job: v.parse(JobId, "j_0123456789abcdef"),
    signal: new AbortController().signal,
    clock: { now: () => nowMs },
  });
  return { stored, pass: (ms: number) => (nowMs += ms) };
}

describe("a question to the hub", () => {
  it("that hangs is given up when the hub is heard again over a new connection", async () => {
    const { stored, pass } = silentHub();
    const page = stored.events(0);
    pass(1001);
    stored.reconnected();
    expect(await page).toBeUndefined();
  });

  it("that was just asked is waited for", async () => {
    const { stored, pass } = silentHub();
    const document = stored.document();
    pass(1000);
    stored.reconnected();
    const first = await Promise.race([document, Promise.resolve("waits")]);
    expect(first).toBe("waits");
  });
});
