// Which models of a room meet conditions, in what order, a page at a time (docs/protocol/registry.md, Lists). Pure: a hub
// answers `listModels` with it, and whoever holds the document can ask it as well.
import {
  type MetricCondition,
  type ModelEntry,
  type ModelRow,
  type ModelType,
  type Registry,
  type Tag,
  type Timestamp,
  judgeMetric,
  metricOf,
} from "../protocol/index.ts";
import { metricDirection } from "./metric-direction.ts";
import { matchesPattern } from "./name-pattern.ts";
import { type Place, readCursor, writeCursor } from "./query-cursor.ts";

/** What a model must be; conditions that are absent are met by all. */
export type ModelQuery = {
  readonly type?: ModelType | undefined;
  /** It has all of these. */
  readonly tags?: readonly Tag[] | undefined;
  /** All of these hold. */
  readonly metrics?: readonly MetricCondition[] | undefined;
  /** Trained then or later. */
  readonly since?: Timestamp | undefined;
  /** A pattern that one of its aliases matches, automatic ones included. */
  readonly alias?: string | undefined;
  /** `trained` (the default), `size`, `id`, a metric's name, or `metric:NAME`. */
  readonly sort?: string | undefined;
  /** By default newest, biggest, lowest id, and best value first: the greatest of metrics that sound so (accuracy), else the least. */
  readonly order?: "asc" | "desc" | undefined;
};

export type PageRequest = {
  readonly limit: number;
  /** A page ends before it would be longer than this as JSON; it has one row at least. */
  readonly maxBytes?: number;
  /** `next` of the page before; throws `invalid_request` when it is not one of this order. */
  readonly cursor?: string | undefined;
};

export type ModelPage = {
  readonly models: ModelRow[];
  /** Models that meet the conditions, on all pages. */
  readonly total: number;
  /** Absent on the last page. */
  readonly next?: string;
};

type Candidate = { readonly model: ModelEntry; readonly place: Place };
type Sorting = {
  readonly by: string;
  readonly sign: 1 | -1;
  key: (model: ModelEntry) => Place["key"];
};

/**
 * One page of the models that meet a query. Rows after a cursor are those that come after it in the order now: models that
 * come or go between two pages move no others from one page to the next.
 */
export function queryModels(registry: Registry, query: ModelQuery, page: PageRequest): ModelPage {
  const sorting = sortingOf(query);
  const names = namesOf(registry);
  const sinceMs = query.since === undefined ? -Infinity : Date.parse(query.since);
  const found = Object.values(registry.models)
    .filter((model) => meets(model, names.get(model.id) ?? [], query, sinceMs))
    .map((model) => ({ model, place: placeOf(model, sorting) }));
  const after = page.cursor === undefined ? undefined : readCursor(page.cursor, orderName(sorting));
  const left =
    after === undefined
      ? found
      : found.filter(({ place }) => comparePlaces(place, after, sorting.sign) > 0);
  const first = firstOf(left, page.limit, (a, b) => comparePlaces(a.place, b.place, sorting.sign));
  const taken = takePage(first, names, page);
  const last = first[taken.length - 1];
  return {
    models: taken,
    total: found.length,
    ...(last === undefined || taken.length === left.length
      ? {}
      : { next: writeCursor(last.place, orderName(sorting)) }),
  };
}

function meets(
  model: ModelEntry,
  names: readonly string[],
  query: ModelQuery,
  sinceMs: number,
): boolean {
  const { type, tags = [], metrics = [], alias } = query;
  if (type !== undefined && model.model_type !== type) return false;
  if (!tags.every((tag) => model.tags.includes(tag))) return false;
  if (Date.parse(model.training.trained_at) < sinceMs) return false;
  if (alias !== undefined && !names.some((name) => matchesPattern(name, alias))) return false;
  return metrics.every((condition) => judgeMetric(condition, model.training.metrics).holds);
}

/** The first `count` in order, without sorting all the others. */
function firstOf<T>(all: readonly T[], count: number, order: (a: T, b: T) => number): T[] {
  let first: T[] = [];
  /** The last of `count` that came before: what is behind it is not among the first. */
  let bound: T | undefined;
  for (const one of all) {
    if (bound !== undefined && order(one, bound) > 0) continue;
    first.push(one);
    if (first.length < 2 * count) continue;
    first = first.sort(order).slice(0, count);
    bound = first.at(-1);
  }
  return first.sort(order).slice(0, count);
}

function takePage(
  first: readonly Candidate[],
  names: ReadonlyMap<string, string[]>,
  { maxBytes = Infinity }: PageRequest,
): ModelRow[] {
  const rows: ModelRow[] = [];
  let bytes = 0;
  for (const { model } of first) {
    const row = { model, aliases: (names.get(model.id) ?? []).sort() };
    if (maxBytes !== Infinity) bytes += JSON.stringify(row).length;
    if (rows.length > 0 && bytes > maxBytes) break;
    rows.push(row);
  }
  return rows;
}

/** Aliases by model. */
function namesOf({ aliases }: Registry): ReadonlyMap<string, string[]> {
  const names = new Map<string, string[]>();
  for (const [name, id] of Object.entries(aliases)) {
    const own = names.get(id);
    if (own === undefined) names.set(id, [name]);
    else own.push(name);
  }
  return names;
}

function sortingOf({ sort = "trained", order }: ModelQuery): Sorting {
  const signOr = (usual: 1 | -1) => (order === undefined ? usual : order === "asc" ? 1 : -1);
  switch (sort) {
    case "trained":
      return { by: sort, sign: signOr(-1), key: (model) => Date.parse(model.training.trained_at) };
    case "size":
      return { by: sort, sign: signOr(-1), key: (model) => model.storage.size_bytes };
    case "id":
      return { by: sort, sign: signOr(1), key: (model) => model.id };
    default: {
      const metric = sort.startsWith("metric:") ? sort.slice("metric:".length) : sort;
      return {
        by: `metric:${metric}`,
        sign: signOr(metricDirection(metric) === "higher" ? -1 : 1),
        key: (model) => metricOf(model.training.metrics, metric) ?? null,
      };
    }
  }
}

function orderName({ by, sign }: Sorting): string {
  return `${sign === 1 ? "asc" : "desc"} ${by}`;
}

function placeOf(model: ModelEntry, { key }: Sorting): Place {
  return { key: key(model), trainedMs: Date.parse(model.training.trained_at), id: model.id };
}

/** By key (those without one last), then newest first, then by id: no two models have one place. */
function comparePlaces(a: Place, b: Place, sign: 1 | -1): number {
  if ((a.key === null) !== (b.key === null)) return a.key === null ? 1 : -1;
  return sign * compare(a.key ?? 0, b.key ?? 0) || b.trainedMs - a.trainedMs || compare(a.id, b.id);
}

function compare<T extends number | string>(a: T, b: T): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
