// waybill model tag: adds and removes tags of one model, or of several at once.
import { ModelRef, Tag, WaybillError, decodeValue } from "@waybill/sdk/protocol";
import { Command } from "commander";
import * as v from "valibot";
import type { Context } from "../context.ts";
import { collect, withRoom } from "../options.ts";
import type { Runner } from "../runner.ts";

type TagOptions = { readonly remove?: string[] };

export function modelTagCommand(run: Runner): Command {
  return withRoom(new Command("tag"))
    .argument("<models>", "id, alias or latest-{type}; several with commas between them")
    .argument("[tags...]", "tags to add")
    .option("--remove <tag>", "a tag to remove (repeatable)", collect)
    .description("add and remove tags: of all the models named, or of none")
    .action(run<[string, string[]], TagOptions>(tag));
}

async function tag(
  context: Context,
  [text, added]: [string, string[]],
  options: TagOptions,
): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const models = text.split(",").map((one) => decodeValue(ModelRef, one, `model "${one}"`));
  const Tags = v.array(Tag);
  const add = decodeValue(Tags, added, "tags");
  const remove = decodeValue(Tags, options.remove ?? [], "--remove");
  if (add.length === 0 && remove.length === 0) {
    throw new WaybillError("invalid_request", "no tags to add or to remove", {
      hint: `waybill model tag ${text} validated --remove draft`,
    });
  }
  const hub = await context.client(room);
  const [only] = models;
  if (only !== undefined && models.length === 1) {
    const params = { room, model: only };
    const model = await hub.call("editTags", { params, body: { add, remove } }, { signal });
    output.record(model);
    output.line(`${model.id}: ${model.tags.join(", ") || "no tags"}`);
    return;
  }
  const body = { models, add, remove };
  const edited = await hub.call("tagModels", { params: { room }, body }, { signal });
  for (const model of edited.models) {
    output.record(model);
    output.line(
      `${model.id}: ${model.tags.join(", ") || "no tags"}${model.changed ? "" : " (as before)"}`,
    );
  }
}
