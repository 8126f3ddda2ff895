// A trainer's stdout and stderr as events: messages are told from log, progress bars are thinned, floods go in
// slices. What it reads waits for room in the log; the trainer never waits, its files grow.
import { LIMITS, type NewJobEvent, parseTrainerLine } from "@waybill/sdk/protocol";
import { fitsEvent } from "../events/encode.ts";
import type { EventLog } from "../events/event-log.ts";
import { FileTail } from "./file-tail.ts";
import { LoggedOutput } from "./logged-output.ts";
import { LineSplitter, type OutputLine } from "./line-splitter.ts";
import { quoteNonFinite } from "./non-finite.ts";
import type { Results } from "./results.ts";

export type OutputReaderInit = {
  readonly stdout: string;
  readonly stderr: string;
  readonly log: EventLog;
  readonly results: Results;
  readonly pollMs: number;
  readonly onSample: (file: string, data: Readonly<Record<string, unknown>>) => void;
  readonly listener: OutputListener;
  readonly signal: AbortSignal;
  /** The trainer is a former daemon's: what the log has of it is counted, but not logged again. */
  readonly again?: boolean;
};

/** Told of what a trainer answers, when a line is logged for the first time and before it is. */
export type OutputListener = {
  onAdjusted(values: Readonly<Record<string, unknown>>, id: string | undefined): void;
  onCheckpoint(path: string | undefined, data: Readonly<Record<string, unknown>>): void;
};

/** What a line becomes, and what else it means when it is new. */
type Read = { readonly event: NewJobEvent | undefined; readonly act?: () => void };

/** Raw bytes of a line that are kept; its event adds its envelope. */
const LINE_BYTES = LIMITS.eventBytes - 1024;
/** Lines appended between two looks at the log's room. */
const SLICE = 256;
/** A progress bar's states are shown this often at most; the last one always is. */
const TRANSIENT_MS = 250;
/** Lines of stderr that explain a failure. */
const STDERR_LINES = 5;

export class OutputReader {
  readonly #init: OutputReaderInit;
  readonly #streams: readonly Stream[];
  readonly #lastErrors: string[] = [];
  #logged: Readonly<Record<"stdout" | "stderr", LoggedOutput>> | undefined;

