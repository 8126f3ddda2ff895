// A peer's tree as a source: ranges are asked for by control messages, and come over bulk streams of the link
// (docs/protocol/peer-tree.md §2).
import type { ShardMap, ShardRun } from "../../artifact/index.ts";
import {
  type ControlMessage,
  type TreeOffer,
  WaybillError,
  cryptoRandom,
  isAbort,
  messageOf,
  randomText,
} from "../../protocol/index.ts";
import { abortReason } from "../../timing/index.ts";
import { type FetchOptions, ShardSet, type Source } from "../../transfer/index.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { LinkPath } from "../peer-link.ts";
import type { TreeLink } from "./tree-link.ts";

type Refused = Extract<ControlMessage, { type: "tree.refused" }>;

export type PeerTreeSourceInit = {
  readonly link: TreeLink;
  readonly offer: TreeOffer;
  readonly map: ShardMap;
  readonly clock?: Clock;
};

/** Streams share the link's connections: more at once only share them further. */
const WINDOW = 4;
/** A peer that is asked and says nothing for this long has lost the question, or the path is dead. */
const SILENT_MS = 10_000;
/** One that has too much to do is asked again after this. */
const BUSY_MS = 500;

export class PeerTreeSource implements Source {
  readonly id: string;
  readonly kind = "peer";
  readonly window = WINDOW;
  readonly #link: TreeLink;
  readonly #offer: TreeOffer;
  readonly #map: ShardMap;
  readonly #clock: Clock;

  constructor({ link, offer, map, clock = systemClock }: PeerTreeSourceInit) {
    this.id = `peer ${link.peerId}`;
    this.#link = link;
    this.#offer = offer;
    this.#map = map;
    this.#clock = clock;
  }

  get cost(): "free" | "paid" {
    return isRelayed(this.#link.path) ? "paid" : "free";
  }

  shards(): ShardSet {
    return ShardSet.all(this.#map.count);
  }

  runEnd(first: number): number {
    return this.#map.objectEnd(first);
  }

  async *fetch(run: ShardRun, { signal }: FetchOptions): AsyncGenerator<Uint8Array> {
    if (signal.aborted) throw abortReason(signal);
    const { key, start: offset, size: length } = this.#map.plainRangeOf(run);
    const id = randomText(12, cryptoRandom);
    const stream = this.#link.bulk.newStreamId();
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    // Throws without a path for bulk: nothing is listened for before.
    const pieces = this.#link.bulk.accept(stream, { signal: either })[Symbol.asyncIterator]();
    const off = [
      this.#link.onMessage((message) => {
        if (message.type === "tree.refused" && message.id === id) failed.abort(refusal(message));
      }),
      this.#link.onClose(() => failed.abort(this.#lost("the link was closed"))),
    ];
    let left = length;
    let isWhole = false;
    try {
      const offer = this.#offer;
      this.#link.send({ type: "tree.want", id, offer, key, offset, length, stream });
      for (;;) {
        const piece = await this.#next(pieces, failed);
        if (piece === undefined) break;
        left -= piece.length;
        if (left < 0) throw this.#lost(`it sent more of ${key} than was asked for`);
        yield piece;
      }
      if (left > 0) throw this.#lost(`${key} ended ${left} bytes early`);
      isWhole = true;
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      if (failed.signal.aborted) throw abortReason(failed.signal);
      throw error instanceof WaybillError && !isAbort(error)
        ? error
        : this.#lost(messageOf(error), error);
    } finally {
      for (const one of off) one();
      if (!isWhole) this.#cancel(id);
      failed.abort(this.#lost("the request is over"));
    }
  }

  /** The next piece, unless none comes for too long; undefined at the end. */
  async #next(
    pieces: AsyncIterator<Uint8Array>,
    failed: AbortController,
  ): Promise<Uint8Array | undefined> {
    const cancel = this.#clock.after(SILENT_MS, () =>
      failed.abort(this.#lost(`it sent nothing for ${SILENT_MS / 1000} s`)),
    );
    try {
      const { done, value } = await pieces.next();
      return done === true ? undefined : value;
    } finally {
      cancel();
    }
  }

  #cancel(id: string): void {
    try {
      this.#link.send({ type: "tree.cancel", id });
    } catch {
      // There is no path to it now: its stream ends with the path.
    }
  }

  #lost(why: string, cause?: unknown): WaybillError {
    return new WaybillError("unreachable", `${this.id}: ${why}`, { cause });
  }
}

/** Whether a path costs whoever runs the TURN server. */
export function isRelayed(path: LinkPath): boolean {
  return path.kind === "webrtc" && path.candidateType === "relay";
}

function refusal({ code, reason }: Refused): WaybillError {
  const message = `the peer refused: ${reason}`;
  return code === "rate_limited"
    ? new WaybillError(code, message, { retryAfterMs: BUSY_MS })
    : new WaybillError(code, message);
}
