// What of a trainer's output a job's log has already. A daemon that died may have read lines it never logged;
// the next one reads the output file from its beginning and goes along the log to find where that ends.
import { isDeepStrictEqual } from "node:util";
import type { JobEvent, NewJobEvent } from "@waybill/sdk/protocol";
import { fitEvent } from "../events/encode.ts";
import type { EventLog } from "../events/event-log.ts";

const PAGE_EVENTS = 1024;

/** One stream's events in a log, taken one after the other. */
export class LoggedOutput {
  readonly #log: EventLog;
  readonly #stream: "stdout" | "stderr";
  /** Last event of the former daemon: what is appended meanwhile was not there. */
  readonly #lastSeq: number;
  #page: JobEvent[] = [];
  #at = 0;
  #readSeq: number;
  #next: JobEvent | undefined;

  private constructor(log: EventLog, stream: "stdout" | "stderr") {
    this.#log = log;
    this.#stream = stream;
    this.#lastSeq = log.lastSeq;
    this.#readSeq = log.firstSeq - 1;
  }

  static async open(log: EventLog, stream: "stdout" | "stderr"): Promise<LoggedOutput> {
    const logged = new LoggedOutput(log, stream);
    await logged.#advance();
    return logged;
  }

  /** Whether every event of the stream has been met: lines from here on are new. */
  get over(): boolean {
    return this.#next === undefined;
  }

  /**
   * Whether the log has a line's event; to be asked of all lines in order. States of a progress bar among
   * what is logged count as such whether they were shown or left out. A line that is nowhere among the rest leaves
   * the place as it was: those after it are still to be found.
   */
  async has(event: NewJobEvent, transient: boolean): Promise<boolean> {
    if (transient) return !this.over;
    const wanted: unknown = JSON.parse(JSON.stringify(fitEvent(event)));
    const before = { page: this.#page, at: this.#at, readSeq: this.#readSeq, next: this.#next };
    for (let known = this.#next; known !== undefined; known = this.#next) {
      const { seq: _seq, time: _time, attempt: _attempt, ...rest } = known;
      await this.#advance();
      if (isDeepStrictEqual(rest, wanted)) return true;
    }
    this.#page = before.page;
    this.#at = before.at;
    this.#readSeq = before.readSeq;
    this.#next = before.next;
    return false;
  }

  async #advance(): Promise<void> {
    for (;;) {
      while (this.#at < this.#page.length) {
        const event = this.#page[this.#at++];
        if (event === undefined || event.seq > this.#lastSeq) break;
        if (streamOf(event) !== this.#stream) continue;
        this.#next = event;
        return;
      }
      this.#page = await this.#log.read(this.#readSeq, PAGE_EVENTS);
      this.#at = 0;
      this.#readSeq += this.#page.length;
      const first = this.#page[0];
      if (first === undefined || first.seq > this.#lastSeq) {
        this.#next = undefined;
        return;
      }
    }
  }
}

function streamOf(event: JobEvent): string | undefined {
  if (event.type === "log") return event.stream;
  // Metrics of adapters were on no stream.
  if (event.type === "metric") return event.source === undefined ? "stdout" : undefined;
  // With an artifact it is the worker's own word about one that is safe.
  return event.type === "checkpoint" && event.artifact === undefined ? "stdout" : undefined;
}
