// The pushing machine over HTTP: any of the addresses it has announced that can be reached and proves to be it
// (docs/protocol/arriving.md §4). When another machine goes on with the push, its addresses take their place.
//
//   probing ──one proves to be it──▶ found ──a request fails──▶ probing
//      └──none does──▶ lost ──LOST_MS, or other addresses──▶ probing
import type { ShardMap } from "../../artifact/index.ts";
import { HttpMirrorSource, reachableAddress } from "../../http/index.ts";
import type { ByteTransport } from "../../platform/index.ts";
import type { DirectAddress, HttpAddress } from "../../protocol/index.ts";
import { delay } from "../../timing/index.ts";
import type { LinkBook } from "../../transfer/index.ts";
import type { ArrivingFeed } from "./arriving-feed.ts";
import type { DirectRoute } from "./direct-route.ts";

export type HttpRouteInit = {
  readonly map: ShardMap;
  readonly feed: Pick<ArrivingFeed, "account" | "onChange">;
  readonly transport: ByteTransport;
  readonly links: LinkBook;
};

/** A machine that answered once is looked for again after this. */
const LOST_MS = 5000;

export class HttpRoute implements DirectRoute {
  readonly #init: HttpRouteInit;
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #unsubscribe: () => void;
  #inner: HttpMirrorSource | undefined;
  #addresses: readonly HttpAddress[] = [];
  /** The addresses that were tried last. */
  #tried = "[]";
  /** The addresses among which `inner` was found. */
  #foundIn = "[]";
  #probing: Promise<unknown> = Promise.resolve();
  #current = new AbortController();
  #isProbing = false;

  constructor(init: HttpRouteInit) {
    this.#init = init;
    this.#unsubscribe = init.feed.onChange(() => this.#look());
    this.#look();
  }

  get inner(): HttpMirrorSource | undefined {
    return this.#inner;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Keeps the source until the machine has been asked whether it is still there. */
  failed(): void {
    if (!this.#isProbing && !this.#stop.signal.aborted) this.#probe();
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort();
    await this.#probing;
  }

  /** Tries the announced addresses when they are others than before. */
  #look(): void {
    const { done, direct } = this.#init.feed.account;
    const addresses = done ? [] : direct.filter(isHttp);
    const text = JSON.stringify(addresses);
    if (text === this.#tried) return;
    this.#tried = text;
    this.#addresses = addresses;
    this.#probe();
  }

  /** Whatever was being tried is not wanted any more. */
  #probe(): void {
    this.#current.abort();
    const current = new AbortController();
    this.#current = current;
    this.#isProbing = true;
    const search = async () => {
      try {
        await this.#search(AbortSignal.any([this.#stop.signal, current.signal]));
      } catch {
        // Called off.
      } finally {
        if (this.#current === current) this.#isProbing = false;
      }
    };
    this.#probing = Promise.all([this.#probing, search()]);
  }

  /** One look at the addresses, and more while a machine that was there is not. */
  async #search(signal: AbortSignal): Promise<void> {
    const text = this.#tried;
    const wasThere = this.#inner !== undefined && this.#foundIn === text;
    for (;;) {
      const found = await reachableAddress(this.#init.transport, this.#addresses, signal);
      signal.throwIfAborted();
      const isKept = found !== undefined && this.#inner !== undefined && this.#foundIn === text;
      if (!isKept) this.#become(found, text);
      if (found !== undefined || !wasThere) return;
      await delay(LOST_MS, signal);
    }
  }

  #become(found: HttpAddress | undefined, text: string): void {
    this.#inner = found === undefined ? undefined : this.#open(found);
    this.#foundIn = text;
    for (const listener of this.#listeners) listener();
  }

  #open({ url, token }: HttpAddress): HttpMirrorSource {
    const { map, transport, links } = this.#init;
    const base = new URL(`${url}/objects`);
    base.username = "waybill";
    base.password = token;
    return new HttpMirrorSource(base.href, map, { transport, links });
  }
}

function isHttp(address: DirectAddress): address is HttpAddress {
  return "url" in address;
}
