// Turns a command's function into a commander action: proxies, context, Ctrl-C, errors and the exit code.
import { useProxiesOfEnvironment } from "@waybill/sdk/platform";
import type { Command } from "commander";
import { type CommonOptions, Context } from "./context.ts";
import { EXIT, reportFailure } from "./exit.ts";
import { Output } from "./render/output.ts";

/** What a command does; the number is its exit code, nothing means 0. */
type CommandBody<A extends readonly unknown[], O extends object> = (
  context: Context,
  args: A,
  options: O & CommonOptions,
) => Promise<number | void>;

export type Runner = <A extends readonly unknown[], O extends object = object>(
  body: CommandBody<A, O>,
) => (...given: unknown[]) => Promise<void>;

/** The first SIGINT or SIGTERM asks the command to end cleanly; a second SIGINT ends it at once. */
function interruptible(): { signal: AbortSignal; dispose: () => void } {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort(new DOMException("interrupted", "AbortError"));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return {
    signal: controller.signal,
    dispose: () => {
      process.off("SIGINT", onSignal);
      process.off("SIGTERM", onSignal);
    },
  };
}

/** Sets `process.exitCode`; commander's own usage errors are handled in main. */
export const run: Runner =
  <A extends readonly unknown[], O extends object>(body: CommandBody<A, O>) =>
  async (...given: unknown[]): Promise<void> => {
    // commander calls (…arguments, options, command)
    const command = given.at(-1) as Command;
    const options: O & CommonOptions = command.optsWithGlobals();
    const args = given.slice(0, -2) as unknown as A;
    const { signal, dispose } = interruptible();
    try {
      useProxiesOfEnvironment();
      const context = new Context(options, signal);
      process.exitCode = (await body(context, args, options)) ?? EXIT.ok;
    } catch (error) {
      const output = new Output({
        json: options.json === true,
        stdout: process.stdout,
        stderr: process.stderr,
      });
      process.exitCode = reportFailure(error, output, options.debug === true);
    } finally {
      dispose();
    }
  };
