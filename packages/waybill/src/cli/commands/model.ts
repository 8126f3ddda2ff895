// waybill model …: the room's registry.
import { Command } from "commander";
import { Alias, type ModelEntry, ModelId, ModelRef, Tag, decodeValue } from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Context } from "../context.ts";
import { collect, withRoom } from "../options.ts";
import { formatBytes, formatTime, formatValue, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { modelCompareCommand } from "./model-compare.ts";
import { modelExportCommand } from "./model-export.ts";
import { modelImportCommand } from "./model-import.ts";
import { modelLineageCommand } from "./model-lineage.ts";
import { modelPullCommand } from "./model-pull.ts";
import { modelShowCommand } from "./model-show.ts";
import { modelWatchCommand } from "./model-watch.ts";

export function modelCommand(run: Runner): Command {
  const model = new Command("model").description("list, show, fetch and name trained models");
  model.addCommand(
    withRoom(new Command("ls"))
      .option("--tag <tag>", "only models with this tag (repeatable)", collect)
      .option("--type <type>", "only models of this type")
      .description("the room's models, newest first")
      .action(run<[], ListOptions>(list)),
  );
  model.addCommand(modelShowCommand(run));
  model.addCommand(modelLineageCommand(run));
  model.addCommand(modelCompareCommand(run));
  model.addCommand(modelImportCommand(run));
  model.addCommand(modelExportCommand(run));
  model.addCommand(modelPullCommand(run));
  model.addCommand(
    withRoom(new Command("alias"))
      .argument("<alias>", "1–64 of A–Z, a–z, 0–9, '.', '_', '-'")
      .argument("[model]", "id, alias or latest-{type}; none with --remove")
      .option("--expect <id>", "only if the alias names this model now")
      .option("--why <text>", "kept in the alias's history")
      .option("--remove", "remove the alias; its history stays")
      .description("point an alias at a model")
      .action(run<[string, string | undefined], AliasOptions>(alias)),
  );
  model.addCommand(
    withRoom(new Command("tag"))
      .argument("<model>", "id, alias or latest-{type}")
      .argument("[tags...]", "tags to add")
      .option("--remove <tag>", "a tag to remove (repeatable)", collect)
      .description("add and remove tags")
      .action(run<[string, string[]], { remove?: string[] }>(tag)),
  );
  model.addCommand(modelWatchCommand(run));
  return model;
}

type ListOptions = { readonly tag?: string[]; readonly type?: string };
type AliasOptions = { readonly expect?: string; readonly why?: string; readonly remove?: boolean };

async function list(context: Context, _: [], options: ListOptions): Promise<void> {
  const room = await context.room();
  const hub = await context.client(room);
  const registry = await hub.call("readRegistry", { params: { room } }, { signal: context.signal });
  const names = new Map<string, string[]>();
  for (const [name, id] of Object.entries(registry.aliases))
    names.set(id, [...(names.get(id) ?? []), name]);
  const wanted = options.tag ?? [];
  const models = Object.values(registry.models)
    .filter((one) => wanted.every((text) => (one.tags as string[]).includes(text)))
    .filter((one) => options.type === undefined || one.model_type === options.type)
    .toSorted((a, b) => b.training.trained_at.localeCompare(a.training.trained_at));
  for (const one of models) context.output.record({ ...one, aliases: names.get(one.id) ?? [] });
  if (models.length === 0) {
    context.output.line(
      `no models in room ${room}${wanted.length > 0 || options.type !== undefined ? " match" : " yet"}`,
    );
    return;
  }
  const rows = models.map((one) => [
    one.id,
    one.model_type,
    (names.get(one.id) ?? []).join(", ") || "–",
    one.tags.join(", ") || "–",
    formatBytes(one.storage.size_bytes),
    formatTime(one.training.trained_at),
    headline(one),
  ]);
  context.output.line(
    table([["ID", "TYPE", "ALIASES", "TAGS", "SIZE", "TRAINED (UTC)", "METRICS"], ...rows]),
  );
}

/** The first three numbers among the metrics. */
function headline(model: ModelEntry): string {
  return Object.entries(model.training.metrics)
    .filter(([, value]) => typeof value === "number")
    .slice(0, 3)
    .map(([key, value]) => `${key}=${formatValue(value)}`)
    .join(" ");
}

async function alias(
  context: Context,
  [name, text]: [string, string | undefined],
  options: AliasOptions,
): Promise<number | void> {
  const room = await context.room();
  const params = { room, alias: decodeValue(Alias, name, `alias "${name}"`) };
  const hub = await context.client(room);
  if (options.remove === true) {
    await hub.call("removeAlias", { params }, { signal: context.signal });
    context.output.record({ alias: name, removed: true });
    context.output.line(`alias ${name} removed`);
    return;
  }
  const body = {
    model: decodeValue(ModelRef, text, "the model to point the alias at"),
    ...(options.expect === undefined
      ? {}
      : { expect: decodeValue(ModelId, options.expect, "--expect") }),
    ...(options.why === undefined ? {} : { why: options.why }),
  };
  const moved = await hub.call("setAlias", { params, body }, { signal: context.signal });
  context.output.record(moved);
  context.output.line(
    `${moved.alias} → ${moved.model}${moved.from === undefined ? "" : ` (was ${moved.from})`}`,
  );
}

async function tag(
  context: Context,
  [text, add]: [string, string[]],
  options: { remove?: string[] },
): Promise<void> {
  const room = await context.room();
  const params = { room, model: decodeValue(ModelRef, text, `model "${text}"`) };
  const Tags = v.array(Tag);
  const body = {
    add: decodeValue(Tags, add, "tags"),
    remove: decodeValue(Tags, options.remove ?? [], "--remove"),
  };
  const hub = await context.client(room);
  const model = await hub.call("editTags", { params, body }, { signal: context.signal });
  context.output.record(model);
  context.output.line(`${model.id}: ${model.tags.join(", ") || "no tags"}`);
}
