// Serves trees of this machine to peers that have an offer of them (docs/protocol/peer-tree.md): each request is a range
// of an object, and its bytes go over a bulk stream of the link it came by.
//
//   tree.want ─▶ refused, or serving ──▶ ended │ aborted: cancelled, withdrawn, the link or the file is gone
import {
  type ControlMessage,
  type PeerId,
  type TreeOffer,
  WaybillError,
  cryptoRandom,
  messageOf,
} from "../../protocol/index.ts";
import type { RateGate } from "../../timing/index.ts";
import type { BulkWriter } from "../bulk/bulk-sender.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { LinkMessage } from "../peer-link.ts";
import { isRelayed } from "./peer-tree-source.ts";
import { isSameSecret } from "./same-secret.ts";
import type { TreeLink } from "./tree-link.ts";

type Want = Extract<ControlMessage, { type: "tree.want" }>;
type Refusal = Extract<ControlMessage, { type: "tree.refused" }>["code"];

/** The objects of an artifact, as they lie on this machine. */
export type ServedTree = {
  /** An object's bytes; undefined when the artifact has no such object. */
  sizeOf(key: string): number | undefined;
  /** Throws `source_changed` when a range's first file is not the one that was hashed. */
  check(key: string, start: number, end: number): Promise<void>;
  /** Bytes `start` … `end - 1`; a piece is valid until the next one is asked for. */
  read(key: string, start: number, end: number): AsyncIterable<Uint8Array>;
};

export type OfferInit = {
  readonly tree: ServedTree;
  /** What all bytes of the push pass; undefined is no limit. */
  readonly gate?: RateGate | undefined;
  /** Told of bytes that went to a reader. */
  readonly onServed?: (bytes: number) => void;
  /** A reader has all of it, verified. */
  readonly onDone?: (peer: PeerId) => void;
};

export type Offered = {
  readonly offer: TreeOffer;
  /** Ends its streams; nothing more is served for it. Idempotent. */
  withdraw(): void;
};

export type TreeServerInit = {
  /** The links of this peer. */
  readonly links: {
    onMessage(
      listener: (event: { readonly message: LinkMessage; readonly link: TreeLink }) => void,
    ): () => void;
  };
  readonly clock?: Clock;
};

/** A reader's window is four; one that has cancelled may ask again before we know. */
const MAX_PER_PEER = 16;
/** Each holds a buffer of a quarter MiB and a file. */
const MAX_IN_ALL = 64;
/** A reader that takes nothing for so long gives its place to others (peer-tree.md 13). */
export const STALLED_MS = 60_000;
const LOOK_MS = 5000;

type Offer = OfferInit & { readonly offer: TreeOffer; readonly over: AbortController };

export class TreeServer {
  readonly #offers = new Set<Offer>();
  readonly #requests = new Map<TreeLink, Map<string, AbortController>>();
  readonly #running = new Set<Promise<void>>();
  readonly #off: () => void;
  readonly #clock: Clock;

