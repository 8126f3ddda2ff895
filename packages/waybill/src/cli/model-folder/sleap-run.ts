// A run folder of SLEAP (JSON, Keras) or sleap-nn (YAML, Lightning): the configuration says what kind of model it is, the
// log how it ended.
import { ModelType } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { CsvRecords } from "../../worker/progress/csv/csv-records.ts";
import { type CsvRow, CsvRows } from "../../worker/progress/csv/csv-rows.ts";
import { type Detected, isRecord, memberOf, textOf } from "./detected.ts";
import type { ModelFolder } from "./folder.ts";
import { parseSettings, publicSettings } from "./settings.ts";

/** What the training really used comes before what it was asked for. */
const CONFIGS = [
  "training_config.json",
  "training_config.yaml",
  "training_config.yml",
  "initial_config.json",
  "initial_config.yaml",
  "initial_config.yml",
];
const WEIGHTS = [
  "best_model.h5",
  "best_model.keras",
  "best.ckpt",
  "final_model.h5",
  "latest_model.h5",
  "last.ckpt",
];
const LOG = "training_log.csv";

/** Heads by the names configurations give them. SLEAP calls the head of bottom-up models `multi_instance`. */
const HEADS: Readonly<Record<string, string>> = {
  single_instance: "single_instance",
  centroid: "centroid",
  centered_instance: "centered_instance",
  multi_instance: "bottomup",
  bottomup: "bottomup",
  multi_class_bottomup: "multi_class_bottomup",
  multi_class_topdown: "multi_class_topdown",
};

/** undefined when the folder has no configuration with SLEAP's heads. */
export async function detectSleap(folder: ModelFolder): Promise<Detected | undefined> {
  const name = folder.first(CONFIGS);
  const text = name === undefined ? undefined : await folder.text(name);
  if (name === undefined || text === undefined) return undefined;
  const settings = parseSettings(name, text);
  const heads =
    memberOf(settings, "model", "heads") ?? memberOf(settings, "model_config", "head_configs");
  if (!isRecord(heads)) return undefined;
  const used = Object.entries(heads).filter(([, head]) => head !== null && head !== undefined);
  const [head] = used;
  const type = head === undefined || used.length > 1 ? undefined : HEADS[head[0]];
  const log = await readLog(folder);
  const weights = folder.first(WEIGHTS);
  const { config, warnings } = publicSettings(settings, [
    // Pickled objects, many times as long as all settings.
    ["data", "labels", "skeletons"],
    ["data_config", "skeletons"],
  ]);
  const seed = memberOf(settings, "trainer_config", "seed");
  const runName =
    textOf(memberOf(settings, "outputs", "run_name")) ??
    textOf(memberOf(settings, "trainer_config", "run_name"));
  return {
    format: "sleap",
    modelType: type === undefined ? undefined : v.parse(ModelType, type),
    config,
    metrics: log?.metrics ?? {},
    tags: [],
    notes: textOf(settings["description"]),
    runName,
    seed: typeof seed === "number" && Number.isSafeInteger(seed) ? seed : undefined,
    found: [
      ...(type === undefined ? [] : [["type", `${type}: the head in ${name}`] as const]),
      ["config", name],
      ...(log === undefined ? [] : [["metrics", `${LOG}, ${log.rows} rows`] as const]),
      ...(weights === undefined ? [] : [["weights", weights] as const]),
    ],
    missing: [
      ...(type === undefined ? [`one head in ${name}`] : []),
      ...(log === undefined ? [`metrics (no ${LOG})`] : []),
      ...(weights === undefined ? [`weights (${WEIGHTS.slice(0, 3).join(", ")}, …)`] : []),
      ...(runName === undefined ? ["run name"] : []),
    ],
    warnings,
  };
}

/** The last value of each column, and the best epoch: weights that are called best are of that one. */
async function readLog(
  folder: ModelFolder,
): Promise<{ readonly metrics: Record<string, unknown>; readonly rows: number } | undefined> {
  const text = await folder.text(LOG);
  if (text === undefined) return undefined;
  const records = new CsvRecords();
  const reader = new CsvRows();
  const rows = [...records.push(text), ...records.end()]
    .map((record) => reader.read(record))
    .filter((row) => row !== undefined);
  if (rows.length === 0) return undefined;
  const last: CsvRow = Object.assign({}, ...rows);
  return { metrics: { ...last, ...bestOf(rows) }, rows: rows.length };
}

function bestOf(rows: readonly CsvRow[]): Record<string, unknown> {
  let best: { readonly loss: number; readonly row: CsvRow } | undefined;
  for (const row of rows) {
    const loss = row["val_loss"] ?? row["val/loss"];
    if (typeof loss === "number" && (best === undefined || loss < best.loss)) best = { loss, row };
  }
  if (best === undefined) return {};
  const { epoch } = best.row;
  return { best_val_loss: best.loss, ...(epoch === undefined ? {} : { best_epoch: epoch }) };
}
