// One link of a lab: two TUN devices with `wan.c` between them, which delays, loses and limits packets and
// counts them. Its commands are lines; each is answered by one line of JSON.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { run } from "./commands.ts";

/** How one direction of a link behaves. */
export type Shape = {
  /** Megabits a second, headers included; no limit when left out. */
  readonly rateMbit?: number;
  /** One way, in milliseconds. */
  readonly delayMs?: number;
  /** Random loss, in percent of the packets. */
  readonly lossPercent?: number;
  /** How long a packet may wait for a limited link before it is dropped; 100 ms by default. */
  readonly queueMs?: number;
};

type WayCounts = {
  readonly packets: number;
  /** With IP and TCP headers. */
  readonly bytes: number;
  /** What TCP carried, resends included. */
  readonly payloadBytes: number;
  /** By random loss or because the link was unplugged. */
  readonly lost: number;
  /** Because the queue was full. */
  readonly dropped: number;
};

export type LinkCounts = { readonly up: WayCounts; readonly down: WayCounts };

const SOURCE = fileURLToPath(new URL("wan.c", import.meta.url));

/** Compiles the forwarder. */
export async function compileWan(binary: string): Promise<void> {
  await run("cc", "-O2", "-o", binary, SOURCE);
}

export class Wan implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(child: ChildProcess, answers: AsyncIterator<string>) {
    this.#child = child;
    this.#answers = answers;
  }

  /** Starts the forwarder between two namespaces; both devices exist once it is open. */
  static async open(init: {
    binary: string;
    from: { file: string; device: string };
    to: { file: string; device: string };
    seed: number;
  }): Promise<Wan> {
    const { from, to } = init;
    const child = spawn(
      init.binary,
      [from.file, from.device, to.file, to.device, String(init.seed)],
      { stdio: ["pipe", "pipe", "pipe"], detached: true },
    );
    let said = "";
    child.stderr.on("data", (data: Buffer) => (said += data.toString()));
    child.stdin.on("error", () => undefined);
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await answers.next();
    if (first.done === true) throw new Error(`the link did not start: ${said.trim()}`);
    return new Wan(child, answers);
  }

  /** Sets one direction anew; what is under way arrives as it would have. */
  async shape(way: "up" | "down", shape: Shape): Promise<void> {
    const rate = Math.round((shape.rateMbit ?? 0) * 1e6);
    const delay = Math.round((shape.delayMs ?? 0) * 1000);
    const loss = Math.round((shape.lossPercent ?? 0) * 10_000);
    const queue = Math.round((shape.queueMs ?? 100) * 1000);
    await this.#ask(`set ${way} ${rate} ${delay} ${loss} ${queue}`);
  }

  /** Lets every packet vanish, as out of reach of a Wi-Fi; nobody is told. */
  async unplug(): Promise<void> {
    await this.#ask("unplug");
  }

  async plug(): Promise<void> {
    await this.#ask("plug");
  }

  /** What entered the link so far, by direction. */
  async counts(): Promise<LinkCounts> {
    return JSON.parse(await this.#ask("stats")) as LinkCounts;
  }

  /** One command at a time; its answer. */
  async #ask(command: string): Promise<string> {
    const answer = this.#turn.then(async () => {
      this.#child.stdin?.write(`${command}\n`);
      const { value, done } = await this.#answers.next();
      if (done === true) throw new Error("the link's process has ended");
      return value;
    });
    this.#turn = answer.catch(() => undefined);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.stdin?.end();
    await ended;
  }
}
