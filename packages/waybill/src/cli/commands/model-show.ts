// waybill model show: everything the registry says of a model.
import { Command } from "commander";
import { type ModelEntry, ModelRef, type WorkerInfo, decodeValue } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { withRoom } from "../options.ts";
import { modelLines } from "../render/model-view.ts";
import type { Runner } from "../runner.ts";

export function modelShowCommand(run: Runner): Command {
  return withRoom(new Command("show"))
    .argument("<model>", "id, alias or latest-{type}")
    .description("everything the registry says of a model, also of one that was removed")
    .action(run<[string]>(show));
}

async function show(context: Context, [text]: [string]): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const model = decodeValue(ModelRef, text, `model "${text}"`);
  const hub = await context.client(room);
  const [details, { workers }] = await Promise.all([
    hub.call("modelDetails", { params: { room, model } }, { signal }),
    hub.call("listWorkers", { params: { room } }, { signal }),
  ]);
  const { model: entry, ...around } = details;
  const cachedOn = cachingWorkers(entry, workers);
  output.record({ ...entry, ...around, cached_on: cachedOn });
  const names = cachedOn.map(({ name }) => name);
  const worker = workers.find(({ workerId }) => workerId === entry.training.worker)?.name;
  const lines = modelLines(details, { width: output.columns, cachedOn: names, worker });
  for (const line of lines) output.line(line);
}

/** Workers of the room that have the model in their cache now, by name. */
function cachingWorkers(
  { artifact, availability }: ModelEntry,
  workers: readonly WorkerInfo[],
): { readonly worker_id: string; readonly name: string }[] {
  const told = new Set<string>(availability.cached_on_workers.map((one) => one.worker_id));
  return workers
    .filter(({ workerId, cached }) => told.has(workerId) || cached?.includes(artifact) === true)
    .map(({ workerId, name }) => ({ worker_id: workerId, name }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
