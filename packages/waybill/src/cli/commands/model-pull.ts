// waybill model pull: a model's files, verified; of a pipeline its parts, too, each in a folder named by its type.
import path from "node:path";
import type { PullResult } from "@waybill/sdk/client";
import { Command } from "commander";
import { type ModelEntry, ModelRef, type RoomId, decodeValue } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { filePath, withRoom } from "../options.ts";
import type { Runner } from "../runner.ts";
import { pullInto, pullSummary } from "./pull.ts";

type PullModelOptions = { readonly overwrite?: boolean };
type Pulled = { readonly entry: ModelEntry; readonly dir: string; readonly result: PullResult };

export function modelPullCommand(run: Runner): Command {
  return withRoom(new Command("pull"))
    .argument("<model>", "id, alias or latest-{type}")
    .argument("<dir>", "folder to fill", filePath)
    .option("--overwrite", "replace files that are there with other content")
    .description("download a model, verified; the parts of a pipeline into folders of their types")
    .action(run<[string, string], PullModelOptions>(pull));
}

async function pull(
  context: Context,
  [text, dir]: [string, string],
  options: PullModelOptions,
): Promise<void> {
  const room = await context.room();
  const { model, aliases } = await show(context, room, text);
  const whole = await pullOne(
    context,
    room,
    { entry: model, dir, label: `model ${text}` },
    options,
  );
  const parts: Pulled[] = [];
  for (const part of model.pipeline?.parts ?? []) {
    const { model: entry } = await show(context, room, part.model);
    const into = { entry, dir: path.join(dir, part.model_type), label: part.model_type };
    parts.push(await pullOne(context, room, into, options));
  }
  const { artifact, seconds, sources, files, bytes } = whole.result;
  context.output.record({
    type: "done",
    model: model.id,
    aliases,
    artifact,
    bytes,
    seconds,
    sources,
    files,
    ...(parts.length === 0 ? {} : { parts: parts.map(recordOf) }),
  });
  context.output.line(`model ${model.id}: ${pullSummary(whole.result, dir)}`);
  for (const part of parts) {
    const { id, model_type } = part.entry;
    context.output.line(`  ${model_type} ${id}: ${pullSummary(part.result, part.dir)}`);
  }
}

async function show(context: Context, room: RoomId, text: string) {
  const model = decodeValue(ModelRef, text, `model "${text}"`);
  const hub = await context.client(room);
  return hub.call("showModel", { params: { room, model } }, { signal: context.signal });
}

async function pullOne(
  context: Context,
  room: RoomId,
  {
    entry,
    dir,
    label,
  }: { readonly entry: ModelEntry; readonly dir: string; readonly label: string },
  options: PullModelOptions,
): Promise<Pulled> {
  const result = await pullInto(context, room, { ref: entry.artifact, dir, label, ...options });
  return { entry, dir, result };
}

function recordOf({ entry, dir, result }: Pulled) {
  const { artifact, bytes, seconds, sources, files } = result;
  return {
    model: entry.id,
    modelType: entry.model_type,
    artifact,
    dir,
    bytes,
    seconds,
    sources,
    files,
  };
}
