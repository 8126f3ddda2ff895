// The page that goes with an exported model: for people what it is and where it comes from, in its front matter the same for
// programs, so that importing the folder somewhere else brings it back.
import {
  ArtifactId,
  ArtifactName,
  type Lineage,
  type ModelDetails,
  ModelId,
  ModelType,
  RoomId,
  Tag,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import { formatBytes, formatTime, formatValue } from "../render/format.ts";
import { lineageTree } from "../render/lineage-view.ts";
import { frontMatter, withFrontMatter } from "./front-matter.ts";
import type { ModelFolder } from "./folder.ts";

/** What a card says to programs. */
export const CardFacts = v.object({
  format: v.literal(1),
  room: RoomId,
  model: ModelId,
  model_type: ModelType,
  artifact: ArtifactId,
  tags: v.optional(v.array(Tag), []),
  notes: v.optional(v.string()),
  dataset: v.optional(ArtifactId),
  dataset_name: v.optional(ArtifactName),
  code: v.optional(ArtifactId),
  run_name: v.optional(v.string()),
  seed: v.optional(v.pipe(v.number(), v.safeInteger())),
  trained_by: v.optional(v.string()),
  trained_at: v.optional(v.string()),
  metrics: v.record(v.string(), v.unknown()),
  config: v.record(v.string(), v.unknown()),
});
export type CardFacts = v.InferOutput<typeof CardFacts>;

/** Names a card may have, the first that the model has no file of. */
export function cardNames(model: ModelId): string[] {
  return ["README.md", "MODEL_CARD.md", `MODEL_CARD.${model}.md`];
}

/** The facts of a page that is a card of ours; undefined for any other page. */
export function cardFacts(page: string): CardFacts | undefined {
  const parsed = v.safeParse(CardFacts, frontMatter(page)?.["waybill"]);
  return parsed.success ? parsed.output : undefined;
}

/** The cards that lie in a folder itself, by name. */
export async function cardsIn(folder: ModelFolder): Promise<Map<string, CardFacts>> {
  const cards = new Map<string, CardFacts>();
  for (const name of folder.names.filter((one) => /^(?:README|MODEL_CARD.*)\.md$/.test(one))) {
    const facts = cardFacts((await folder.text(name)) ?? "");
    if (facts !== undefined) cards.set(name, facts);
  }
  return cards;
}

export type CardInput = {
  readonly room: RoomId;
  readonly details: ModelDetails;
  readonly lineage: Lineage;
};

/** The whole page. */
export function modelCard({ room, details, lineage }: CardInput): string {
  const { model, aliases } = details;
  const { training } = model;
  const facts = withoutAbsent({
    format: 1,
    room,
    model: model.id,
    model_type: model.model_type,
    artifact: model.artifact,
    tags: model.tags.length === 0 ? undefined : model.tags,
    notes: model.notes,
    dataset: training.dataset,
    dataset_name: training.dataset_name,
    code: training.code,
    run_name: training.run_name,
    seed: training.seed,
    trained_by: training.trained_by,
    trained_at: training.trained_at,
    metrics: training.metrics,
    config: training.config,
  });
  const [license, base] = ["license:", "base_model:"].map((start) => tagged(model.tags, start));
  const front = withoutAbsent({
    license,
    base_model: base,
    tags: model.tags.length === 0 ? undefined : model.tags,
    waybill: facts,
  });
  const folder = `./${model.model_type}_${model.id}`;
  const sections = [
    `# ${model.model_type} ${model.id}`,
    model.notes,
    table(["", ""], factRows(details, aliases, license)),
    "## Metrics",
    Object.keys(training.metrics).length === 0
      ? "None were recorded."
      : table(
          ["metric", "value"],
          Object.entries(training.metrics).map(([key, value]) => [key, formatValue(value)]),
        ),
    "## Configuration",
    fenced("json", JSON.stringify(training.config, null, 2)),
    "## Lineage",
    fenced("text", lineageTree(lineage, 100).join("\n")),
    "## How to get it",
    fenced("sh", `waybill model pull ${model.id} ${folder} --room ${room}`),
    "## How to verify it",
    `What lies beside this page, ${formatBytes(model.storage.size_bytes)}, is artifact \`${model.artifact}\`: the BLAKE3 of its manifest. This page is no part of it. Move it away, and`,
    fenced("sh", `waybill verify ${folder} --artifact ${model.artifact} --room ${room}`),
    "reads and compares every byte.",
  ];
  return withFrontMatter(front, `${sections.filter((one) => one !== undefined).join("\n\n")}\n`);
}

function factRows(
  { model, children, part_of: partOf }: ModelDetails,
  aliases: readonly string[],
  license: string | undefined,
): string[][] {
  const { training, pipeline } = model;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["Model", code(model.id)],
    ["Type", model.model_type],
    ["Aliases", aliases.map(code).join(", ") || undefined],
    ["Tags", model.tags.map(code).join(", ") || undefined],
    ["Licence", license],
    [
      training.imported === undefined ? "Trained" : "Imported",
      `${formatTime(training.trained_at)} UTC by ${training.trained_by}`,
    ],
    ["From", training.imported === undefined ? undefined : training.imported.from],
    ["Run", training.run_name],
    ["Seed", training.seed === undefined ? undefined : String(training.seed)],
    [
      "Data set",
      training.dataset === undefined
        ? training.dataset_name
        : [training.dataset_name, code(training.dataset)].filter(Boolean).join(" "),
    ],
    ["Code", training.code === undefined ? undefined : code(training.code)],
    [
      "Fine-tuned from",
      training.parent_model === undefined ? undefined : code(training.parent_model),
    ],
    ["Fine-tuned to", children.map(code).join(", ") || undefined],
    ["Parts", pipeline?.parts.map((part) => `${part.model_type} ${code(part.model)}`).join(" → ")],
    ["Part of", partOf.map(code).join(", ") || undefined],
    ["Job", training.job === undefined ? undefined : code(training.job)],
  ];
  return rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
}

function tagged(tags: readonly string[], start: string): string | undefined {
  return tags.find((tag) => tag.startsWith(start))?.slice(start.length);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Text that ends neither its cell nor its row. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll(/\s+/g, " ");
}

function code(text: string): string {
  return `\`${text.replaceAll("`", "'")}\``;
}

/** A fence that is longer than any within. */
function fenced(language: string, text: string): string {
  const runs = text.match(/`+/g) ?? [];
  const fence = "`".repeat(Math.max(3, ...runs.map((run) => run.length + 1)));
  return `${fence}${language}\n${text}\n${fence}`;
}

function withoutAbsent(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
