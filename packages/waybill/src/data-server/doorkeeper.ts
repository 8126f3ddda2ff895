// Keeps a port that the whole network can reach from using up the process's file descriptors: connections that have
// not shown the token are few, few from one address, and short.
import type { Socket } from "node:net";

export type DoorkeeperInit = {
  /** Connections without the token, of all addresses. Default 64. */
  readonly strangers?: number;
  /** The same of one address; a worker opens up to 16 at once. Default 16. */
  readonly strangersPerAddress?: number;
  /** How long a connection has to show the token, in milliseconds. Default 5 s. */
  readonly strangerMs?: number;
};

type Stranger = { readonly address: string; readonly timer: NodeJS.Timeout };

const DEFAULTS = { strangers: 64, strangersPerAddress: 16, strangerMs: 5000 };

export class Doorkeeper {
  readonly #init: Required<DoorkeeperInit>;
  /** Oldest first. */
  readonly #strangers = new Map<Socket, Stranger>();

  constructor(init: DoorkeeperInit = {}) {
    this.#init = { ...DEFAULTS, ...init };
  }

  /**
   * A connection was opened. Where there are too many, the oldest goes: a reader shows its token within
   * milliseconds, so whoever waits is none.
   */
  opened(socket: Socket): void {
    const { strangers, strangersPerAddress, strangerMs } = this.#init;
    const address = socket.remoteAddress ?? "";
    const timer = setTimeout(() => this.#expel(socket), strangerMs);
    timer.unref();
    this.#strangers.set(socket, { address, timer });
    socket.once("close", () => this.admit(socket));
    const same = [...this.#strangers].filter(([, one]) => one.address === address);
    const oldest =
      same.length > strangersPerAddress
        ? same[0]?.[0]
        : this.#strangers.size > strangers
          ? this.#strangers.keys().next().value
          : undefined;
    if (oldest !== undefined) this.#expel(oldest);
  }

  /** The connection has shown the token, or is closed: it is no stranger any more. */
  admit(socket: Socket): void {
    clearTimeout(this.#strangers.get(socket)?.timer);
    this.#strangers.delete(socket);
  }

  #expel(socket: Socket): void {
    this.admit(socket);
    socket.destroy();
  }
}
