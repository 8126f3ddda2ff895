// The log of one job as the feed reads it; the worker implements it over its spool.
import type { JobEvent } from "../protocol/index.ts";

/** A job's log as the feed reads it. */
export type EventLogReader = {
  /** Number of the first event here; older ones are stored at the hub. */
  readonly firstSeq: number;
  /** Number of the last event; `firstSeq - 1` while there is none. */
  readonly lastSeq: number;
  /** Up to `limit` consecutive events after `sinceSeq`. */
  read(sinceSeq: number, limit: number): Promise<JobEvent[]>;
  /** Told after each append; the result unsubscribes. */
  subscribe(listener: () => void): () => void;
};
