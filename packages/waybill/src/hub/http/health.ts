// Whether the hub and its store answer. Asked by anybody, so the store is asked once in a while only.
import type { Bucket } from "../bucket/bucket.ts";
import type { Clock } from "../log.ts";
import type { Handler } from "./handler.ts";

const MAX_AGE_MS = 1000;

type Health = Awaited<ReturnType<Handler<"health">>>;

/** The handler; concurrent questions share one answer. */
export function createHealth(deps: {
  readonly bucket: Bucket;
  readonly clock: Clock;
}): Handler<"health"> {
  let asked: { readonly atMs: number; readonly answer: Promise<Health> } | undefined;

  async function ask(): Promise<Health> {
    try {
      await deps.bucket.head("_health");
      return { ok: true, store: "ok" };
    } catch {
      return { ok: false, store: "unreachable" };
    }
  }

  return () => {
    const nowMs = deps.clock();
    if (asked === undefined || nowMs - asked.atMs > MAX_AGE_MS) {
      asked = { atMs: nowMs, answer: ask() };
    }
    return asked.answer;
  };
}
