// A folder or file becomes a model of the room. First it is looked at, and what was found is said; then it, and the parts of
// a pipeline before it, are brought (model-bringer.ts) and entered in the registry in one write.
import { existsSync, statSync } from "node:fs";
import { scanTree } from "@waybill/sdk/artifact";
import {
  Alias,
  ModelRef,
  ModelType,
  type ModelEntry,
  type RoomId,
  Tag,
  WaybillError,
  decodeValue,
  meantModelType,
  partTypesOf,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Context } from "../context.ts";
import { factLines } from "../render/columns.ts";
import { formatBytes } from "../render/format.ts";
import { type ImportFormat, detectModel } from "./detect.ts";
import type { Detected } from "./detected.ts";
import { ModelFolder } from "./folder.ts";
import { type CardFacts, cardsIn } from "./model-card.ts";
import { type Brought, type FoundModel, ModelBringer, type Wishes } from "./model-bringer.ts";
import { pipelineFolder } from "./pipeline-folder.ts";

export type ImportOptions = {
  readonly type?: string;
  readonly alias?: string;
  readonly tag?: string[];
  readonly notes?: string;
  readonly runName?: string;
  readonly parent?: string;
  readonly dataset?: string;
  readonly format: ImportFormat;
  readonly dryRun?: boolean;
};

/** A folder that was looked at; of a pipeline, with its parts. */
type Looked = FoundModel & { readonly parts: readonly Looked[] };

/** Imports; doing it again changes nothing. Throws `invalid_request` when it is not clear what the folder holds. */
export async function importModel(
  context: Context,
  path: string,
  options: ImportOptions,
): Promise<void> {
  const { output, signal } = context;
  if (!existsSync(path)) {
    throw new WaybillError("not_found", `there is no file or folder ${path}`);
  }
  const asked = options.type === undefined ? undefined : askedType(options.type);
  const alias =
    options.alias === undefined
      ? undefined
      : decodeValue(Alias, options.alias, `alias "${options.alias}"`);
  const tags = decodeValue(v.array(Tag), options.tag ?? [], "--tag");
  const room = await context.room();
  const scan = await scanTree(path, { signal });
  for (const warning of scan.warnings) output.note(`note: ${warning}`);
  const looked = await look(
    new ModelFolder(scan, { isFile: statSync(path).isFile() }),
    options.format,
    asked,
  );
  say(context, looked);
  if (options.dryRun === true) return;
  const wishes = { ...(await wishesOf(context, room, options)), alias, tags };
  const bringer = new ModelBringer(context, room);
  const brought = await bringAll(bringer, looked, wishes);
  const { entry, existed } = await bringer.enter(brought, wishes);
  tell(context, entry, existed, brought);
}

function askedType(text: string): ModelType {
  const type = decodeValue(ModelType, text, `type "${text}"`);
  const meant = meantModelType(type);
  if (meant === undefined) return type;
  throw new WaybillError("invalid_request", `type ${type} is not known; did you mean ${meant}?`);
}

async function look(
  whole: ModelFolder,
  format: ImportFormat,
  asked: ModelType | undefined,
): Promise<Looked> {
  const cards = await cardsIn(whole);
  const folder = whole.without(new Set(cards.keys()));
  const card: CardFacts | undefined = [...cards.values()][0];
  const expected = asked ?? (format === "auto" ? card?.model_type : undefined);
  const types = expected === undefined ? undefined : partTypesOf(expected);
  if (expected !== undefined && types !== undefined)
    return lookAtPipeline(folder, expected, types, card);
  const detected = await detectModel(folder, format);
  const modelType = expected ?? detected.modelType;
  if (modelType === undefined) {
    const { warnings: unread, missing } = detected;
    const sought = missing.length === 0 ? [] : [`not found: ${missing.join("; ")}`];
    const why = [...unread, ...sought].join("; ");
    const lacking = why === "" ? "" : ` (${why})`;
    throw new WaybillError(
      "invalid_request",
      `nothing in ${folder.source} says what type of model it is${lacking}`,
      { hint: "say it: --type TYPE" },
    );
  }
  const differs = detected.modelType !== undefined && detected.modelType !== modelType;
  const warnings = differs
    ? [...detected.warnings, `its files say ${detected.modelType}, not ${modelType}`]
    : detected.warnings;
  // What was said need not be found.
  const missing = detected.missing.filter((what) => expected === undefined || what !== "type");
  return { folder, card, modelType, detected: { ...detected, warnings, missing }, parts: [] };
}

