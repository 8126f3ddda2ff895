// The `waybill` command: one file per command in commands/, composed here.
import { setFlagsFromString } from "node:v8";
import { Command, CommanderError } from "commander";
import { aliasCommand } from "./commands/alias.ts";
import { cacheProxyCommand } from "./commands/cache-proxy.ts";
import { gcCommand } from "./commands/gc.ts";
import { hubCommand } from "./commands/hub.ts";
import { jobCommand } from "./commands/job.ts";
import { cacheCommand } from "./commands/cache.ts";
import { artifactCommand } from "./commands/artifact.ts";
import { modelCommand } from "./commands/model.ts";
import { pullCommand } from "./commands/pull.ts";
import { pushCommand } from "./commands/push.ts";
import { registryCommand } from "./commands/registry.ts";
import { roomCommand } from "./commands/room.ts";
import { simulateCommand } from "./commands/simulate.ts";
import { trainCommand } from "./commands/train.ts";
import { uploadsCommand } from "./commands/uploads.ts";
import { verifyCommand } from "./commands/verify.ts";
import { workerCommand } from "./commands/worker.ts";
import { EXAMPLES } from "./examples.ts";
import { EXIT } from "./exit.ts";
import { run } from "./runner.ts";
import { VERSION } from "../version.ts";

/** Far longer than what is left to write takes. */
const LINGER_MS = 2000;

/** Narrowest column for descriptions in a help text; commander's own 40 leaves lines of 130 characters beside long terms. */
const MIN_HELP_COLUMN = 20;

/** Builds the whole command tree. */
export function buildProgram(): Command {
  const program = new Command("waybill")
    .description("Move big machine-learning data, train where it lands, keep the models.")
    .version(VERSION)
    .addHelpText(
      "after",
      `
A first run, each in its own terminal:
  $ waybill hub
  $ waybill room create lab && waybill worker --room lab
  $ waybill train --room lab --dataset ./data --alias prod-v1 --tag baseline -- python3 train.py
  $ waybill model pull prod-v1 ./out --room lab

Exit codes: 0 ok, 1 failed, 2 usage, 3 not authorised, 4 not found, 5 conflict, 6 unreachable, 7 job cancelled, 8 receipt not genuine.
`,
    );
  for (const make of [
    hubCommand,
    workerCommand,
    cacheProxyCommand,
    roomCommand,
    pushCommand,
    pullCommand,
    uploadsCommand,
    artifactCommand,
    cacheCommand,
    verifyCommand,
    trainCommand,
    jobCommand,
    modelCommand,
    registryCommand,
    aliasCommand,
    gcCommand,
    simulateCommand,
  ]) {
    program.addCommand(make(run));
  }
  finish(program, []);
  return program;
}

/** Adds the examples, and makes commander throw: it would exit with 1 on wrong usage (ours is 2) and cut off what is being written. */
function finish(command: Command, words: readonly string[]): void {
  command
    .exitOverride()
    .showHelpAfterError("(add --help for what it takes)")
    .showSuggestionAfterError()
    .configureHelp({ minWidthToWrap: MIN_HELP_COLUMN });
  const examples = EXAMPLES[words.join(" ")] ?? [];
  if (examples.length > 0) {
    const title = examples.length === 1 ? "Example" : "Examples";
    command.addHelpText(
      "after",
      `\n${title}:\n${examples.map((line) => `  $ ${line}\n`).join("")}`,
    );
  }
  for (const child of command.commands) finish(child, [...words, child.name()]);
}

/**
 * Keeps V8's young generation at its first size (2 MiB): by default it grows to 128 MiB under a stream of small
 * buffers, which is most of what a process that moves gigabytes would occupy. Unlike --max-semi-space-size this
 * may be set while running.
 */
function limitYoungGeneration(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}

/** Runs the command line; sets `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  limitYoungGeneration();
  // `waybill … | head` closes our stdout early; that is no error of ours.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(EXIT.ok);
    process.stderr.write(`waybill: cannot write the output (${error.code ?? error.message})\n`);
    process.exit(EXIT.failed);
  });
  try {
    await buildProgram().parseAsync([...argv]);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error.exitCode !== 0 && wantsJson(argv)) {
      // commander has told people on stderr.
      const message = error.message.replace(/^error: /, "");
      process.stdout.write(
        `${JSON.stringify({ type: "error", code: "invalid_request", message })}\n`,
      );
    }
  }
  // A socket to a hub that hangs may stay half closed; it must not keep a finished command alive. The timer
  // itself keeps nothing alive, so output that is still being written is not cut off by it.
  setTimeout(() => process.exit(), LINGER_MS).unref();
}

/** Whether --json was given, before a trainer's own words begin. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end === -1 ? undefined : end).includes("--json");
}
