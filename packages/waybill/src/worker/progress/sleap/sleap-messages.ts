// What SLEAP and sleap-nn publish while they train (their `ProgressReporterZMQ`), as events. Each message is a string
// of jsonpickle: {what, event, epoch?, batch?, logs?}. Keys of `logs` stay as they are.
import * as v from "valibot";
import type { NewJobEvent } from "@waybill/sdk/protocol";
import { quoteNonFinite } from "../../trainers/non-finite.ts";
import { readPickled } from "./pickled-number.ts";

const Message = v.looseObject({
  event: v.string(),
  what: v.nullish(v.string()),
  epoch: v.nullish(v.number()),
  batch: v.nullish(v.number()),
  logs: v.nullish(v.record(v.string(), v.unknown())),
});
type Message = v.InferOutput<typeof Message>;

/** Ends of batches are told this often at most, the newest one: hundreds a second end on a GPU. */
const BATCH_MS = 250;

export class SleapMessages {
  readonly #now: () => number;
  #epoch: number | undefined;
  #batchMs = Number.NEGATIVE_INFINITY;
  #held: NewJobEvent | undefined;

  /** `now` in milliseconds, of a clock that never goes back. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Events a message comes to; undefined when it is none of SLEAP's. */
  read(text: string): NewJobEvent[] | undefined {
    const message = parse(text);
    if (message === undefined) return undefined;
    switch (message.event) {
      case "train_begin":
        this.#epoch = undefined;
        return [say(message, "begins")];
      case "epoch_begin":
        this.#epoch = message.epoch ?? undefined;
        return [];
      case "batch_end":
        return this.#batch(metric(message, this.#epoch));
      case "epoch_end":
        return [...this.end(), ...metric(message, this.#epoch)];
      case "train_end":
        return [...this.end(), say(message, "ends")];
      default:
        return [];
    }
  }

  /** The newest batch, when it has not been told. */
  end(): NewJobEvent[] {
    const held = this.#held === undefined ? [] : [this.#held];
    this.#held = undefined;
    return held;
  }

  #batch([event]: readonly NewJobEvent[]): NewJobEvent[] {
    if (event === undefined) return [];
    this.#held = event;
    if (this.#now() - this.#batchMs < BATCH_MS) return [];
    this.#batchMs = this.#now();
    return this.end();
  }
}

function parse(text: string): Message | undefined {
  try {
    const parsed = v.safeParse(Message, readPickled(JSON.parse(quoteNonFinite(text))));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

/** Nothing without a number among what it logs: a batch of SLEAP's may have none. */
function metric(message: Message, epoch: number | undefined): NewJobEvent[] {
  const { what, batch, logs } = message;
  const values = Object.entries(logs ?? {}).filter(([, value]) => isScalar(value));
  if (values.length === 0) return [];
  const at = message.epoch ?? epoch;
  const data = {
    ...(isNamed(what) ? { what } : {}),
    ...(at === undefined ? {} : { epoch: at }),
    ...(typeof batch === "number" ? { batch } : {}),
    ...Object.fromEntries(values),
  };
  return [{ type: "metric", data, source: "sleap" }];
}

function say({ what }: Message, does: "begins" | "ends"): NewJobEvent {
  const line = `SLEAP: training${isNamed(what) ? ` of ${what.slice(0, 200)}` : ""} ${does}`;
  return { type: "log", stream: "waybill", line };
}

/** A job may train several models one after the other; SLEAP says which. */
function isNamed(what: string | null | undefined): what is string {
  return typeof what === "string" && what !== "" && what !== "not_set";
}

function isScalar(value: unknown): boolean {
  return (
    typeof value === "number" || value === "NaN" || value === "Infinity" || value === "-Infinity"
  );
}
