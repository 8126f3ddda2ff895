// Everything the registry says of a model, for a screen.
import type { AliasMove, ModelDetails, ModelEntry } from "@waybill/sdk/protocol";
import { flatConfig } from "@waybill/sdk/registry";
import { movedText, whoOf, whyText } from "./alias-view.ts";
import { factLines } from "./columns.ts";
import { formatBytes, formatTime, formatValue } from "./format.ts";

/** Moves of aliases that are shown; `waybill alias history` has all. */
const SHOWN_MOVES = 12;

export type ModelViewOptions = {
  readonly width: number;
  /** Names of the workers that have the model in their cache. */
  readonly cachedOn: readonly string[];
  /** Name of the worker that trained it, while it is connected. */
  readonly worker?: string | undefined;
};

/** Lines of at most `width` characters, but for words that are longer. */
export function modelLines(details: ModelDetails, options: ModelViewOptions): string[] {
  const { training } = details.model;
  const { width } = options;
  const metrics = Object.entries(training.metrics).map(
    ([key, value]) => [key, formatValue(value)] as const,
  );
  const settings = [...flatConfig(training.config)].map(
    ([key, value]) => [key, settingText(value)] as const,
  );
  return [
    ...factLines(factsOf(details, options), { width }),
    ...section("metrics", factLines(metrics, { width, indent: 2 })),
    ...section("config", factLines(settings, { width, indent: 2 })),
    ...section("history", historyLines(details.alias_history, width)),
  ];
}

function factsOf(
  details: ModelDetails,
  { cachedOn, worker }: ModelViewOptions,
): (readonly [string, string | undefined])[] {
  const { model, aliases, protected_aliases: kept, tombstone } = details;
  const { training, storage, pinned, pipeline } = model;
  const names = aliases.map((name) =>
    (kept as readonly string[]).includes(name) ? `${name} (protected)` : name,
  );
  return [
    ["removed", tombstone === undefined ? undefined : goneText(tombstone)],
    ["model", model.id],
    ["type", model.model_type],
    ["aliases", names.join(", ") || "–"],
    ["tags", model.tags.join(", ") || "–"],
    ["notes", model.notes],
    [
      "pinned",
      pinned === undefined
        ? undefined
        : `by ${whoOf(pinned)}, ${formatTime(pinned.when)} UTC${because(pinned.why)}`,
    ],
    ["pipeline", pipeline?.parts.map((part) => `${part.model_type} ${part.model}`).join(" → ")],
    [
      "sweep",
      training.sweep &&
        `${training.sweep.name}, by ${training.sweep.mode} ${training.sweep.metric}`,
    ],
    ["part of", textOf(details.part_of)],
    ["artifact", model.artifact],
    ["stored", `${filesText(storage)} in ${storage.s3_path}`],
    ["cached on", textOf(cachedOn)],
    ...trainingFacts(training, details, worker),
  ];
}

function trainingFacts(
  training: ModelEntry["training"],
  { children }: ModelDetails,
  worker: string | undefined,
): (readonly [string, string | undefined])[] {
  const { imported, run_name: run, seed } = training;
  const verb = imported === undefined ? "trained" : "imported";
  const early = training.stopped_early === true ? ", stopped early" : "";
  return [
    [verb, `${formatTime(training.trained_at)} UTC by ${training.trained_by}${early}`],
    ["from", imported === undefined ? undefined : `${imported.from} (${imported.format})`],
    ["run", run],
    ["seed", seed === undefined ? undefined : String(seed)],
    ["job", training.job],
    ["worker", textOf([worker, training.worker], "  ")],
    ["dataset", textOf([training.dataset_name, training.dataset], " ")],
    ["code", training.code],
    ["parent", training.parent_model],
    ["children", textOf(children)],
    ["config id", training.config_digest],
  ];
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ["", title, ...lines];
}

/** The latest moves, oldest first. */
function historyLines(moves: readonly AliasMove[], width: number): string[] {
  const earlier = moves.length - SHOWN_MOVES;
  const shown = moves.slice(-SHOWN_MOVES).map((move) => {
    return [
      formatTime(move.when),
      `${move.alias} ${movedText(move)} by ${whoOf(move)}${because(whyText(move))}`,
    ];
  });
  const facts = shown.map(([when = "", what]) => [when, what] as const);
  const lines = factLines(facts, { width, indent: 2 });
  if (earlier <= 0) return lines;
  return [`  ${earlier} earlier: \`waybill alias history\` has them`, ...lines];
}

function goneText(stone: NonNullable<ModelDetails["tombstone"]>): string {
  const bytes =
    stone.state === "held"
      ? `its files are kept until ${formatTime(stone.bytes_until)} UTC`
      : stone.state === "purging"
        ? "its files are being deleted"
        : "its files are gone";
  return `${formatTime(stone.when)} UTC by ${whoOf(stone)}${because(stone.why)}; ${bytes}`;
}

function filesText({ files, size_bytes: bytes }: ModelEntry["storage"]): string {
  return `${files.length} ${files.length === 1 ? "file" : "files"}, ${formatBytes(bytes)},`;
}

function because(why: string | undefined): string {
  return why === undefined || why === "" ? "" : `: ${why}`;
}

function settingText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function textOf(parts: readonly (string | undefined)[], between = ", "): string | undefined {
  return parts.filter((part) => part !== undefined).join(between) || undefined;
}
