// Resets every TCP connection of a namespace that reaches an age: both ends learn of it at once, as with
// the middleboxes that do this. `ss` lists the sockets and kills those that are due.
import { run } from "./commands.ts";

/** How often the sockets are looked at: how exact an age is. */
const LOOK_MS = 100;

export class AgeLimit implements AsyncDisposable {
  /** Connections reset so far. */
  resets = 0;
  readonly #command: readonly string[];
  readonly #maxAgeMs: number;
  readonly #bornMs = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #loop: Promise<void>;

  /** `command` puts a program into the namespace, as its first words. */
  constructor(command: readonly string[], maxAgeMs: number) {
    this.#command = command;
    this.#maxAgeMs = maxAgeMs;
    this.#loop = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const startMs = performance.now();
      await this.#look(startMs);
      const restMs = Math.max(0, LOOK_MS - (performance.now() - startMs));
      await pause(restMs, this.#stop.signal);
    }
  }

  async #look(nowMs: number): Promise<void> {
    const listed = await this.#ss("-tnH", "state", "established");
    const open = listed
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .map(([, , local = "", peer = ""]) => ({ local, peer, key: `${local} ${peer}` }))
      .filter(({ local, peer }) => local !== "" && hostOf(local) !== hostOf(peer));
    const keys = new Set(open.map(({ key }) => key));
    for (const key of this.#bornMs.keys()) if (!keys.has(key)) this.#bornMs.delete(key);
    const due = open.filter(({ key }) => {
      const born = this.#bornMs.get(key) ?? nowMs;
      this.#bornMs.set(key, born);
      return nowMs - born >= this.#maxAgeMs;
    });
    if (due.length === 0) return;
    const filter = due
      .map(({ local, peer }) => `( src = ${local} and dst = ${peer} )`)
      .join(" or ");
    await this.#ss("-tnHK", filter);
    this.resets += due.length;
    for (const { key } of due) this.#bornMs.delete(key);
  }

  /** Between namespaces that are being removed, `ss` may fail; the next look tells. */
  #ss(...args: string[]): Promise<string> {
    const [program = "", ...before] = this.#command;
    return run(program, ...before, "ss", ...args).catch(() => "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }
}

function hostOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(":"));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