  constructor(init: OutputReaderInit) {
    this.#init = init;
    this.#streams = [
      new Stream(init.stdout, init, (lines) => this.#append("stdout", lines)),
      new Stream(init.stderr, init, (lines) => this.#append("stderr", lines)),
    ];
  }

  async start(): Promise<void> {
    const { log, again } = this.#init;
    if (again === true) {
      const stdout = await LoggedOutput.open(log, "stdout");
      this.#logged = { stdout, stderr: await LoggedOutput.open(log, "stderr") };
    }
    await Promise.all(this.#streams.map((stream) => stream.start()));
  }

  /** Reads what the ended trainer left, unfinished last lines included. */
  async finish(): Promise<void> {
    await Promise.all(this.#streams.map((stream) => stream.finish()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#streams.map((stream) => stream.stop()));
  }

  /** The end of what it said on stderr, one line. */
  get lastErrors(): string {
    return this.#lastErrors.join(" | ");
  }

  async #append(stream: "stdout" | "stderr", lines: readonly OutputLine[]): Promise<void> {
    const { log, signal } = this.#init;
    for (let first = 0; first < lines.length; first += SLICE) {
      if (!log.hasRoom) await log.waitForRoom(signal);
      signal.throwIfAborted();
      const slice = lines.slice(first, first + SLICE);
      const logged = this.#logged?.[stream];
      if (logged === undefined || logged.over) {
        log.appendAll(slice.flatMap((line) => taken(this.#read(stream, line))));
      } else {
        for (const line of slice) log.appendAll(await this.#unlogged(stream, line, logged));
      }
    }
  }

  async #unlogged(
    stream: "stdout" | "stderr",
    line: OutputLine,
    logged: LoggedOutput,
  ): Promise<NewJobEvent[]> {
    const read = this.#read(stream, line);
    // Without an event of its own a line is known by those around it.
    const known =
      read.event === undefined ? !logged.over : await logged.has(read.event, line.transient);
    return known ? [] : taken(read);
  }

  #read(stream: "stdout" | "stderr", line: OutputLine): Read {
    const event: NewJobEvent = {
      type: "log",
      stream,
      line: line.text,
      ...(line.cut ? { cut: true as const } : {}),
    };
    if (stream === "stderr") {
      if (line.text.trim() !== "" && !line.transient) {
        this.#lastErrors.push(line.text.trim().slice(0, 400));
        if (this.#lastErrors.length > STDERR_LINES) this.#lastErrors.shift();
      }
      return { event };
    }
    return line.cut ? { event } : this.#message(line.text, event);
  }

  #message(text: string, asLog: NewJobEvent): Read {
    const { listener, results, onSample } = this.#init;
    const message = parseTrainerLine(quoteNonFinite(text));
    switch (message.kind) {
      case "metric": {
        const event: NewJobEvent = { type: "metric", data: message.data };
        if (!fitsEvent(event)) return { event: asLog };
        results.metric(message.data);
        return { event };
      }
      case "checkpoint": {
        const event: NewJobEvent = { type: "checkpoint", data: message.data };
        const act = () => listener.onCheckpoint(message.path, message.data);
        return { event: fitsEvent(event) ? event : asLog, act };
      }
      case "adjusted":
        // Shown as it was printed, too: also when nobody waits for it any more.
        return { event: asLog, act: () => listener.onAdjusted(message.data, message.id) };
      case "result":
        // The event follows when the trainer has ended: only then is it true.
        results.result(message.data);
        return { event: undefined };
      case "predictions":
        results.predictions(message.rows);
        return { event: undefined };
      case "sample":
        return { event: undefined, act: () => onSample(message.file, message.data) };
      default:
        return { event: asLog };
    }
  }
}

function taken({ event, act }: Read): NewJobEvent[] {
  act?.();
  return event === undefined ? [] : [event];
}

/** One of the two files: tail, splitter and the thinning of progress bars. */
class Stream {
  readonly #tail: FileTail;
  readonly #splitter = new LineSplitter(LINE_BYTES);
  readonly #append: (lines: readonly OutputLine[]) => Promise<void>;
  #held: OutputLine | undefined;
  #shownMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #order: Promise<void> = Promise.resolve();

  constructor(
    path: string,
    init: OutputReaderInit,
    append: (lines: readonly OutputLine[]) => Promise<void>,
  ) {
    this.#append = append;
    this.#tail = new FileTail({
      path,
      pollMs: init.pollMs,
      onChunk: (chunk) => this.#take(this.#splitter.push(chunk)),
    });
  }

  async start(): Promise<void> {
    await this.#tail.start();
  }

  async finish(): Promise<void> {
    await this.#tail.drain();
    clearTimeout(this.#timer);
    const last = this.#splitter.end();
    const held = this.#held === undefined ? [] : [this.#held];
    this.#held = undefined;
    await this.#put([...held, ...last]);
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#tail.stop();
  }

  async #take(lines: readonly OutputLine[]): Promise<void> {
    if (lines.length === 0) return;
    const shown: OutputLine[] = [];
    for (const line of lines) {
      // Any newer line replaces the held state of a progress bar, as it does on a terminal.
      this.#held = undefined;
      if (!line.transient) shown.push(line);
      else if (performance.now() - this.#shownMs >= TRANSIENT_MS) {
        this.#shownMs = performance.now();
        shown.push(line);
      } else this.#held = line;
    }
    if (this.#held !== undefined) this.#timer ??= setTimeout(() => this.#showHeld(), TRANSIENT_MS);
    await this.#put(shown);
  }

  #showHeld(): void {
    this.#timer = undefined;
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.#shownMs = performance.now();
    // A failure shows again at the next chunk.
    this.#put([held]).catch(() => undefined);
  }

  /** Appends in order, also when the timer comes in between. */
  #put(lines: readonly OutputLine[]): Promise<void> {
    const done = this.#order.then(() => this.#append(lines));
    this.#order = done.catch(() => undefined);
    return done;
  }
}
