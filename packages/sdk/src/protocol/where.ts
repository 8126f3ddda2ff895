// Conditions on workers, such as `gpu.memoryMb >= 24000` or `labels.site == lab` (docs/protocol/events.md §6): read,
// checked against what a worker says of itself, and explained when they do not hold. Pure.
//
//   condition := field operator value        field := one of FIELDS, or labels.NAME
import type { Gpu, WorkerCapabilities, WorkerKind } from "./workers.ts";

type FieldKind = "text" | "number" | "bytes" | "set";
type Operator = "==" | "!=" | ">=" | "<=" | ">" | "<" | "~" | "has";

/** What conditions look at. */
export type Matchable = {
  readonly capabilities: WorkerCapabilities;
  readonly cached?: readonly string[] | undefined;
};

export type Condition = {
  /** As it was written. */
  readonly text: string;
  readonly field: string;
  readonly operator: Operator;
  readonly value: string | number;
};

/** `at`: the character, from 1, that the reading stopped at. */
export type WhereProblem = { readonly at: number; readonly message: string };

const FIELDS: Readonly<Record<string, FieldKind>> = {
  kind: "text",
  platform: "text",
  arch: "text",
  cpus: "number",
  memoryBytes: "bytes",
  slots: "number",
  gpus: "number",
  "gpu.memoryMb": "number",
  "gpu.name": "text",
  trainers: "set",
  labels: "set",
  cached: "set",
};

/** Longer ones first: `>=` is not `>`. */
const OPERATORS: readonly Operator[] = ["==", "!=", ">=", "<=", ">", "<", "~", "has"];

const ALLOWED: Readonly<Record<FieldKind, readonly Operator[]>> = {
  text: ["==", "!=", "~"],
  number: ["==", "!=", ">=", "<=", ">", "<"],
  bytes: ["==", "!=", ">=", "<=", ">", "<"],
  set: ["has"],
};

/** SI units count in thousands, binary ones and single letters in 1024. */
const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
};

/** What would join two conditions, were there such a thing. */
const JOINT = /&&|\|\||\s(?:and|or)\s/i;

/** Values there are, of fields that have no others. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  kind: ["desktop", "ephemeral", "shared"] satisfies WorkerKind[],
};

/** Reads one condition. */
export function parseCondition(text: string): Condition | WhereProblem {
  const start = text.length - text.trimStart().length;
  const [field = ""] = /^[A-Za-z][A-Za-z0-9_.-]*/.exec(text.slice(start)) ?? [];
  const kind = kindOf(field);
  if (kind === undefined) return { at: start + 1, message: unknownField(field) };
  const afterField = start + field.length;
  const rest = text.slice(afterField);
  const operatorAt = afterField + rest.length - rest.trimStart().length;
  const operator = operatorIn(text.slice(operatorAt));
  const allowed = ALLOWED[kind];
  if (operator === undefined || !allowed.includes(operator)) {
    return { at: operatorAt + 1, message: `${field} is compared with ${allowed.join(", ")}` };
  }
  const afterOperator = operatorAt + operator.length;
  const given = text.slice(afterOperator);
  const valueAt = afterOperator + given.length - given.trimStart().length;
  const written = given.trim();
  const joint = isQuoted(written) ? undefined : JOINT.exec(written);
  if (joint !== null && joint !== undefined) {
    return { at: valueAt + 1 + joint.index, message: "one condition each; repeat --where" };
  }
  const value = checked(field, operator, valueOf(unquoted(written), kind));
  if (typeof value === "object") return { at: valueAt + 1, message: value.message };
  return { text: text.trim(), field, operator, value };
}

/** What is wrong with a condition, for people; `undefined` when nothing is. */
export function conditionProblem(text: string): string | undefined {
  const read = parseCondition(text);
  return "message" in read ? `${text}: ${read.message} (at character ${read.at})` : undefined;
}

/** Why a worker does not fit, as in "desk …"; `undefined` when every condition holds. */
export function unmetCondition(
  worker: Matchable,
  conditions: readonly Condition[],
): string | undefined {
  const ofGpu = conditions.filter(isOfGpu);
  for (const condition of conditions) {
    if (isOfGpu(condition)) continue;
    const actual = actualOf(worker, condition.field);
    if (!holds(actual, condition)) {
      return `does not meet ${condition.text}${described(actual)}`;
    }
  }
  const { gpus } = worker.capabilities;
  // All conditions on `gpu.…` mean one and the same GPU.
  const fits = (gpu: Gpu) => ofGpu.every((one) => holds(ofOneGpu(gpu, one.field), one));
  if (ofGpu.length === 0 || gpus.some(fits)) return undefined;
  const wanted = ofGpu.map(({ text }) => text).join(" and ");
  const has = gpus.map(({ name, memoryMb }) => `${name} with ${memoryMb} MB`).join(", ");
  return `has no GPU that meets ${wanted} (${has === "" ? "it has none" : `it has ${has}`})`;
}

