// What a condition on metrics says of a model (docs/protocol/registry.md, Conditions), with the reason. Pure.
import type { MetricCondition, MetricOperator, OfCurrent } from "./metric-condition.ts";

/** A model's metrics as stored: by name, nested or not, numbers or whatever a trainer printed. */
export type MetricValues = Readonly<Record<string, unknown>>;

export type Judgement = {
  readonly holds: boolean;
  readonly candidate?: number;
  readonly current?: number;
  /** Why it holds or does not, as in "val_loss is 0.031, not < 0.021". */
  readonly reason: string;
};

/** A metric's value: the member of that name, or, part by part at its dots, one in nested records. Undefined unless a finite number. */
export function metricOf(metrics: MetricValues, name: string): number | undefined {
  const value = memberOf(metrics, name);
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/**
 * Whether a condition holds for a model. Comparisons with `current` hold when there is no current model or it lacks the
 * metric; nothing holds for a candidate that lacks it.
 */
export function judgeMetric(
  condition: MetricCondition,
  candidate: MetricValues,
  current?: MetricValues,
): Judgement {
  const { metric, operator, value } = condition;
  const own = metricOf(candidate, metric);
  const now = current === undefined ? undefined : metricOf(current, metric);
  const known = {
    ...(own === undefined ? {} : { candidate: own }),
    ...(typeof value === "number" || now === undefined ? {} : { current: now }),
  };
  if (own === undefined) {
    return { holds: false, ...known, reason: `the model has ${lack(candidate, metric)}` };
  }
  if (typeof value === "object" && now === undefined) {
    const lacking =
      current === undefined
        ? "there is no current model"
        : `the current model has ${lack(current, metric)}`;
    return { holds: true, ...known, reason: `${lacking}; ${metric} is ${own}` };
  }
  const limit = typeof value === "number" ? value : limitOf(value, now ?? Number.NaN);
  const holds = compare(own, operator, limit);
  const reason = `${metric} is ${own}, ${holds ? "" : "not "}${operator} ${limit}`;
  return { holds, ...known, reason };
}

function limitOf({ operator, by }: OfCurrent, now: number): number {
  if (operator === "*") return now * by;
  return operator === "+" ? now + by : now - by;
}

function compare(a: number, operator: MetricOperator, b: number): boolean {
  switch (operator) {
    case "<":
      return a < b;
    case "<=":
      return a <= b;
    case ">":
      return a > b;
    case ">=":
      return a >= b;
    case "==":
      return a === b;
    case "!=":
      return a !== b;
  }
}

/** Enough of a value to recognise it. */
const SHOWN = 40;

/** What a model has instead of a usable value. */
function lack(metrics: MetricValues, name: string): string {
  const value = memberOf(metrics, name);
  if (value === undefined) return `no metric ${name}`;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return `no number as ${name} (${text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text})`;
}

function memberOf(node: unknown, name: string): unknown {
  if (typeof node !== "object" || node === null || Array.isArray(node)) return undefined;
  const members = new Map<string, unknown>(Object.entries(node));
  if (members.has(name)) return members.get(name);
  for (let at = name.lastIndexOf("."); at > 0; at = name.lastIndexOf(".", at - 1)) {
    const inner = memberOf(members.get(name.slice(0, at)), name.slice(at + 1));
    if (inner !== undefined) return inner;
  }
  return undefined;
}
