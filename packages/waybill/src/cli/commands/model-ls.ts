// waybill model ls: the models that meet conditions, asked of the hub page by page.
import { type ModelListQuery, modelPages } from "@waybill/sdk/client";
import {
  type ModelEntry,
  type ModelRow,
  WaybillError,
  meantModelType,
  metricOf,
  readMetricFilters,
} from "@waybill/sdk/protocol";
import { Command } from "commander";
import type { Context } from "../context.ts";
import { collect, duration, wholeNumber, withRoom } from "../options.ts";
import { formatBytes, formatTime, formatValue, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";

type ListOptions = {
  readonly tag?: string[];
  readonly type?: string;
  readonly metric?: string[];
  readonly since?: string;
  readonly alias?: string;
  readonly sort?: string;
  readonly asc?: boolean;
  readonly desc?: boolean;
  readonly limit?: number;
};

/** Metrics of a model that fit beside the rest. */
const SHOWN_METRICS = 3;

export function modelLsCommand(run: Runner): Command {
  return withRoom(new Command("ls"))
    .option("--tag <tag>", "only models with this tag (repeatable: with all of them)", collect)
    .option("--type <type>", "only models of this type")
    .option(
      "--metric <condition>",
      "only if it holds, such as 'val_loss<0.03' (repeatable)",
      collect,
    )
    .option("--since <when>", "only trained since: 36h, 7d, 2026-01-31, or a time")
    .option("--alias <pattern>", "only with an alias that matches; * stands for any characters")
    .option("--sort <by>", "trained (default), size, id, or a metric; best first, without it last")
    .option("--asc", "least or oldest first")
    .option("--desc", "greatest or newest first")
    .option("--limit <n>", "only the first so many", wholeNumber(1))
    .description("the room's models, newest first, or those that meet conditions")
    .action(run<[], ListOptions>(list));
}

async function list(context: Context, _: [], options: ListOptions): Promise<void> {
  const { output, signal } = context;
  const query = queryOf(options, Date.now());
  const room = await context.room();
  const hub = await context.client(room);
  const wanted = wantedMetrics(options);
  const rows: string[][] = [];
  let total = 0;
  for await (const page of modelPages(hub, room, query, { signal })) {
    total = page.total;
    for (const row of page.models) {
      output.record({ ...row.model, aliases: row.aliases });
      rows.push(cellsOf(row, wanted));
    }
  }
  if (rows.length === 0) {
    const meant = options.type === undefined ? undefined : meantModelType(options.type);
    const { type, tags, metrics, since, alias } = query;
    const asked = [type, tags, metrics, since, alias].some((value) => value !== undefined);
    output.line(`no models in room ${room}${asked ? " match" : " yet"}`);
    if (meant !== undefined) output.note(`  did you mean --type ${meant}?`);
    return;
  }
  output.line(
    table([["ID", "TYPE", "ALIASES", "TAGS", "SIZE", "TRAINED (UTC)", "METRICS"], ...rows]),
  );
  if (rows.length < total) output.note(`${rows.length} of ${total}; more with a higher --limit`);
}

/** What the options ask for. Throws `invalid_request`. */
export function queryOf(options: ListOptions, nowMs: number): ModelListQuery {
  const { tag: tags, type, metric, since, alias, sort, asc, desc, limit } = options;
  if (asc === true && desc === true) {
    throw new WaybillError("invalid_request", "--asc and --desc exclude each other");
  }
  for (const one of metric ?? []) readMetricFilters(one, "--metric");
  return {
    type,
    tags,
    metrics: metric?.join(","),
    since: since === undefined ? undefined : sinceOf(since, nowMs),
    alias,
    sort,
    order: asc === true ? "asc" : desc === true ? "desc" : undefined,
    limit,
  };
}

/** `7d` ago, or a date or time, UTC where it says no zone. */
function sinceOf(text: string, nowMs: number): Date {
  if (/^\d{4}-\d\d-\d\d/.test(text)) {
    const hasZone = /(?:Z|[+-]\d\d:?\d\d)$/.test(text);
    const date = new Date(text.includes("T") && !hasZone ? `${text}Z` : text);
    if (!Number.isNaN(date.getTime())) return date;
  } else if (/^\d+(?:\.\d+)?(?:s|m|h|d)$/.test(text)) {
    const ms = nowMs - duration(text);
    if (ms >= 0) return new Date(ms);
  }
  throw new WaybillError("invalid_request", `--since ${text} is no time`, {
    hint: "it looks like 36h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z",
  });
}

/** Metrics that the options name, first. */
function wantedMetrics({ metric = [], sort }: ListOptions): string[] {
  const named = metric.flatMap((text) =>
    readMetricFilters(text, "--metric").map((one) => one.metric),
  );
  return sort === undefined ? named : [sort.replace(/^metric:/, ""), ...named];
}

function cellsOf({ model, aliases }: ModelRow, wanted: readonly string[]): string[] {
  return [
    model.id,
    model.model_type,
    aliases.join(", ") || "–",
    model.tags.join(", ") || "–",
    formatBytes(model.storage.size_bytes),
    formatTime(model.training.trained_at),
    headline(model, wanted),
  ];
}

/** The first numbers among the metrics, those asked for before others. */
function headline({ training: { metrics } }: ModelEntry, wanted: readonly string[]): string {
  return [...new Set([...wanted, ...Object.keys(metrics)])]
    .map((name) => ({ name, value: metricOf(metrics, name) }))
    .filter(({ value }) => value !== undefined)
    .slice(0, SHOWN_METRICS)
    .map(({ name, value }) => `${name}=${formatValue(value)}`)
    .join(" ");
}
