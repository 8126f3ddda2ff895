// Where everything a command says goes: one JSON object a line with --json, else text for people.
// On a terminal, a block of status lines is redrawn in place; without one, only lasting lines are printed.
import type { Writable } from "node:stream";
import { printable } from "./format.ts";

export type OutputInit = {
  readonly json: boolean;
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
};

/** Redraws no faster than this: a terminal over a slow link is a slow viewer too. */
const REDRAW_MS = 66;

export class Output {
  readonly json: boolean;
  readonly interactive: boolean;
  readonly #out: OutputInit["stdout"];
  readonly #err: OutputInit["stderr"];
  #drawn = 0;
  #lastDrawMs = 0;

  constructor(init: OutputInit) {
    this.json = init.json;
    this.#out = init.stdout;
    this.#err = init.stderr;
    this.interactive = !init.json && init.stderr.isTTY === true && process.env["TERM"] !== "dumb";
  }

  /** Characters that fit into a status line. */
  get width(): number {
    return (this.#err.columns ?? 80) - 1;
  }

  /** Characters of a line of result: the terminal's, or what a page or a log shows of one. */
  get columns(): number {
    return this.#out.columns ?? 80;
  }

  /** One JSON line; nothing without --json. */
  record(value: object): void {
    if (this.json) this.#out.write(`${JSON.stringify(value)}\n`);
  }

  /** A line of result for people; nothing with --json. */
  line(text = ""): void {
    if (this.json) return;
    this.#erase();
    this.#out.write(`${safe(text)}\n`);
  }

  /** A line about what goes on, on stderr; nothing with --json. */
  note(text: string): void {
    if (this.json) return;
    this.#erase();
    this.#err.write(`${safe(text)}\n`);
  }

  /** A line on stderr in every mode. */
  complain(text: string): void {
    this.#erase();
    this.#err.write(`${safe(text)}\n`);
  }

  /** Replaces the status block; does nothing without a terminal. */
  status(lines: readonly string[], force = false): void {
    if (!this.interactive) return;
    const nowMs = performance.now();
    if (!force && nowMs - this.#lastDrawMs < REDRAW_MS) return;
    this.#lastDrawMs = nowMs;
    const { width } = this;
    const up = this.#drawn > 0 ? `\u001B[${this.#drawn}A` : "";
    const text = lines.map((line) => `\u001B[2K${clip(printable(line), width)}\n`).join("");
    this.#err.write(`${up}${text}\u001B[J`);
    this.#drawn = lines.length;
  }

  /** Leaves the last status block on the screen and starts below it. */
  settle(): void {
    this.#drawn = 0;
  }

  #erase(): void {
    if (this.#drawn === 0) return;
    this.#err.write(`\u001B[${this.#drawn}A\u001B[J`);
    this.#drawn = 0;
  }
}

function clip(line: string, width: number): string {
  // Code points, so that no character is cut in half.
  const characters = Array.from(line);
  return characters.length <= width ? line : `${characters.slice(0, width - 1).join("")}…`;
}

/** Lines stay lines; everything else that steers a terminal is made visible. */
function safe(text: string): string {
  return text.split("\n").map(printable).join("\n");
}
