// What a collection removes and keeps, for people: two lists with reasons, and sums.
import type { GcItem, GcKept, GcReport, Retention } from "@waybill/sdk/protocol";
import { formatBytes, formatSeconds, formatTime, table } from "./format.ts";
import { plural } from "./progress-lines.ts";

export type GcTotals = {
  /** Models that leave the registry; their bytes stay until the grace period is over. */
  readonly models: { readonly count: number; readonly bytes: number };
  /** What is deleted from the store at once. */
  readonly freed: { readonly count: number; readonly bytes: number };
  readonly kept: { readonly count: number; readonly bytes: number };
};

/** Sums of a report. */
export function gcTotals({ goes, kept }: Pick<GcReport, "goes" | "kept">): GcTotals {
  const isModel = ({ kind }: GcItem) => kind === "model";
  return {
    models: sum(goes.filter(isModel)),
    freed: sum(goes.filter((item) => !isModel(item))),
    kept: sum(kept),
  };
}

/** `5 of each type (centroid: 3); without people's tags 30 days; 7 days to restore what was removed`. */
export function rulesText(rules: Retention): string {
  const { keep_per_type: keep, untagged_days: days, grace_hours } = rules;
  const types = Object.entries(rules.per_type).map(([type, count]) => `${type}: ${count}`);
  const limits = [
    ...(keep === undefined ? [] : [`the ${keep} newest of each type`]),
    ...(types.length === 0 ? [] : [`of ${types.join(", ")}`]),
    ...(days === undefined ? [] : [`without people's tags ${days} days`]),
  ];
  const kept = limits.length === 0 ? "everything is kept" : `kept: ${limits.join("; ")}`;
  return `${kept}; what was removed can be restored for ${hoursText(grace_hours)}`;
}

/** The report as lines. `did`: it tells what was done, not what would be. */
export function gcText(report: GcReport, did: boolean): string[] {
  const { goes, kept, rules } = report;
  const { models, freed, kept: stays } = gcTotals(report);
  const would = did ? "" : "would ";
  const until = goes.find((item) => item.until !== undefined)?.until;
  return [
    `rules      ${rulesText(rules)}`,
    "",
    did ? "REMOVED" : "WOULD GO",
    goes.length === 0 ? "  nothing" : indented(table(goes.map(row))),
    "",
    "KEPT",
    kept.length === 0 ? "  nothing" : indented(table(kept.map(row))),
    "",
    ...(models.count === 0
      ? []
      : [
          `${would}leave the registry: ${plural(models.count, "model", "models")}, ${formatBytes(models.bytes)}` +
            (until === undefined ? "" : `; restorable until ${formatTime(until)} UTC`),
        ]),
    `${did ? "freed" : "would free now"}: ${formatBytes(freed.bytes)}; kept: ${formatBytes(stays.bytes)}`,
  ];
}

const KINDS: Readonly<Record<GcItem["kind"], string>> = {
  model: "model",
  bytes: "bytes of removed",
  folder: "unpublished folder",
  checkpoint: "checkpoints of",
  upload: "upload",
};

function row({ kind, name, modelType, bytes, why, until }: GcItem | GcKept): string[] {
  const reasons = typeof why === "string" ? [why] : why;
  const end = until === undefined || kind === "model" ? [] : [`until ${formatTime(until)} UTC`];
  return [KINDS[kind], name, modelType ?? "", formatBytes(bytes), [...reasons, ...end].join("; ")];
}

function sum(items: readonly { readonly bytes: number }[]): { count: number; bytes: number } {
  return { count: items.length, bytes: items.reduce((total, { bytes }) => total + bytes, 0) };
}

function indented(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

function hoursText(hours: number): string {
  if (hours >= 48 && hours % 24 === 0) return `${hours / 24} days`;
  if (Number.isInteger(hours)) return plural(hours, "hour", "hours");
  return formatSeconds(hours * 3600);
}
