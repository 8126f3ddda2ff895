// Real `waybill` processes: started from the built bin, read as JSON lines, always ended. Used by the
// end-to-end and fault tests and by the demo.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../../packages/waybill/bin/waybill.js", import.meta.url));

export type Line = Record<string, unknown>;

/** The environment without any Waybill or AWS setting of the machine, and with those given. */
export function cleanEnvironment(settings: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([key]) => !key.startsWith("WAYBILL_") && !key.startsWith("AWS_"),
  );
  return { ...Object.fromEntries(kept), ...settings };
}

/** A running `waybill … --json`; `prefix` are words that run it elsewhere, such as in another network. */
export class WaybillProcess implements AsyncDisposable {
  readonly name: string;
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<Line>;
  readonly #errors: string[] = [];

  constructor(
    args: readonly string[],
    settings: NodeJS.ProcessEnv,
    options: { name?: string; cwd?: string; prefix?: readonly string[] } = {},
  ) {
    this.name = options.name ?? args.slice(0, 2).join(" ");
    // --json goes before a `--` that starts a trainer's command.
    const at = args.indexOf("--");
    const words =
      at === -1 ? [...args, "--json"] : [...args.slice(0, at), "--json", ...args.slice(at)];
    const [program = process.execPath, ...rest] = options.prefix ?? [];
    const own = rest.length > 0 ? [process.execPath] : [];
    this.child = spawn(program, [...rest, ...own, BIN, ...words], {
      env: cleanEnvironment(settings),
      stdio: ["ignore", "pipe", "pipe"],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    // From the start: what a process printed before it ended is thrown away when nobody listens by then.
    this.#lines = this.#read();
    this.child.stderr?.on("data", (data: Buffer) => {
      this.#errors.push(data.toString());
      if (this.#errors.length > 50) this.#errors.shift();
    });
  }

  #read(): AsyncIterator<Line> {
    const { stdout } = this.child;
    const lines = stdout === null ? [] : createInterface({ input: stdout })[Symbol.asyncIterator]();
    return decoded(lines);
  }

  /** The next line; throws with what the process said when it ended instead. */
  async next(): Promise<Line> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`${this.name} ended early: ${this.errors}`);
    return value;
  }

  /** Lines up to and including the first that fits. */
  async until(fits: (line: Line) => boolean): Promise<Line[]> {
    const seen: Line[] = [];
    for (;;) {
      const line = await this.next();
      seen.push(line);
      if (fits(line)) return seen;
    }
  }

  /** Every further line. */
  async *rest(): AsyncGenerator<Line> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done === true) return;
      yield value;
    }
  }

  /** Reads on without looking, so that a full pipe never halts the process. */
  drain(): void {
    void (async () => {
      for await (const _ of this.rest());
    })();
  }

  /** Waits for the end; the exit code, or `null` when a signal ended it. */
  async exit(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null)
      await once(this.child, "exit");
    return this.child.exitCode;
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.exit();
  }

  /** SIGTERM, then SIGKILL after ten seconds. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGTERM");
    const force = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    await this.exit();
    clearTimeout(force);
  }

  get errors(): string {
    return this.#errors.join("").trim();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

async function* decoded(lines: Iterable<string> | AsyncIterable<string>): AsyncGenerator<Line> {
  for await (const line of lines) yield JSON.parse(line) as Line;
}

export type Outcome = {
  readonly code: number | null;
  readonly lines: Line[];
  readonly errors: string;
};

/** Runs a command to its end. */
export async function runWaybill(
  args: readonly string[],
  settings: NodeJS.ProcessEnv,
  options: { cwd?: string } = {},
): Promise<Outcome> {
  await using command = new WaybillProcess(args, settings, options);
  const lines: Line[] = [];
  for await (const line of command.rest()) lines.push(line);
  return { code: await command.exit(), lines, errors: command.errors };
}

/** Runs a command that must succeed; its last line. */
export async function ask(
  args: readonly string[],
  settings: NodeJS.ProcessEnv,
  options: { cwd?: string } = {},
): Promise<Line> {
  const { code, lines, errors } = await runWaybill(args, settings, options);
  if (code !== 0) throw new Error(`waybill ${args.join(" ")} exited with ${code}: ${errors}`);
  return lines.at(-1) ?? {};
}
