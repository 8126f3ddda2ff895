// Conditions on a model's metrics, such as `val_loss < 0.03` in a query or `val_loss < current * 0.98` as the gate of an
// alias's move (docs/protocol/registry.md, Conditions): how they are written. What they say of a model: metric-judgement.ts. Pure.
//
//   condition := name op value                          name := bare | "quoted"
//   op        := < | <= | > | >= | == | !=              value := number | current [(* | + | -) number]
import * as v from "valibot";
import { WaybillError } from "./errors.ts";

export type MetricOperator = "<" | "<=" | ">" | ">=" | "==" | "!=";

/** The same metric of the model an alias points at now, changed by a number. */
export type OfCurrent = { readonly operator: "*" | "+" | "-"; readonly by: number };

export type MetricCondition = {
  /** As it was written. */
  readonly text: string;
  readonly metric: string;
  readonly operator: MetricOperator;
  readonly value: number | OfCurrent;
};

/** Room for a line of conditions; longer texts are mistakes. */
const MAX_TEXT = 512;
/** As many as such a line holds in sensible use. */
const MAX_CONDITIONS = 32;
/** Longer ones first: `<=` is not `<`. */
const OPERATORS: readonly MetricOperator[] = ["<=", ">=", "==", "!=", "<", ">"];
const BARE_NAME = /[\p{L}_][\p{L}\p{N}_./@:%-]*/uy;
const QUOTED_NAME = /"([^"]+)"/y;
const NUMBER = /[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?(?![\p{L}\p{N}_.])/iuy;
const CURRENT = /current(?![\p{L}\p{N}_.])/uy;
const CHANGE = /[*+-]/y;
const OPERATOR_LIKE = /[=<>!~&|]+/y;
const WORD = /[^\s,]+/y;
const HINT = "it looks like 'val_loss < 0.03', or 'val_loss < current * 0.98' as a gate";

/** Reads one condition; `what` it is of. Throws `invalid_request` that names the character. */
export function readMetricGate(text: string, what: string): MetricCondition {
  const [only] = orThrow(() => gateOf(text), text, what);
  if (only === undefined) throw new WaybillError("internal", "a gate was read as nothing");
  return only;
}

/** Reads conditions with commas between them that compare with numbers. Throws as `readMetricGate`. */
export function readMetricFilters(text: string, what: string): readonly MetricCondition[] {
  return orThrow(() => filtersOf(text), text, what);
}

/** A text that `readMetricGate` reads. */
export const MetricGate = readable(gateOf);
/** A text that `readMetricFilters` reads. */
export const MetricFilters = readable(filtersOf);

/** Where, from 1, reading stopped, and why. */
class Unreadable extends Error {
  constructor(at: number, message: string) {
    super(`${message} (at character ${at + 1})`);
  }
}

function gateOf(text: string): readonly MetricCondition[] {
  return new Reader(text).list(1);
}

function filtersOf(text: string): readonly MetricCondition[] {
  const read = new Reader(text).list(MAX_CONDITIONS);
  const relative = read.find(({ value }) => typeof value === "object");
  if (relative === undefined) return read;
  const at = text.indexOf("current", text.indexOf(relative.text) + relative.metric.length);
  throw new Unreadable(at, "a query compares with numbers; `current` is for the gate of an alias");
}

/** Takes one token after another from a text. */
class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  list(most: number): readonly MetricCondition[] {
    if (this.#text.length > MAX_TEXT) throw new Unreadable(MAX_TEXT, "it is too long");
    const read: MetricCondition[] = [];
    do {
      if (read.length === most) {
        const told = most === 1 ? "one condition only" : `at most ${most} conditions`;
        throw new Unreadable(this.#at, told);
      }
      read.push(this.#condition());
    } while (this.#take(/,/y) !== undefined);
    if (this.#at < this.#text.length) {
      throw new Unreadable(this.#at, `${this.#word()} is too much here`);
    }
    return read;
  }

  #condition(): MetricCondition {
    this.#take(/\s*/y);
    const start = this.#at;
    const metric = this.#name();
    const operator = this.#operator();
    const value = this.#value();
    return { text: this.#text.slice(start, this.#at).trim(), metric, operator, value };
  }

  #name(): string {
    const name = this.#take(QUOTED_NAME)?.[1] ?? this.#take(BARE_NAME)?.[0];
    if (name !== undefined) return name;
    throw new Unreadable(
      this.#at,
      'a metric\'s name is missing; one with unusual characters stands in "quotes"',
    );
  }

  #operator(): MetricOperator {
    const start = this.#at;
    const written = this.#take(OPERATOR_LIKE)?.[0];
    const operator = OPERATORS.find((one) => one === written);
    if (operator !== undefined) return operator;
    const told = written === undefined ? "an operator is missing" : `${written} is no operator`;
    throw new Unreadable(start, `${told}; there are ${OPERATORS.join(", ")}`);
  }

  #value(): MetricCondition["value"] {
    if (this.#take(CURRENT) === undefined) return this.#number("a number, or `current`,");
    const change = this.#take(CHANGE)?.[0];
    if (change !== "*" && change !== "+" && change !== "-") return { operator: "+", by: 0 };
    return { operator: change, by: this.#number("a number") };
  }

  #number(wanted: string): number {
    const start = this.#at;
    const written = this.#take(NUMBER)?.[0];
    const word = this.#word();
    if (written === undefined) {
      const told =
        word === "" ? `${wanted} is missing` : `${word} is not ${wanted.replace(/,$/, "")}`;
      throw new Unreadable(start, told);
    }
    if (Number.isFinite(Number(written))) return Number(written);
    throw new Unreadable(start, `${written} is too large`);
  }

  /** What is next if it is this, with the blanks after it. */
  #take(token: RegExp): RegExpExecArray | undefined {
    token.lastIndex = this.#at;
    const match = token.exec(this.#text);
    if (match === null) return undefined;
    this.#at = token.lastIndex;
    while (/\s/.test(this.#text.charAt(this.#at))) this.#at += 1;
    return match;
  }

  #word(): string {
    WORD.lastIndex = this.#at;
    return WORD.exec(this.#text)?.[0] ?? this.#text.charAt(this.#at);
  }
}

function orThrow<T>(read: () => T, text: string, what: string): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    throw new WaybillError("invalid_request", `${what} "${text}": ${error.message}`, {
      hint: HINT,
    });
  }
}

function readable(read: (text: string) => unknown) {
  return v.pipe(
    v.string(),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      try {
        read(dataset.value);
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        addIssue({ message: error.message });
      }
    }),
  );
}
