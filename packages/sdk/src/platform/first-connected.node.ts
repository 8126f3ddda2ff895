// A connection as soon as the link allows one. The system sends a SYN that was lost again after 1, 3, 7 and 15 s:
// on a link that was away for four seconds the next one comes after seven. So a second socket sets out beside
// the first after a second, and so on; the first that is connected is taken.
import type * as net from "node:net";
import { abortReason } from "../timing/index.ts";

const ANOTHER_MS = 1000;
/** Four, a second apart: with their own repetitions one of them knocks about every second for ten. */
const MOST_AT_ONCE = 4;

export type Knocking = {
  /** Begins to connect. */
  readonly open: () => net.Socket;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** What became of it, in words; `undefined`: no answer in time. */
  readonly inWords: (cause: unknown) => Error;
};

/** Resolves with a socket whose TCP connection stands. Throws what `inWords` makes of the first one's refusal, or the signal's reason. */
export function firstConnected(knocking: Knocking): Promise<net.Socket> {
  const { open, timeoutMs, signal, inWords } = knocking;
  return new Promise((resolve, reject) => {
    const rivals = new Map<net.Socket, () => void>();
    let knocks = 0;
    const end = (winner: net.Socket | undefined) => {
      clearTimeout(deadline);
      clearInterval(another);
      signal?.removeEventListener("abort", onAbort);
      for (const [socket, unlisten] of rivals) {
        unlisten();
        if (socket === winner) continue;
        // What it still has to say interests nobody, and must not count as unhandled.
        socket.on("error", () => undefined);
        socket.destroy();
      }
    };
    const fail = (error: Error) => {
      end(undefined);
      reject(error);
    };
    const onAbort = () => {
      if (signal !== undefined) fail(abortReason(signal));
    };
    const knock = () => {
      const socket = open();
      const onConnect = () => {
        end(socket);
        resolve(socket);
      };
      const onError = (cause: Error) => lost(cause);
      const onClose = () => lost(new Error("closed by the other side"));
      const isFirst = rivals.size === 0;
      const lost = (cause: Error) => {
        // A refusal is an answer. One that set out later tells of a moment that an earlier one may outlast.
        if (isFirst || rivals.size === 1) return fail(inWords(cause));
        rivals.get(socket)?.();
        rivals.delete(socket);
        socket.on("error", () => undefined);
      };
      socket.on("connect", onConnect).on("error", onError).on("close", onClose);
      rivals.set(socket, () => {
        socket.off("connect", onConnect).off("error", onError).off("close", onClose);
      });
      knocks += 1;
      if (knocks === MOST_AT_ONCE) clearInterval(another);
    };
    const deadline = setTimeout(() => fail(inWords(undefined)), timeoutMs);
    const another = setInterval(knock, ANOTHER_MS);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
    else knock();
  });
}
