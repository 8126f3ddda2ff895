// A folder as Hugging Face's hub has them: config.json (or an adapter's), weights, and a README.md whose front matter says
// licence, tags and what it was made from.
import type { Tag } from "@waybill/sdk/protocol";
import { type Detected, isRecord, memberOf, modelTypeOf, tagsOf, textOf } from "./detected.ts";
import type { ModelFolder } from "./folder.ts";
import { frontMatter } from "./front-matter.ts";
import { parseSettings, publicSettings } from "./settings.ts";

const CONFIGS = ["config.json", "adapter_config.json"];
const WEIGHTS =
  /\.(?:safetensors|gguf|onnx|msgpack)$|^(?:pytorch|adapter|tf)_model.*\.(?:bin|h5)$|^model.*\.bin$/;

/** undefined when the folder has no configuration that names a model's type, or no weights. */
export async function detectHuggingFace(folder: ModelFolder): Promise<Detected | undefined> {
  const name = folder.first(CONFIGS);
  const text = name === undefined ? undefined : await folder.text(name);
  const weights = folder.names.filter((one) => WEIGHTS.test(one));
  if (name === undefined || text === undefined || weights.length === 0) return undefined;
  const settings = parseSettings(name, text);
  const kind = kindOf(settings);
  const readme = await folder.text("README.md");
  const card = readme === undefined ? undefined : frontMatter(readme);
  const told = toldBy(card ?? {});
  const { config, warnings } = publicSettings(settings);
  const metrics = metricsOf(card ?? {});
  const isNamed = Object.keys(metrics).length > 0;
  const base = [settings["base_model_name_or_path"], card?.["base_model"]].flat().map(textOf);
  const bases = [...new Set(base.filter((one) => one !== undefined))];
  const { tags, refused } = tagsOf([...told, ...bases.map((one) => `base_model:${one}`)]);
  return {
    format: "huggingface",
    modelType: kind?.type,
    config,
    metrics,
    tags,
    found: [
      ...(kind === undefined ? [] : [["type", `${kind.type}: ${kind.from} in ${name}`] as const]),
      ["config", name],
      ["weights", weights.length === 1 ? String(weights[0]) : `${weights.length} files`],
      ...cardFacts(card, bases, tags),
      ...(isNamed ? [["metrics", "model-index in README.md"] as const] : []),
    ],
    missing: [
      ...(kind === undefined ? [`model_type or architectures in ${name}`] : []),
      ...(readme === undefined ? ["README.md"] : []),
      ...(readme !== undefined && card === undefined ? ["front matter in README.md"] : []),
      ...(isNamed ? [] : ["metrics"]),
    ],
    warnings: [
      ...warnings,
      ...(refused === 0 ? [] : [`${refused} of its tags cannot be tags here and are left out`]),
    ],
  };
}

function kindOf(settings: Record<string, unknown>) {
  const architectures = settings["architectures"];
  const candidates = [
    ["model_type", settings["model_type"]],
    ["architectures", Array.isArray(architectures) ? architectures[0] : undefined],
    ["peft_type", settings["peft_type"]],
    ["_class_name", settings["_class_name"]],
  ] as const;
  for (const [from, value] of candidates) {
    const type = typeof value === "string" ? modelTypeOf(value) : undefined;
    if (type !== undefined) return { type, from };
  }
  return undefined;
}

/** Tags as the hub itself makes them of a card's members. */
function toldBy(card: Record<string, unknown>): unknown[] {
  const { license, tags, datasets, language, pipeline_tag: task, library_name: library } = card;
  return [
    ...(textOf(license) === undefined ? [] : [`license:${textOf(license)}`]),
    ...[tags].flat().filter((tag) => tag !== undefined && tag !== null),
    ...[datasets]
      .flat()
      .flatMap((one) => (textOf(one) === undefined ? [] : [`dataset:${textOf(one)}`])),
    ...[language].flat().filter((one) => textOf(one) !== undefined),
    ...[task, library].filter((one) => textOf(one) !== undefined),
  ];
}

function cardFacts(
  card: Record<string, unknown> | undefined,
  bases: readonly string[],
  tags: readonly Tag[],
): [string, string][] {
  const license = textOf(card?.["license"]);
  return [
    ...(license === undefined ? [] : ([["licence", license]] as [string, string][])),
    ...(bases.length === 0 ? [] : ([["base model", bases.join(", ")]] as [string, string][])),
    ...(tags.length === 0 ? [] : ([["tags", tags.join(", ")]] as [string, string][])),
  ];
}

/** `model-index[].results[].metrics[]`; a name that is there already gets the data set before it. */
function metricsOf(card: Record<string, unknown>): Record<string, unknown> {
  const metrics: Record<string, unknown> = {};
  for (const model of listOf(card["model-index"])) {
    for (const result of listOf(memberOf(model, "results"))) {
      const dataset = textOf(memberOf(result, "dataset", "name"));
      for (const metric of listOf(memberOf(result, "metrics"))) {
        const key = textOf(memberOf(metric, "type")) ?? textOf(memberOf(metric, "name"));
        const value = numberOf(memberOf(metric, "value"));
        if (key === undefined || value === undefined) continue;
        const full =
          Object.hasOwn(metrics, key) && dataset !== undefined ? `${dataset}.${key}` : key;
        if (!Object.hasOwn(metrics, full)) metrics[full] = value;
      }
    }
  }
  return metrics;
}

function listOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}
