// The pushing machine as a source: any of the addresses it has announced that can be reached and proves to be it
// (docs/protocol/arriving.md §4). When another machine goes on with the push, its addresses take their place.
//
//   artifact   ├── landed: from the store ──┼── the push is here ──▶ …   ◀── from the machine itself ──┤
//
// What has landed is not asked of it, and the rest from its end on: where push and reader share the machine's uplink,
// no byte leaves it twice before the reader has them all.
import type { ShardMap, ShardRun } from "../../artifact/index.ts";
import { HttpMirrorSource } from "../../http/index.ts";
import type { ByteTransport } from "../../platform/index.ts";
import { type DirectAddress, WaybillError } from "../../protocol/index.ts";
import {
  type FetchOptions,
  type LinkBook,
  ShardSet,
  type Source,
  type SourceAdvice,
} from "../../transfer/index.ts";
import type { ArrivingFeed } from "./arriving-feed.ts";
import { SegmentIndex } from "./segment-index.ts";

export type DirectSourceInit = {
  readonly map: ShardMap;
  readonly feed: ArrivingFeed;
  readonly transport: ByteTransport;
  readonly links: LinkBook;
};

/** Offered at once, so that requests can be long; or a quarter of what is left. */
const OFFER_BYTES = 32 * 1024 * 1024;
/** An address that has not answered by then is not counted on. */
const PROBE_MS = 2000;
const MAX_HELLO_BYTES = 1024;

export class DirectSource implements Source {
  readonly id = "the pushing machine";
  readonly kind = "http";
  readonly cost = "free";
  /** The server bounds its connections for all readers together. */
  readonly window = 8;
  readonly #init: DirectSourceInit;
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #unsubscribe: () => void;
  #inner: HttpMirrorSource | undefined;
  /** Shards the store has, and those that were asked for here. */
  #landed = ShardSet.empty;
  #asked = ShardSet.empty;
  #offer = ShardSet.empty;
  /** The addresses that were tried last. */
  #tried = "";
  #probing: Promise<void> = Promise.resolve();

  constructor(init: DirectSourceInit) {
    this.#init = init;
    this.#unsubscribe = init.feed.onChange(() => {
      this.#look();
      this.#note();
    });
    this.#look();
    this.#note();
  }

  shards(): ShardSet {
    return this.#offer;
  }

  onShards(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  runEnd(first: number): number {
    return this.#init.map.objectEnd(first);
  }

  async *fetch(run: ShardRun, options: FetchOptions): AsyncGenerator<Uint8Array> {
    const inner = this.#inner;
    if (inner === undefined) {
      throw new WaybillError("unreachable", "the pushing machine cannot be reached");
    }
    this.#asked = this.#asked.with(run);
    this.#offerNext();
    let bytes = 0;
    try {
      for await (const piece of inner.fetch(run, options)) {
        bytes += piece.length;
        yield piece;
      }
    } finally {
      if (bytes < this.#init.map.bytesOf(run)) {
        this.#asked = this.#asked.without(run);
        this.#offerNext();
      }
    }
  }

  advice(): SourceAdvice {
    return this.#inner?.advice() ?? {};
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort();
    await this.#probing;
  }

  /** Tries the announced addresses when they are others than before. */
  #look(): void {
    const { done, direct } = this.#init.feed.account;
    const addresses = done ? [] : direct;
    const text = JSON.stringify(addresses);
    if (text === this.#tried) return;
    this.#tried = text;
    this.#probing = this.#after(this.#probing, addresses, text);
  }

  async #after(before: Promise<void>, addresses: readonly DirectAddress[], text: string) {
    await before;
    const found = await this.#reachable(addresses);
    // Newer addresses have come meanwhile; they are next.
    if (this.#stop.signal.aborted || text !== this.#tried) return;
    this.#inner = found === undefined ? undefined : this.#open(found);
    this.#offerNext();
  }

  /** Takes notice of what has landed. */
  #note(): void {
    const { map, feed } = this.#init;
    const { objects, unitBytes, done } = feed.account;
    this.#landed = done
      ? ShardSet.all(map.count)
      : new SegmentIndex(map, objects, unitBytes).shards();
    this.#offerNext();
  }

  #offerNext(): void {
    const next = this.#nextOffer();
    if (next.minus(this.#offer).isEmpty && this.#offer.minus(next).isEmpty) return;
    this.#offer = next;
    // Not from within the request that changed it.
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener();
    });
  }

  /** The end of what has neither landed nor been asked for, and what was asked for: it is on its way. */
  #nextOffer(): ShardSet {
    if (this.#inner === undefined) return ShardSet.empty;
    const { map } = this.#init;
    const open = ShardSet.all(map.count).minus(this.#landed).minus(this.#asked);
    const runs = open.runs();
    const count = runs.reduce((sum, run) => sum + run.count, 0);
    const wanted = Math.max(Math.ceil(OFFER_BYTES / map.manifest.shardBytes), count / 4);
    let offer = this.#asked;
    let left = Math.ceil(wanted);
    for (const { first, count: size } of runs.toReversed()) {
      const taken = Math.min(size, left);
      offer = offer.with({ first: first + size - taken, count: taken });
      left -= taken;
      if (left === 0) break;
    }
    return offer;
  }

  #open({ url, token }: DirectAddress): HttpMirrorSource {
    const { map, transport, links } = this.#init;
    const base = new URL(`${url}/objects`);
    base.username = "waybill";
    base.password = token;
    return new HttpMirrorSource(base.href, map, { transport, links });
  }

  /** The first address that answers as its announcement says. */
  async #reachable(addresses: readonly DirectAddress[]): Promise<DirectAddress | undefined> {
    if (addresses.length === 0) return undefined;
    const over = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, over.signal, AbortSignal.timeout(PROBE_MS)]);
    try {
      return await Promise.any(addresses.map(async (one) => this.#prove(one, signal)));
    } catch {
      // None of them.
      return undefined;
    } finally {
      over.abort();
    }
  }

  /** Throws unless somebody at the address knows the token, which is not told to anybody else. */
  async #prove(address: DirectAddress, signal: AbortSignal): Promise<DirectAddress> {
    const nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
    const url = `${address.url}/hello?nonce=${nonce}`;
    const answer = await this.#init.transport.get({ url, signal, idleMs: PROBE_MS });
    let text = "";
    const decoder = new TextDecoder();
    for await (const piece of answer.body) {
      text += decoder.decode(piece, { stream: true });
      if (text.length > MAX_HELLO_BYTES) break;
    }
    const proof: unknown = answer.status === 200 ? JSON.parse(text) : undefined;
    const expected = await helloProof(address.token, nonce);
    if (isProof(proof) && proof.proof === expected) return address;
    throw new WaybillError("unreachable", `${address.url} is not the pushing machine`);
  }
}

/** Hex HMAC-SHA-256 by which a pushing machine proves that it knows its announcement's token. */
export async function helloProof(token: string, nonce: string): Promise<string> {
  const bytes = Uint8Array.from(token.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytes, algorithm, false, ["sign"]);
  const text = new TextEncoder().encode(`waybill-data 1 ${nonce}`);
  return hex(new Uint8Array(await crypto.subtle.sign("HMAC", key, text)));
}

function isProof(value: unknown): value is { readonly proof: string } {
  return (
    typeof value === "object" &&
    value !== null &&
    "proof" in value &&
    typeof value.proof === "string"
  );
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