/** The parts are in folders named by their types, or else in those whose files say that they are of the types. */
async function lookAtPipeline(
  folder: ModelFolder,
  modelType: ModelType,
  types: readonly ModelType[],
  card: CardFacts | undefined,
): Promise<Looked> {
  const inside = await Promise.all(
    folder.folders.map(async (name) => {
      const detected = await detectModel(folder.below(name));
      return { name, type: detected.modelType };
    }),
  );
  const parts: Looked[] = [];
  const taken = new Set<string>();
  for (const type of types) {
    const fits = inside.filter((one) => one.type === type).map(({ name }) => name);
    const name = folder.folders.includes(type) ? type : fits.length === 1 ? fits[0] : undefined;
    if (name === undefined) {
      throw new WaybillError(
        "invalid_request",
        `a ${modelType} is made of ${types.join(" and ")}: ${folder.source} has ${fits.length === 0 ? "no" : "more than one"} folder of a ${type}`,
        { hint: `put it into a folder named ${type}` },
      );
    }
    taken.add(name);
    parts.push(await look(folder.below(name), "auto", type));
  }
  const own = folder.scan.files.map((file) => file.path);
  const rest = folder.without(
    new Set(
      own.filter((file) => file.includes("/") && taken.has(file.slice(0, file.indexOf("/")))),
    ),
  );
  const detected: Detected = {
    format: "folder",
    config: {},
    metrics: {},
    tags: [],
    found: [["parts", [...taken].join(", ")]],
    missing: [],
    warnings: [],
  };
  return { folder: rest, card, modelType, detected, parts };
}

/** Ids of what the options name. */
async function wishesOf(
  context: Context,
  room: RoomId,
  { notes, runName, parent, dataset }: ImportOptions,
): Promise<Omit<Wishes, "alias" | "tags">> {
  const { signal } = context;
  const hub = await context.client(room);
  const model = parent === undefined ? undefined : decodeValue(ModelRef, parent, "--parent");
  const [known, held] = await Promise.all([
    model === undefined
      ? undefined
      : hub.call("showModel", { params: { room, model } }, { signal }),
    dataset === undefined
      ? undefined
      : hub.call("resolveArtifact", { params: { room, ref: dataset } }, { signal }),
  ]);
  return {
    notes,
    runName,
    parent: known?.model.id,
    dataset: held === undefined ? undefined : { id: held.artifact, name: held.name },
  };
}

/** Parts before the pipeline that names them. */
async function bringAll(bringer: ModelBringer, looked: Looked, wishes: Wishes): Promise<Brought[]> {
  if (looked.parts.length === 0) return [await bringer.bring(looked, wishes)];
  const parts: Brought[] = [];
  // What people ask for is asked of the pipeline; a data set was every part's.
  for (const part of looked.parts) {
    parts.push(await bringer.bring(part, { tags: [], dataset: wishes.dataset }));
  }
  await using made = await pipelineFolder(looked.folder, looked.modelType, parts);
  const whole = await bringer.bring({ ...looked, folder: made.folder }, wishes, parts);
  return [...parts, whole];
}

function say({ output }: Context, looked: Looked): void {
  for (const one of [...looked.parts, looked]) {
    const { folder, modelType, detected, card } = one;
    const { format, found, missing, warnings } = detected;
    const { files, bytes } = folder.scan;
    output.record({
      type: "detected",
      format,
      modelType,
      ...(card === undefined ? {} : { exportOf: card.model }),
      found: found.map(([what, from]) => ({ what, from })),
      missing,
      warnings,
      files: files.length,
      bytes,
    });
    const size = `${files.length} ${files.length === 1 ? "file" : "files"}, ${formatBytes(bytes)}`;
    const known = format === "folder" ? "" : `, ${format}`;
    output.line(`${folder.source}: a ${modelType}${known} (${size})`);
    const exported = card === undefined ? [] : [["export of", card.model] as const];
    const facts = [...exported, ...found, ["not found", missing.join("; ") || undefined] as const];
    for (const line of factLines(facts, { width: output.columns, indent: 2 })) output.line(line);
    for (const warning of warnings) output.note(`note: ${warning}`);
  }
}

function tell({ output }: Context, entry: ModelEntry, existed: boolean, brought: Brought[]): void {
  const sentBytes = brought.reduce((sum, one) => sum + one.sentBytes, 0);
  const { id, model_type, artifact, alias, storage } = entry;
  output.record({
    type: "imported",
    model: id,
    modelType: model_type,
    artifact,
    existed,
    ...(alias === undefined ? {} : { alias }),
    ...(entry.pipeline === undefined ? {} : { parts: entry.pipeline.parts }),
    tags: entry.tags,
    bytes: storage.size_bytes,
    sentBytes,
  });
  const how = existed ? "was there already" : "imported";
  output.line(`model ${id} ${how}${alias === undefined ? "" : ` · ${alias}`}`);
}