const known = new WeakMap<readonly string[], readonly Condition[]>();

/** The conditions of a job's `where`, which was checked when it was submitted; what cannot be read holds for nobody. */
export function conditionsOf(where: readonly string[]): readonly Condition[] {
  const before = known.get(where);
  if (before !== undefined) return before;
  const conditions = where.map((text): Condition => {
    const read = parseCondition(text);
    return "message" in read ? { text, field: "kind", operator: "==", value: "" } : read;
  });
  known.set(where, conditions);
  return conditions;
}

type Actual = string | number | readonly string[] | undefined;

function actualOf({ capabilities, cached = [] }: Matchable, field: string): Actual {
  switch (field) {
    case "gpus":
      return capabilities.gpus.length;
    case "labels":
      return Object.keys(capabilities.labels);
    case "cached":
      return cached;
    case "kind":
    case "platform":
    case "arch":
    case "cpus":
    case "memoryBytes":
    case "slots":
    case "trainers":
      return capabilities[field];
    default: {
      const label = field.slice("labels.".length);
      return Object.hasOwn(capabilities.labels, label) ? capabilities.labels[label] : undefined;
    }
  }
}

function ofOneGpu(gpu: Gpu, field: string): Actual {
  return field === "gpu.name" ? gpu.name : gpu.memoryMb;
}

function holds(actual: Actual, { operator, value }: Condition): boolean {
  switch (operator) {
    case "has":
      return Array.isArray(actual) && actual.includes(String(value));
    case "~":
      return (
        typeof actual === "string" && actual.toLowerCase().includes(String(value).toLowerCase())
      );
    case "==":
      return actual === value;
    case "!=":
      return actual !== value;
    case ">=":
      return Number(actual) >= Number(value);
    case "<=":
      return Number(actual) <= Number(value);
    case ">":
      return Number(actual) > Number(value);
    default:
      return Number(actual) < Number(value);
  }
}

function isOfGpu({ field }: Condition): boolean {
  return field.startsWith("gpu.");
}

function kindOf(field: string): FieldKind | undefined {
  if (Object.hasOwn(FIELDS, field)) return FIELDS[field];
  return /^labels\.[A-Za-z0-9_.-]+$/.test(field) ? "text" : undefined;
}

function unknownField(field: string): string {
  const all = [...Object.keys(FIELDS), "labels.NAME"].join(", ");
  return `${field === "" ? "a field is missing" : `no field ${field}`}; there are ${all}`;
}

/** `has` ends where a word does. */
function operatorIn(text: string): Operator | undefined {
  return OPERATORS.find((one) =>
    one === "has" ? /^has(?:\s|"|$)/.test(text) : text.startsWith(one),
  );
}

function valueOf(text: string, kind: FieldKind): string | number | { readonly message: string } {
  if (text === "") return { message: "a value is missing" };
  if (kind === "text" || kind === "set") return text;
  const [, digits = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text) ?? [];
  const factor = kind === "bytes" ? UNITS[unit.toLowerCase()] : unit === "" ? 1 : undefined;
  if (digits === "" || factor === undefined) {
    const example = kind === "bytes" ? "a size such as 16GB or 16GiB" : "a number";
    return { message: `${text} is not ${example}` };
  }
  return Number(digits) * factor;
}

/** The value, unless the field can never be it. */
function checked(
  field: string,
  operator: Operator,
  value: ReturnType<typeof valueOf>,
): ReturnType<typeof valueOf> {
  const values = Object.hasOwn(VALUES, field) ? VALUES[field] : undefined;
  if (operator === "~" || typeof value !== "string" || values?.includes(value) !== false) {
    return value;
  }
  return { message: `${field} is ${values.join(", ")}, never ${value}` };
}

function isQuoted(text: string): boolean {
  return /^".*"$/.test(text);
}

function unquoted(text: string): string {
  return /^"(.*)"$/.exec(text)?.[1] ?? text;
}

function described(actual: Actual): string {
  if (actual === undefined) return " (it has no such label)";
  if (typeof actual === "object") {
    return actual.length === 0 || actual.length > 8 ? "" : ` (it has ${actual.join(", ")})`;
  }
  return ` (it has ${actual})`;
}
