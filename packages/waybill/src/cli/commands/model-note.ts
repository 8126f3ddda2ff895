// waybill model note: what people write about a model.
import { ModelRef, type ModelEntry, WaybillError, decodeValue } from "@waybill/sdk/protocol";
import { Command } from "commander";
import { text as readText } from "node:stream/consumers";
import type { Context } from "../context.ts";
import { personName } from "../live.ts";
import { withRoom } from "../options.ts";
import { formatTime } from "../render/format.ts";
import type { Runner } from "../runner.ts";

export function modelNoteCommand(run: Runner): Command {
  return withRoom(new Command("note"))
    .argument("<model>", "id, alias or latest-{type}")
    .argument(
      "[text]",
      "the new notes; - reads them from standard input; without it they are shown",
    )
    .option("--clear", "remove the notes")
    .description("show, replace or clear a model's notes")
    .action(run<[string, string | undefined], { clear?: boolean }>(note));
}

async function note(
  context: Context,
  [name, given]: [string, string | undefined],
  { clear = false }: { clear?: boolean },
): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const params = { room, model: decodeValue(ModelRef, name, `model "${name}"`) };
  if (clear && given !== undefined) {
    throw new WaybillError("invalid_request", "a text and --clear exclude each other");
  }
  const hub = await context.client(room);
  if (!clear && given === undefined) {
    const { model } = await hub.call("showModel", { params }, { signal });
    output.record(recordOf(model));
    output.line(model.notes ?? `model ${model.id} has no notes`);
    const { noted } = model;
    if (noted !== undefined) {
      output.note(`  ${formatTime(noted.when)} UTC by ${noted.by ?? noted.who.slice(0, 8)}`);
    }
    return;
  }
  const text = clear
    ? ""
    : given === "-"
      ? (await readText(process.stdin)).trimEnd()
      : (given ?? "");
  if (!clear && text === "") {
    throw new WaybillError("invalid_request", "the notes would be empty", {
      hint: `to remove them: waybill model note ${name} --clear`,
    });
  }
  const body = { text, by: personName() };
  const { model, before } = await hub.call("setNote", { params, body }, { signal });
  output.record({ ...recordOf(model), ...(before === undefined ? {} : { before }) });
  output.line(`notes of model ${model.id} ${clear ? "cleared" : "written"}`);
  if (before !== undefined && before !== text) output.note(`  they were: ${before}`);
}

function recordOf({ id, notes, noted }: ModelEntry) {
  return {
    type: "note",
    model: id,
    ...(notes === undefined ? {} : { notes }),
    ...(noted === undefined ? {} : { noted }),
  };
}
