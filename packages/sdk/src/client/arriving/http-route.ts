// The pushing machine over HTTP: any of the addresses it has announced that can be reached and proves to be it
// (docs/protocol/arriving.md §4). When another machine goes on with the push, its addresses take their place.
//
//   probing ──one proves to be it──▶ found ──a request fails──▶ probing
//      └──none does──▶ lost ──LOST_MS, or other addresses──▶ probing
import type { ShardMap } from "../../artifact/index.ts";
import { HttpMirrorSource } from "../../http/index.ts";
import type { ByteTransport } from "../../platform/index.ts";
import { type DirectAddress, type HttpAddress, WaybillError } from "../../protocol/index.ts";
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

/** An address that has not answered by then is not counted on. */
const PROBE_MS = 2000;
/** A machine that answered once is looked for again after this. */
const LOST_MS = 5000;
const MAX_HELLO_BYTES = 1024;

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
      const found = await this.#reachable(this.#addresses, signal);
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

  /** The first address that answers as its announcement says. */
  async #reachable(
    addresses: readonly HttpAddress[],
    stop: AbortSignal,
  ): Promise<HttpAddress | undefined> {
    if (addresses.length === 0) return undefined;
    const over = new AbortController();
    const signal = AbortSignal.any([stop, over.signal, AbortSignal.timeout(PROBE_MS)]);
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
  async #prove(address: HttpAddress, signal: AbortSignal): Promise<HttpAddress> {
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

function isHttp(address: DirectAddress): address is HttpAddress {
  return "url" in address;
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