  constructor({ links, clock = systemClock }: TreeServerInit) {
    this.#clock = clock;
    this.#off = links.onMessage(({ message, link }) => {
      if (message.type === "tree.want") this.#wanted(link, message);
      else if (message.type === "tree.cancel") this.#requests.get(link)?.get(message.id)?.abort();
      else if (message.type === "tree.done") this.#find(message.offer)?.onDone?.(link.peerId);
    });
  }

  /** Serves a tree to whoever knows the offer. */
  offer(init: OfferInit): Offered {
    const offer = hex(cryptoRandom(32));
    const entry: Offer = { ...init, offer, over: new AbortController() };
    this.#offers.add(entry);
    return {
      offer,
      withdraw: () => {
        this.#offers.delete(entry);
        entry.over.abort();
      },
    };
  }

  /** Whether somebody who reads here is reached through a TURN server. */
  get servesRelayed(): boolean {
    return [...this.#requests.keys()].some(({ path }) => isRelayed(path));
  }

  /** Ends all streams. Idempotent. */
  async stop(): Promise<void> {
    this.#off();
    for (const { over } of this.#offers) over.abort();
    this.#offers.clear();
    await Promise.all(this.#running);
  }

  /** Every offer is compared, whatever the first ones say. */
  #find(offer: TreeOffer): Offer | undefined {
    return [...this.#offers].filter((one) => isSameSecret(one.offer, offer)).at(0);
  }

  #wanted(link: TreeLink, want: Want): void {
    const offer = this.#find(want.offer);
    if (offer === undefined) return refuse(link, want, "forbidden", "no such offer");
    const requests = this.#requestsOf(link);
    if (requests.has(want.id)) {
      return refuse(link, want, "invalid_request", "a request of that id is under way");
    }
    if (requests.size >= MAX_PER_PEER || this.#running.size >= MAX_IN_ALL) {
      return refuse(link, want, "rate_limited", "too many requests at once");
    }
    const cancelled = new AbortController();
    requests.set(want.id, cancelled);
    const signal = AbortSignal.any([cancelled.signal, offer.over.signal]);
    const running = this.#serve(link, want, offer, signal).finally(() => {
      requests.delete(want.id);
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  #requestsOf(link: TreeLink): Map<string, AbortController> {
    const known = this.#requests.get(link);
    if (known !== undefined) return known;
    const requests = new Map<string, AbortController>();
    this.#requests.set(link, requests);
    link.onClose(() => {
      for (const one of requests.values()) one.abort();
      this.#requests.delete(link);
    });
    return requests;
  }

  /** One request; never rejects. */
  async #serve(link: TreeLink, want: Want, offer: Offer, signal: AbortSignal): Promise<void> {
    const { key, offset, length, stream } = want;
    const { tree, gate, onServed } = offer;
    let sent = 0;
    let out: BulkWriter | undefined;
    let unwatch = () => {};
    try {
      const size = tree.sizeOf(key);
      if (size === undefined) throw new WaybillError("not_found", `no object ${key}`);
      if (offset + length > size) {
        throw new WaybillError("invalid_request", `${key} has ${size} bytes`);
      }
      await tree.check(key, offset, offset + length);
      if (signal.aborted) return;
      // Throws as well: an id that is open, no path that bulk may take.
      out = link.bulk.openStream(stream, { signal });
      const writer = out;
      unwatch = this.#watch(
        () => sent - writer.acknowledgedBytes,
        () => writer.acknowledgedBytes,
        () => writer.abort(`nothing was taken for ${STALLED_MS / 1000} s`),
      );
      for await (const piece of tree.read(key, offset, offset + length)) {
        for (let at = 0; at < piece.length;) {
          signal.throwIfAborted();
          const bytes = Math.min(piece.length - at, gate?.pieceBytes ?? piece.length);
          await gate?.pass(bytes, signal);
          await out.write(piece.subarray(at, at + bytes));
          at += bytes;
          sent += bytes;
          onServed?.(bytes);
        }
      }
      await out.end();
    } catch (error) {
      out?.abort(messageOf(error));
      if (sent === 0 && !signal.aborted) refuse(link, want, refusalOf(error), messageOf(error));
    } finally {
      unwatch();
    }
  }

  /** Calls `stalled` when bytes wait for the reader and it has taken none of them for too long. */
  #watch(waiting: () => number, taken: () => number, stalled: () => void): () => void {
    let last = { bytes: 0, atMs: this.#clock.now() };
    let cancel = () => {};
    const look = () => {
      const now = this.#clock.now();
      if (waiting() === 0 || taken() !== last.bytes) last = { bytes: taken(), atMs: now };
      if (now - last.atMs >= STALLED_MS) stalled();
      else cancel = this.#clock.after(LOOK_MS, look);
    };
    cancel = this.#clock.after(LOOK_MS, look);
    return () => cancel();
  }
}

function refusalOf(error: unknown): Refusal {
  const code = error instanceof WaybillError ? error.code : "unreachable";
  switch (code) {
    case "source_changed":
    case "rate_limited":
    case "not_found":
    case "invalid_request":
      return code;
    default:
      return "unreachable";
  }
}

function refuse(link: TreeLink, { id }: Want, code: Refusal, reason: string): void {
  try {
    link.send({ type: "tree.refused", id, code, reason: reason.slice(0, 512) });
  } catch {
    // The reader has gone; it gives the request up by itself.
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
