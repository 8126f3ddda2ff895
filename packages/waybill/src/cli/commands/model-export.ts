// waybill model export: a model as a plain folder with its card.
import { Command } from "commander";
import { filePath, withRoom } from "../options.ts";
import type { Runner } from "../runner.ts";

export function modelExportCommand(run: Runner): Command {
  return withRoom(new Command("export"))
    .argument("<model>", "id, alias or latest-{type}")
    .argument("<dir>", "folder to fill", filePath)
    .option("--overwrite", "replace files that are there with other content")
    .description(
      "download a model, verified, with a Markdown card beside its files; a pipeline's parts in folders named by their types",
    )
    .action(
      run<[string, string], { overwrite?: boolean }>(async (context, [text, dir], options) => {
        // Reads and writes YAML, which no other command should wait for.
        const { exportModel } = await import("../model-folder/export-model.ts");
        await exportModel(context, text, dir, options);
      }),
    );
}
