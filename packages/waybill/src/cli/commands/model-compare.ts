// waybill model compare: models side by side.
import { Command } from "commander";
import { type MetricCurve, readCurves } from "@waybill/sdk/client";
import { ModelRef, WaybillError, decodeValue, isAbort } from "@waybill/sdk/protocol";
import { type AskedDirections, compareModels } from "@waybill/sdk/registry";
import type { Context } from "../context.ts";
import { collect, withRoom } from "../options.ts";
import { comparedCurves, compareLines } from "../render/compare-view.ts";
import type { Runner } from "../runner.ts";

type CompareOptions = {
  readonly all?: boolean;
  readonly lowerIsBetter?: string[];
  readonly higherIsBetter?: string[];
  readonly curves: boolean;
};

/** As many as are still told apart on a screen. */
const MAX_MODELS = 8;

export function modelCompareCommand(run: Runner): Command {
  return withRoom(new Command("compare"))
    .argument("<models...>", "two models or more: id, alias or latest-{type}")
    .option("--all", "also what is equal")
    .option("--lower-is-better <metric>", "for this metric (repeatable)", collect)
    .option("--higher-is-better <metric>", "for this metric (repeatable)", collect)
    .option("--no-curves", "do not read the jobs' event logs")
    .description("what differs in configuration, data and code; metrics and their curves")
    .action(run<[string[]], CompareOptions>(compare));
}

async function compare(
  context: Context,
  [texts]: [string[]],
  options: CompareOptions,
): Promise<void> {
  const { output, signal } = context;
  if (texts.length < 2 || texts.length > MAX_MODELS) {
    throw new WaybillError("invalid_request", `compare takes 2 to ${MAX_MODELS} models`);
  }
  const refs = texts.map((text) => decodeValue(ModelRef, text, `model "${text}"`));
  const room = await context.room();
  const hub = await context.client(room);
  const found = await Promise.all(
    refs.map((model) => hub.call("modelDetails", { params: { room, model } }, { signal })),
  );
  const models = found.map(({ model }) => model);
  assertDistinct(
    models.map(({ id }) => id),
    texts,
  );
  const comparison = compareModels(models, directionsOf(options));
  const curves = await Promise.all(
    models.map(async ({ training: { job } }) =>
      job === undefined || !options.curves
        ? new Map<string, MetricCurve>()
        : readCurves(hub, { room, job, signal }).catch((error: unknown) => {
            if (isAbort(error)) throw error;
            output.note(`note: the events of ${job} cannot be read: ${String(error)}`);
            return new Map<string, MetricCurve>();
          }),
    ),
  );
  const shared = comparedCurves(comparison.models, curves);
  const { config, facts, ...rest } = comparison;
  const kept = <V extends { readonly differs: boolean }>(values: readonly V[]) =>
    values.filter(({ differs }) => differs || options.all === true);
  output.record({
    type: "comparison",
    ...rest,
    facts: kept(facts),
    config: kept(config),
    curves: shared,
  });
  const names = Object.fromEntries(
    found.map(({ model, aliases, tombstone }) => [
      model.id,
      tombstone === undefined ? aliases.join(", ") : "removed",
    ]),
  );
  const view = { width: output.columns, all: options.all === true, names };
  for (const line of compareLines(comparison, shared, view)) output.line(line);
}

function assertDistinct(ids: readonly string[], texts: readonly string[]): void {
  ids.forEach((id, i) => {
    const first = ids.indexOf(id);
    if (first === i) return;
    throw new WaybillError(
      "invalid_request",
      `${texts[first]} and ${texts[i]} are one model, ${id}`,
    );
  });
}

function directionsOf({ lowerIsBetter = [], higherIsBetter = [] }: CompareOptions) {
  return Object.fromEntries([
    ...lowerIsBetter.map((key) => [key, "lower"] as const),
    ...higherIsBetter.map((key) => [key, "higher"] as const),
  ]) satisfies AskedDirections;
}
