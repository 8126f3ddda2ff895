// waybill model watch: a line for every model that is published in the room, as it is.
import { Command } from "commander";
import { type ModelEntry, ModelType, type RoomId, decodeValue } from "@waybill/sdk/protocol";
import type { HubClient } from "@waybill/sdk/hub-client";
import { type ModelPublished, publishedNotice } from "@waybill/sdk/registry";
import type { Context } from "../context.ts";
import { openLive } from "../live.ts";
import { wholeNumber, withRoom } from "../options.ts";
import { formatBytes } from "../render/format.ts";
import type { Runner } from "../runner.ts";

type WatchOptions = { readonly type?: string; readonly limit?: number };

export function modelWatchCommand(run: Runner): Command {
  return withRoom(new Command("watch"))
    .option("--type <type>", "only models of this type")
    .option("--limit <n>", "end after so many", wholeNumber(1))
    .description("tell of every model that is published, until Ctrl-C")
    .action(run<[], WatchOptions>(watch));
}

async function watch(context: Context, _: [], options: WatchOptions): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const type =
    options.type === undefined ? undefined : decodeValue(ModelType, options.type, "--type");
  const hub = await context.client(room, "transfer");
  await using live = await openLive(context, room, hub);
  const over = Promise.withResolvers<void>();
  const told = new Set<string>();
  const tell = (model: ModelPublished): void => {
    if (told.has(model.model) || (type !== undefined && model.modelType !== type)) return;
    told.add(model.model);
    output.record(model);
    output.line(lineOf(model));
    if (told.size === options.limit) over.resolve();
  };
  // What was there before is not told; what comes while the line is down is, once it is back.
  const before = new Set((await modelsOf(hub, room, signal)).map(({ id }) => id));
  const catchUp = async (): Promise<void> => {
    for (const entry of await modelsOf(hub, room, signal)) {
      if (!before.has(entry.id)) tell(publishedNotice(entry));
    }
  };
  let connected = false;
  live.session.on("model.published", tell);
  live.session.on("welcome", () => {
    if (!connected) {
      output.record({ type: "watching", room });
      output.note(`waiting for models of room ${room}`);
    }
    connected = true;
    catchUp().catch((error: unknown) => over.reject(error));
  });
  live.session.on("failed", (error) => over.reject(error));
  signal.addEventListener("abort", () => over.reject(signal.reason as Error), { once: true });
  await over.promise;
}

async function modelsOf(hub: HubClient, room: RoomId, signal: AbortSignal): Promise<ModelEntry[]> {
  const { models } = await hub.call(
    "readRegistry",
    { params: { room } },
    { signal, retryForMs: Number.POSITIVE_INFINITY },
  );
  return Object.values(models).toSorted((a, b) =>
    a.training.trained_at.localeCompare(b.training.trained_at),
  );
}

/** `3f9a12cc unet as prod-v1 (12.0 MiB), job j_…` */
function lineOf({ model, modelType, alias, bytes, job }: ModelPublished): string {
  const name = alias === undefined ? "" : ` as ${alias}`;
  const by = job === undefined ? "" : `, job ${job}`;
  return `${model} ${modelType}${name} (${formatBytes(bytes)})${by}`;
}
