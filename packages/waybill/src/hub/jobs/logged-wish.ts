// A `stop` or `cancel` that reached the worker over a direct channel: the hub did not pass it on, but the worker wrote it
// to the log (docs/protocol/events.md §7). Pure.
import type { JobEvent, JobEventOf, JobWish } from "@waybill/sdk/protocol";

/** The newest of the log's last events that are looked at. */
export const LOOKED_AT = 200;

/** What the events of an attempt say somebody wanted; a cancel weighs more than a stop. */
export function wishIn(
  events: readonly JobEvent[],
  attempt: number,
): Omit<JobWish, "at"> | undefined {
  const latest = new Map<string, JobEventOf<"command">>();
  for (const event of events) {
    if (event.type === "command" && event.attempt === attempt) latest.set(event.id, event);
  }
  const wanted = [...latest.values()].flatMap(({ id, name, by, stage }) =>
    (name === "stop" || name === "cancel") && stage !== "rejected" ? [{ id, name, by }] : [],
  );
  return wanted.find(({ name }) => name === "cancel") ?? wanted[0];
}
