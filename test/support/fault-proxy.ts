// A TCP proxy in which a path can fail, in the two ways paths do: connections are torn down and refused (a
// server that died, a firewall), or nothing arrives any more and nobody says so (Wi-Fi that is gone).
import { once } from "node:events";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";

type Pair = { readonly client: Socket; readonly target: Socket };

export class FaultProxy implements AsyncDisposable {
  readonly #pairs = new Set<Pair>();
  readonly #server;
  readonly #target: () => number | undefined;
  #port = 0;
  #state: "up" | "cut" | "silent" = "up";
  #delayMs: () => number = () => 0;

  /** `target` is asked at each connection, so that a server may move; connections are refused while there is none. */
  constructor(target: () => number | undefined) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#carry(client));
  }

  async start(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Resets every connection, and every new one at once. */
  cut(): void {
    this.#state = "cut";
    this.reset();
  }

  /** Resets the connections there are. */
  reset(): void {
    for (const { client, target } of this.#pairs) {
      client.resetAndDestroy();
      target.destroy();
    }
  }

  /** From now on nothing arrives at either end; connections stay open, and new ones open without an answer. */
  silence(): void {
    this.#state = "silent";
    for (const { client, target } of this.#pairs) {
      client.pause();
      target.pause();
    }
  }

  /**
   * The path is back. `forgotten`: connections that were open hear nothing for ever, as when the machine's address
   * has changed; else what was under way arrives now.
   */
  heal(options: { readonly forgotten?: boolean } = {}): void {
    this.#state = "up";
    if (options.forgotten === true) return;
    for (const { client, target } of this.#pairs) {
      client.resume();
      target.resume();
    }
  }

  /** Asked at each connection for the delay of what it carries, each way, in milliseconds. */
  slow(delayMs: () => number): void {
    this.#delayMs = delayMs;
  }

  #carry(client: Socket): void {
    const port = this.#target();
    if (this.#state === "cut" || port === undefined) {
      client.on("error", () => undefined);
      client.resetAndDestroy();
      return;
    }
    const target = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const delayMs = this.#delayMs();
    const pair = { client, target };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      target.destroy();
    };
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      from.on("error", end);
      from.on("close", end);
      const later = (work: () => void) => (delayMs === 0 ? work() : setTimeout(work, delayMs));
      from.on("data", (data: Buffer) => {
        later(() => {
          if (!to.destroyed && !to.write(data)) from.pause();
        });
      });
      from.on("end", () => later(() => to.end()));
      to.on("drain", () => {
        if (this.#state !== "silent") from.resume();
      });
      if (this.#state === "silent") from.pause();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = "cut";
    this.#server.close();
    this.cut();
    await once(this.#server, "close");
  }
}
