// waybill model …: the room's registry.
import { Command } from "commander";
import type { Runner } from "../runner.ts";
import { modelAliasCommand } from "./alias.ts";
import { modelCompareCommand } from "./model-compare.ts";
import { modelExportCommand } from "./model-export.ts";
import { modelImportCommand } from "./model-import.ts";
import { modelKeepingCommands } from "./model-keeping.ts";
import { modelLineageCommand } from "./model-lineage.ts";
import { modelLsCommand } from "./model-ls.ts";
import { modelNoteCommand } from "./model-note.ts";
import { modelPullCommand } from "./model-pull.ts";
import { modelShowCommand } from "./model-show.ts";
import { modelTagCommand } from "./model-tag.ts";
import { modelWatchCommand } from "./model-watch.ts";

export function modelCommand(run: Runner): Command {
  const model = new Command("model").description("list, show, fetch and name trained models");
  for (const make of [
    modelLsCommand,
    modelShowCommand,
    modelLineageCommand,
    modelCompareCommand,
    modelImportCommand,
    modelExportCommand,
    modelPullCommand,
    modelAliasCommand,
    modelTagCommand,
    modelNoteCommand,
    modelWatchCommand,
  ]) {
    model.addCommand(make(run));
  }
  for (const command of modelKeepingCommands(run)) model.addCommand(command);
  return model;
}
