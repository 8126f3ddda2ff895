// Opening a socket over a path that may be dead: the system repeats a lost SYN after 1, 3, 7 … seconds, so that a path
// that is back is found late. While a try is under way another begins twice a second; the first that opens is kept.
import type { SessionClock } from "./session-clock.ts";
import type { SocketLike } from "./socket-like.ts";

export type DialingInit = {
  readonly open: () => SocketLike;
  readonly clock: SessionClock;
  readonly onOpened: (socket: SocketLike) => void;
  /** No try is left; says how the last one ended. */
  readonly onClosed: (code: number, reason: string) => void;
};

/** Half of what the system waits before its own first repetition (RFC 6298 §2.1). */
const AGAIN_MS = 500;
/** Ten seconds' worth: the caller gives up then. */
const MAX_TRIES = 20;

export class Dialing {
  readonly #init: DialingInit;
  readonly #tries = new Set<SocketLike>();
  #begun = 0;
  #cancel = () => {};
  #over = false;

  constructor(init: DialingInit) {
    this.#init = init;
  }

  start(): void {
    this.#try();
  }

  /** Closes every try; nothing is told any more. */
  stop(): void {
    this.#over = true;
    this.#cancel();
    for (const socket of this.#tries) socket.close();
    this.#tries.clear();
  }

  #try(): void {
    const { open, clock } = this.#init;
    const socket = open();
    this.#tries.add(socket);
    this.#begun += 1;
    socket.addEventListener("open", () => this.#opened(socket));
    // An error is always followed by close, which says more.
    socket.addEventListener("error", () => undefined);
    socket.addEventListener("close", ({ code, reason }) => this.#closed(socket, code, reason));
    if (this.#begun < MAX_TRIES) this.#cancel = clock.after(AGAIN_MS, () => this.#try());
  }

  #opened(socket: SocketLike): void {
    if (this.#over || !this.#tries.delete(socket)) return;
    this.stop();
    this.#init.onOpened(socket);
  }

  /** A server that refuses is asked again by the session, which waits before. */
  #closed(socket: SocketLike, code: number, reason: string): void {
    if (this.#over || !this.#tries.delete(socket) || this.#tries.size > 0) return;
    this.stop();
    this.#init.onClosed(code, reason);
  }
}
