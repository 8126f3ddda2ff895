// waybill model pin|unpin|rm|restore|removed: which models stay, and what became of those that did not.
import { Command } from "commander";
import { ModelId, ModelRef, WaybillError, decodeValue } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { personName } from "../live.ts";
import { withRoom } from "../options.ts";
import { formatBytes, formatTime, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";

type WhyOption = { readonly why?: string };
type RemoveOptions = WhyOption & { readonly dryRun?: boolean };

/** The commands, for `waybill model`. */
export function modelKeepingCommands(run: Runner): Command[] {
  return [
    withRoom(new Command("pin"))
      .argument("<model>", "id, alias or latest-{type}")
      .option("--why <text>", "kept with the pin")
      .description("keep a model whatever the room's rules say")
      .action(run<[string], WhyOption>(pin)),
    withRoom(new Command("unpin"))
      .argument("<model>", "id, alias or latest-{type}")
      .option("--why <text>", "for the hub's log")
      .description("leave a model to the room's rules again")
      .action(run<[string], WhyOption>(unpin)),
    withRoom(new Command("rm"))
      .argument(
        "<models...>",
        "ids; nothing is removed while an alias, a pin or a pipeline holds one",
      )
      .option("--why <text>", "kept for ever with each (needed)")
      .option("--dry-run", "only say what would be removed, and what holds it")
      .description("remove models; they can be restored until the grace period is over")
      .action(run<[string[]], RemoveOptions>(remove)),
    withRoom(new Command("restore"))
      .argument("<model>", "id of a removed model")
      .description("bring a removed model back")
      .action(run<[string]>(restore)),
    withRoom(new Command("removed"))
      .description("removed models, newest first: who removed each, when and why")
      .action(run<[]>(removed)),
  ];
}

async function pin(context: Context, [text]: [string], { why }: WhyOption): Promise<void> {
  const { hub, params } = await modelOf(context, text);
  const body = { ...(why === undefined ? {} : { why }), by: personName() };
  const model = await hub.call("pinModel", { params, body }, { signal: context.signal });
  context.output.record(model);
  context.output.line(`${model.id} is pinned${why === undefined ? "" : `: ${why}`}`);
}

async function unpin(context: Context, [text]: [string], { why }: WhyOption): Promise<void> {
  const { hub, params } = await modelOf(context, text);
  const body = { ...(why === undefined ? {} : { why }), by: personName() };
  const model = await hub.call("unpinModel", { params, body }, { signal: context.signal });
  context.output.record(model);
  context.output.line(`${model.id} is not pinned`);
}

async function modelOf(context: Context, text: string) {
  const room = await context.room();
  const model = decodeValue(ModelRef, text, `model "${text}"`);
  return { hub: await context.client(room), params: { room, model } };
}

async function remove(
  context: Context,
  [texts]: [string[]],
  { why, dryRun = false }: RemoveOptions,
): Promise<number | void> {
  const { output, signal } = context;
  if (why === undefined && !dryRun) {
    throw new WaybillError("invalid_request", "a removal needs a reason, which is kept for ever", {
      hint: "add --why 'what is wrong with it'",
    });
  }
  const room = await context.room();
  const models = texts.map((text) => decodeValue(ModelRef, text, `model "${text}"`));
  const hub = await context.client(room);
  const body = { models, why: why ?? "dry run", dryRun, by: personName() };
  const { removals } = await hub.call("removeModels", { params: { room }, body }, { signal });
  for (const one of removals) {
    output.record({ type: dryRun ? "would_remove" : "removed", ...one });
    const what = `${one.model} (${one.modelType}, ${formatBytes(one.bytes)})`;
    const until = `can be restored until ${formatTime(one.bytesUntil)} UTC`;
    if (one.heldBy.length > 0) output.line(`cannot remove ${what}: ${one.heldBy.join(", ")}`);
    else output.line(`${dryRun ? "would remove" : "removed"} ${what}; ${until}`);
  }
  if (dryRun) output.note("nothing was removed");
  return removals.some(({ heldBy }) => heldBy.length > 0) ? EXIT.conflict : EXIT.ok;
}

async function restore(context: Context, [text]: [string]): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const hub = await context.client(room);
  const params = { room, model: decodeValue(ModelId, text, `model "${text}"`) };
  const model = await hub.call("restoreModel", { params, body: { by: personName() } }, { signal });
  output.record(model);
  const pinned = model.pinned === undefined ? "" : `, and pinned: ${model.pinned.why ?? ""}`;
  output.line(`${model.id} is a model of room ${room} again${pinned}`);
}

async function removed(context: Context): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const hub = await context.client(room);
  const { removed: tombstones } = await hub.call("listRemoved", { params: { room } }, { signal });
  for (const one of tombstones) output.record({ type: "removed_model", ...one });
  if (tombstones.length === 0) return output.line(`no model was removed from room ${room}`);
  const rows = tombstones.map(({ entry, who, by, when, why, state, bytes_until }) => [
    entry.id,
    entry.model_type,
    formatBytes(entry.storage.size_bytes),
    formatTime(when),
    by ?? who.slice(0, 12),
    state === "held" ? formatTime(bytes_until) : state === "purging" ? "going now" : "gone",
    why,
  ]);
  const head = ["ID", "TYPE", "SIZE", "REMOVED (UTC)", "BY", "RESTORABLE UNTIL", "WHY"];
  output.line(table([head, ...rows]));
}
