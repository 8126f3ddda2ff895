// A model as a plain folder: its files, verified, and its card.
import { readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import {
  type ModelDetails,
  ModelRef,
  type RoomId,
  WaybillError,
  cryptoRandom,
  decodeValue,
  randomText,
} from "@waybill/sdk/protocol";
import { pullInto, pullSummary } from "../commands/pull.ts";
import type { Context } from "../context.ts";
import { cardFacts, cardNames, modelCard } from "./model-card.ts";

/** Ancestors that a card draws: readers want to know what it was made from, not all that ever was. */
const CARD_DEPTH = 5;

/** Fills `dir`. Throws as a pull does, and `conflict` when there is no name left for the card. */
export async function exportModel(
  context: Context,
  text: string,
  dir: string,
  options: { readonly overwrite?: boolean },
): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const hub = await context.client(room);
  const ref = decodeValue(ModelRef, text, `model "${text}"`);
  const params = { room, model: ref };
  const details = await hub.call("modelDetails", { params }, { signal });
  const { id, pipeline } = details.model;
  const parts = await Promise.all(
    (pipeline?.parts ?? []).map(async ({ model, model_type }) => ({
      folder: model_type,
      details: await hub.call("modelDetails", { params: { room, model } }, { signal }),
    })),
  );
  const cards: string[] = [];
  let bytes = 0;
  for (const one of [{ folder: "", details }, ...parts]) {
    const into = path.join(dir, one.folder);
    const exported = await exportOne(context, room, one.details, into, options);
    bytes += exported.bytes;
    cards.push(path.join(into, exported.card));
  }
  const { artifact, model_type: type } = details.model;
  output.record({ type: "done", model: id, modelType: type, artifact, bytes, dir, cards });
  for (const card of cards) output.note(`card: ${card}`);
}

async function exportOne(
  context: Context,
  room: RoomId,
  details: ModelDetails,
  dir: string,
  options: { readonly overwrite?: boolean },
): Promise<{ readonly card: string; readonly bytes: number }> {
  const { output, signal } = context;
  const { model } = details;
  const label = `model ${model.id}`;
  const result = await pullInto(context, room, { ref: model.artifact, dir, label, ...options });
  const hub = await context.client(room);
  const params = { room, model: decodeValue(ModelRef, model.id, "a model's id") };
  const query = { depth: String(CARD_DEPTH) };
  const lineage = await hub.call("modelLineage", { params, query }, { signal });
  const own = result.manifest.files.map((file) => file.path);
  const card = await placeCard(dir, details, own);
  await writeWhole(path.join(dir, card), modelCard({ room, details, lineage }));
  output.line(`${label}: ${pullSummary(result, dir)}`);
  return { card, bytes: result.bytes };
}

/** The first name that is no file of the model's, nor of anybody else's: an earlier export's card is replaced. */
async function placeCard(
  dir: string,
  { model }: ModelDetails,
  own: readonly string[],
): Promise<string> {
  // On systems that ignore case, readme.md is README.md.
  const taken = new Set(own.map((file) => file.toLowerCase()));
  for (const name of cardNames(model.id)) {
    if (taken.has(name.toLowerCase())) continue;
    const there = await readFile(path.join(dir, name), "utf8").catch(() => undefined);
    if (there === undefined || cardFacts(there)?.model === model.id) return name;
  }
  throw new WaybillError("conflict", `${dir} has other pages of every name a card may have`, {
    hint: `move one away: ${cardNames(model.id).join(", ")}`,
  });
}

async function writeWhole(file: string, text: string): Promise<void> {
  const beside = `${file}.${randomText(8, cryptoRandom)}.part`;
  await writeFile(beside, text);
  await rename(beside, file);
}
