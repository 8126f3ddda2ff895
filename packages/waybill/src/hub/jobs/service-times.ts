// When each submitter of a room was last given a worker, for a fair queue (docs/protocol/events.md §6). Memory only: after a
// restart it is known again of those whose jobs run.

/** Submitters remembered; those served longest ago are forgotten first, which puts them where they are: in front. */
const MAX_SUBMITTERS = 1024;

export class ServiceTimes {
  /** The one served last at the end. */
  readonly #lastMs = new Map<string, number>();
  #latestMs = 0;

  get lastMs(): ReadonlyMap<string, number> {
    return this.#lastMs;
  }

  /** Somebody is given a worker now; of two in the same millisecond the second is the later. */
  serve(submitter: string, nowMs: number): void {
    this.#latestMs = Math.max(nowMs, this.#latestMs + 1);
    this.#set(submitter, this.#latestMs);
  }

  /** Somebody was given a worker then, as a job's document says. */
  learn(submitter: string, atMs: number): void {
    if (atMs > (this.#lastMs.get(submitter) ?? 0)) this.#set(submitter, atMs);
  }

  #set(submitter: string, atMs: number): void {
    this.#lastMs.delete(submitter);
    this.#lastMs.set(submitter, atMs);
    for (const first of this.#lastMs.keys()) {
      if (this.#lastMs.size <= MAX_SUBMITTERS) break;
      this.#lastMs.delete(first);
    }
  }
}
