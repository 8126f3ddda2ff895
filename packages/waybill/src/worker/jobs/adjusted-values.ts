// What a job's trainers have confirmed of every `adjust`: it outlives the daemon, the hub is told of it, and the trainer of a
// later attempt begins with it (trainer.md §8).
import * as v from "valibot";
import {
  Adjusted,
  type Adjustment,
  MAX_ADJUSTED,
  MAX_ADJUSTMENT,
  type TrainerRequest,
} from "@waybill/sdk/protocol";
import { lineOf, LINE_BYTES } from "../trainers/trainer-input.ts";

/** Id of the lines that tell a trainer what was adjusted before it began. */
const CARRIED_ID = "adjusted";

export type CarriedLine = Extract<TrainerRequest, { type: "adjust" }>;

/** What is known with a trainer's answer: of what it says, that which can be asked for; the same object when nothing is new. */
export function withConfirmed(
  known: Adjusted | undefined,
  values: Readonly<Record<string, unknown>>,
): Adjusted | undefined {
  const all = new Map(Object.entries(known ?? {}));
  let isNew = false;
  for (const [key, value] of Object.entries(values)) {
    const one = v.safeParse(Adjusted, { [key]: value });
    const scalar = one.success ? one.output[key] : undefined;
    if (scalar === undefined || (all.has(key) && all.get(key) === scalar)) continue;
    // Behind the others: the newest are kept when there are too many.
    all.delete(key);
    all.set(key, scalar);
    isNew = true;
  }
  return isNew ? Object.fromEntries([...all].slice(-MAX_ADJUSTED)) : known;
}

/** A configuration with adjusted values in the place of its own. A key it does not have may be one its program refuses. */
export function configWith(
  config: Readonly<Record<string, unknown>>,
  adjusted: Adjusted = {},
): Record<string, unknown> {
  const own = Object.entries(adjusted).filter(([key]) => Object.hasOwn(config, key));
  return { ...config, ...Object.fromEntries(own) };
}

/** The lines that tell a trainer, as many as they need. */
export function carriedLines(adjusted: Adjusted): CarriedLine[] {
  const lines: CarriedLine[] = [];
  for (const [key, value] of Object.entries(adjusted)) {
    const last = lines.at(-1);
    const longer = requestOf({ ...last?.values, [key]: value });
    const fits =
      Object.keys(longer.values).length <= MAX_ADJUSTMENT && lineOf(longer).length <= LINE_BYTES;
    if (last !== undefined && fits) lines[lines.length - 1] = longer;
    else lines.push(requestOf({ [key]: value }));
  }
  return lines;
}

function requestOf(values: Adjustment): CarriedLine {
  return { type: "adjust", id: CARRIED_ID, values };
}

/** Tells answers to carried values, which nobody waits for, from those that somebody does. */
export class CarriedAnswers {
  #open: Adjustment[] = [];

  /** The trainer is being told; returns who withdraws that. */
  expect(values: Adjustment): () => void {
    this.#open.push(values);
    return () => {
      this.#open = this.#open.filter((one) => one !== values);
    };
  }

  /** Whether this answers what was carried; without an id it does when it says nothing else. */
  take(values: Readonly<Record<string, unknown>>, id: string | undefined): boolean {
    const [first] = this.#open;
    if (first === undefined) return false;
    const same = Object.entries(values).every(([key, value]) => first[key] === value);
    if (id === undefined ? !same : id !== CARRIED_ID) return false;
    this.#open.shift();
    return true;
  }
}
