// waybill model import: a folder or file that holds a model becomes a model of the room.
import { Command, Option } from "commander";
import type { ImportOptions } from "../model-folder/import-model.ts";
import { collect, filePath, withRoom } from "../options.ts";
import type { Runner } from "../runner.ts";

export function modelImportCommand(run: Runner): Command {
  return withRoom(new Command("import"))
    .argument("<path>", "folder or file", filePath)
    .option("--type <type>", "kind of model (default: what the folder says)")
    .option("-a, --alias <name>", "name the model")
    .option("-t, --tag <tag>", "tag the model (repeatable)", collect)
    .option("--notes <text>", "kept with the model")
    .option("--run-name <name>", "tells trainings apart that are otherwise alike")
    .option("--parent <model>", "the model of this room it was fine-tuned from")
    .option("--dataset <ref>", "the data set of this room it was trained on")
    .addOption(
      new Option("--format <format>", "how the folder is laid out")
        .choices(["auto", "sleap", "huggingface", "checkpoint"])
        .default("auto"),
    )
    .option("--dry-run", "say what would be imported, and send nothing")
    .description("make a SLEAP run, a Hugging Face folder, a checkpoint or an export a model")
    .action(
      run<[string], ImportOptions>(async (context, [path], options) => {
        // Reads YAML, which no other command should wait for.
        const { importModel } = await import("../model-folder/import-model.ts");
        await importModel(context, path, options);
      }),
    );
}
