// Models side by side on a screen.
//
//                 3fa94c01          99e1d0aa
//   config
//     lr          0.1               0.01
//   metrics (* is the better one)
//     val_loss    0.02100 *         0.03100
//   curves
//     val_loss, epoch 1–20
//       3fa94c01  ▇▅▃▂▁  0.9000 → 0.02100
import type { MetricCurve } from "@waybill/sdk/client";
import type { ComparedMetric, ComparedValue, Comparison } from "@waybill/sdk/registry";
import { formatValue } from "./format.ts";
import { clipText } from "./columns.ts";
import { frameOf, sparkline } from "./sparkline.ts";

export type ComparedCurve = {
  readonly key: string;
  readonly axis: MetricCurve["axis"];
  readonly series: Readonly<Record<string, MetricCurve["points"]>>;
};

export type CompareViewOptions = {
  readonly width: number;
  /** Also what is equal. */
  readonly all: boolean;
  /** Names of each model, for the head. */
  readonly names: Readonly<Record<string, string>>;
};

const GAP = 2;
const INDENT = 2;
/** Below this a column cannot hold a digest's beginning or a number. */
const MIN_COLUMN = 12;

/** Curves that at least one model has, on one axis each: where models count differently, by lines. */
export function comparedCurves(
  models: readonly string[],
  curves: readonly ReadonlyMap<string, MetricCurve>[],
): ComparedCurve[] {
  const keys = new Set(curves.flatMap((one) => [...one.keys()]));
  return [...keys].map((key) => {
    const had = models.flatMap((id, i) => {
      const curve = curves[i]?.get(key);
      return curve === undefined ? [] : [{ id, curve }];
    });
    const axes = new Set(had.map(({ curve }) => curve.axis));
    const [axis = "line"] = axes.size === 1 ? axes : [];
    const series = had.map(({ id, curve }) => [
      id,
      axes.size === 1 ? curve.points : curve.points.map(([, y], n) => [n + 1, y] as const),
    ]);
    return { key, axis, series: Object.fromEntries(series) as ComparedCurve["series"] };
  });
}

/** Lines of at most `width` characters. */
export function compareLines(
  comparison: Comparison,
  curves: readonly ComparedCurve[],
  { width, all, names }: CompareViewOptions,
): string[] {
  const { models } = comparison;
  const shown = <V extends ComparedValue>(values: readonly V[]) =>
    values.filter(({ differs }) => all || differs);
  const facts = shown(comparison.facts);
  const config = shown(comparison.config);
  const keys = [...facts, ...config, ...comparison.metrics].map(({ key }) => key.length);
  const grid = gridOf(models, Math.max(0, ...keys), width);
  const row = (value: ComparedValue, best: readonly string[] = []) =>
    grid.row(
      value.key,
      models.map((id) => `${cellText(value, id)}${best.includes(id) ? " *" : ""}`),
    );
  const titled = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : ["", title, ...lines];
  const isMarked = comparison.metrics.some(({ best }) => best.length > 0);
  return [
    ...grid.head(models.map((id) => names[id] ?? "")),
    ...facts.flatMap((value) => row(value)),
    ...(config.length === 0
      ? ["", "config: no difference"]
      : titled(
          "config",
          config.flatMap((value) => row(value)),
        )),
    ...titled(
      isMarked ? "metrics (* the better one)" : "metrics",
      comparison.metrics.flatMap((value: ComparedMetric) => row(value, value.best)),
    ),
    ...titled(
      "curves",
      curves.flatMap((curve) => curveLines(curve, models, width)),
    ),
  ];
}

type Grid = {
  head(names: readonly string[]): string[];
  row(key: string, cells: readonly string[]): string[];
};

/** Columns, or one value below the other when there is no room for columns. */
function gridOf(models: readonly string[], longestKey: number, width: number): Grid {
  const key = INDENT + Math.min(longestKey, 28) + GAP;
  const column = Math.floor((width - key) / models.length);
  if (column >= MIN_COLUMN) return columnGrid(models, { key, column });
  const label = Math.max(...models.map((id) => id.length)) + GAP;
  return {
    head: (names) => models.map((id, i) => clipText(`${id.padEnd(label)}${names[i] ?? ""}`, width)),
    row: (name, cells) => [
      clipText(`  ${name}`, width),
      ...models.map((id, i) => clipText(`    ${id.padEnd(label)}${cells[i] ?? ""}`, width)),
    ],
  };
}

function columnGrid(
  models: readonly string[],
  { key, column }: { readonly key: number; readonly column: number },
): Grid {
  const joined = (name: string, cells: readonly string[]) =>
    `${name.padEnd(key)}${cells.map((cell) => cell.padEnd(column)).join("")}`.trimEnd();
  const row = (name: string, cells: readonly string[]) => {
    const broken = cells.map((cell) => pieces(cell, column - GAP));
    const height = Math.max(...broken.map(({ length }) => length));
    const lines = Array.from({ length: height }, (_, at) =>
      joined(
        at === 0 ? name : "",
        broken.map((cell) => cell[at] ?? ""),
      ),
    );
    // A key that is longer than its column has a line of its own.
    return name.length + GAP <= key
      ? lines
      : [
          name,
          joined(
            "",
            broken.map(([cell = ""]) => cell),
          ),
        ];
  };
  return {
    head: (names) => [joined("", models), ...row("", names).filter((line) => line !== "")],
    row: (name, cells) => row(`  ${name}`, cells),
  };
}

function pieces(text: string, width: number): string[] {
  const characters = Array.from(text);
  const count = Math.max(1, Math.ceil(characters.length / width));
  return Array.from({ length: count }, (_, i) =>
    characters.slice(i * width, (i + 1) * width).join(""),
  );
}

function cellText({ key, values }: ComparedValue, id: string): string {
  if (!Object.hasOwn(values, id)) return "–";
  const value = values[id];
  // Enough of a digest to tell it from another.
  if (typeof value === "string" && /^[0-9a-f]{64}$/.test(value)) return value.slice(0, 12);
  if (key === "trained_at" && typeof value === "string")
    return value.slice(0, 16).replace("T", " ");
  return typeof value === "number" && Number.isInteger(value) ? String(value) : formatValue(value);
}

function curveLines(
  { key, axis, series }: ComparedCurve,
  models: readonly string[],
  width: number,
): string[] {
  const label = Math.max(...models.map((id) => id.length)) + GAP;
  const ends = 24;
  const frame = frameOf(Object.values(series), Math.max(8, width - 4 - label - ends));
  if (frame === undefined) return [];
  const range = frame.from === frame.to ? `${frame.from}` : `${frame.from}–${frame.to}`;
  return [
    clipText(`  ${key}, ${axis} ${range}`, width),
    ...models.flatMap((id) => {
      const points = series[id];
      const [first, last] = [points?.[0], points?.at(-1)];
      if (points === undefined || first === undefined || last === undefined) return [];
      const line = sparkline(points, frame).padEnd(frame.columns);
      return [`    ${id.padEnd(label)}${line}  ${formatValue(first[1])} → ${formatValue(last[1])}`];
    }),
  ];
}
