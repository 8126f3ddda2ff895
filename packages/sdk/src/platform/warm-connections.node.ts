// Connections that are opened before the requests they will carry, by origin.
import { abortReason } from "../timing/index.ts";

/** What is kept of a connection here. */
type Opened = { isFit(maxAgeMs: number): boolean; destroy(): void };

type Warming<C> = {
  /** Undefined when nobody had asked for it by then: it is kept as idle, or failed. Rejects when it fails later. */
  readonly opened: Promise<C | undefined>;
  isTaken: boolean;
};

export class WarmConnections<C extends Opened> {
  readonly #warming = new Map<string, Set<Warming<C>>>();
  readonly #closing = new AbortController();

  /** Sees to it that so many are being opened by `open`; one that nobody takes meanwhile goes to `keep`. */
  add(
    origin: string,
    count: number,
    how: { open: (signal: AbortSignal) => Promise<C>; keep: (connection: C) => void },
  ): void {
    const all = this.#warming.get(origin) ?? new Set();
    this.#warming.set(origin, all);
    for (let missing = count - all.size; missing > 0; missing--) {
      const settle = async (): Promise<C | undefined> => {
        try {
          const connection = await how.open(this.#closing.signal);
          if (warming.isTaken) return connection;
          how.keep(connection);
          return undefined;
        } catch (error) {
          if (warming.isTaken) throw error;
          // The request to come finds out itself.
          return undefined;
        } finally {
          all.delete(warming);
        }
      };
      const { promise, resolve, reject } = Promise.withResolvers<C | undefined>();
      const warming: Warming<C> = { opened: promise, isTaken: false };
      all.add(warming);
      settle().then(resolve, reject);
    }
  }

  /** One that is being opened, when it is open and young enough. Throws what opening it throws, or the signal's reason. */
  async take(
    origin: string,
    maxAgeMs: number,
    signal: AbortSignal | undefined,
  ): Promise<C | undefined> {
    const [warming] = this.#warming.get(origin) ?? [];
    if (warming === undefined) return undefined;
    warming.isTaken = true;
    this.#warming.get(origin)?.delete(warming);
    const connection = await orAborted(warming.opened, signal);
    if (connection === undefined || connection.isFit(maxAgeMs)) return connection;
    connection.destroy();
    return undefined;
  }

  /** Gives up those that are not open yet. */
  close(): void {
    this.#closing.abort();
  }
}

/** What is opened for a request that is not made any more is closed. */
function orAborted<C extends Opened>(
  opened: Promise<C | undefined>,
  signal: AbortSignal | undefined,
): Promise<C | undefined> {
  if (signal === undefined) return opened;
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      reject(abortReason(signal));
      opened.then(
        (connection) => connection?.destroy(),
        () => undefined,
      );
    };
    signal.addEventListener("abort", onAbort, { once: true });
    opened.finally(() => signal.removeEventListener("abort", onAbort)).then(resolve, reject);
  });
}
