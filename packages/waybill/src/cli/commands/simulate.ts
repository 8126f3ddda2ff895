// waybill simulate: what a year of work would cost with the store alone, with caches, with peers, with proxies.
import { readFile, writeFile } from "node:fs/promises";
import { Command } from "commander";
import { WaybillError, messageOf } from "@waybill/sdk/protocol";
import {
  type Assumptions,
  DEFAULT_ASSUMPTIONS,
  assumptionsOf,
  withSettings,
} from "../../simulate/assumptions.ts";
import { simulate } from "../../simulate/simulate.ts";
import type { Context } from "../context.ts";
import { collect, filePath, withCommon } from "../options.ts";
import { outcomeLines } from "../render/simulation.ts";
import type { Runner } from "../runner.ts";

type SimulateOptions = {
  readonly assumptions?: string;
  readonly set?: string[];
  readonly write?: string;
};

export function simulateCommand(run: Runner): Command {
  return withCommon(new Command("simulate"))
    .option("--assumptions <file>", "JSON; what it leaves out is as in the defaults", filePath)
    .option(
      "--set <key=value>",
      "one assumption, such as workers.desktopShare=0.2 (repeatable)",
      collect,
    )
    .option("--write <file>", "write the assumptions to a new file instead, to be edited", filePath)
    .description("replay a year of 2,000 users and compare what it costs by where models come from")
    .action(run<[], SimulateOptions>(show));
}

async function show(context: Context, _: [], options: SimulateOptions): Promise<void> {
  const assumptions = withSettings(await read(options.assumptions), options.set ?? []);
  const { output } = context;
  if (options.write !== undefined) {
    await write(options.write, assumptions);
    output.record({ type: "written", file: options.write });
    output.line(
      `wrote ${options.write}; edit it, then: waybill simulate --assumptions ${options.write}`,
    );
    return;
  }
  const outcomes = simulate(assumptions);
  for (const outcome of outcomes) output.record({ type: "scenario", ...outcome });
  for (const line of outcomeLines(outcomes, assumptions)) output.line(line);
}

async function read(file: string | undefined): Promise<Assumptions> {
  if (file === undefined) return DEFAULT_ASSUMPTIONS;
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    const missing = cause.code === "ENOENT";
    throw new WaybillError(
      missing ? "not_found" : "local_io",
      missing ? `there is no file ${file}` : `cannot read ${file}: ${messageOf(cause)}`,
      { cause, hint: `write one with \`waybill simulate --write ${file}\`` },
    );
  });
  return assumptionsOf(text, file);
}

async function write(file: string, assumptions: Assumptions): Promise<void> {
  const text = `${JSON.stringify({ "//": ABOUT, ...assumptions }, undefined, 2)}\n`;
  try {
    await writeFile(file, text, { flag: "wx" });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw new WaybillError(
      exists ? "conflict" : "local_io",
      exists ? `${file} exists already` : `cannot write ${file}: ${messageOf(cause)}`,
      { cause, hint: "name another file" },
    );
  }
}

const ABOUT =
  "What `waybill simulate --assumptions FILE` supposes. Shares are of 1, gigabytes have 1000 megabytes, prices are of a month. Keys that begin with // are comments.";
