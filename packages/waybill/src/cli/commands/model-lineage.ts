// waybill model lineage: what a model was made from, and what it led to.
import { Command, Option } from "commander";
import { ModelRef, decodeValue } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { wholeNumber, withRoom } from "../options.ts";
import { lineageDot, lineageMermaid, lineageTree } from "../render/lineage-view.ts";
import type { Runner } from "../runner.ts";

type LineageOptions = {
  readonly depth: number;
  readonly format: "text" | "dot" | "mermaid";
};

/** A tree of more generations leaves no room on a screen for what it says. */
const DEFAULT_DEPTH = 12;
/** What the route takes, rounded down. */
const MAX_DEPTH = 1000;

export function modelLineageCommand(run: Runner): Command {
  return withRoom(new Command("lineage"))
    .argument("<model>", "id, alias or latest-{type}")
    .option("--depth <n>", `generations each way (${DEFAULT_DEPTH})`, wholeNumber(0), DEFAULT_DEPTH)
    .addOption(
      new Option("--format <format>", "text, or a graph for Graphviz or Mermaid")
        .choices(["text", "dot", "mermaid"])
        .default("text"),
    )
    .description("the data sets, models, jobs and code a model comes from, and what it led to")
    .action(run<[string], LineageOptions>(lineage));
}

async function lineage(
  context: Context,
  [text]: [string],
  { depth, format }: LineageOptions,
): Promise<void> {
  const { output, signal } = context;
  const room = await context.room();
  const model = decodeValue(ModelRef, text, `model "${text}"`);
  const hub = await context.client(room);
  const query = { depth: String(Math.min(depth, MAX_DEPTH)) };
  const graph = await hub.call("modelLineage", { params: { room, model }, query }, { signal });
  output.record(graph);
  const draw = {
    text: () => lineageTree(graph, output.columns),
    dot: () => lineageDot(graph),
    mermaid: () => lineageMermaid(graph),
  };
  for (const line of draw[format]()) output.line(line);
}
