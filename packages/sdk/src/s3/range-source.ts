// Shards by ranged GETs of presigned URLs: signs what is needed, signs again what has expired (I9). How a range
// is read and what is no answer to it is in sdk/http/ranged-get.
import {
  type ObjectRange,
  type ShardMap,
  type ShardRun,
  manifestObjects,
} from "../artifact/index.ts";
import { readStoredRun } from "../compression/index.ts";
import { type Pin, type RangedGetDeps, rangedGet, readOn } from "../http/index.ts";
import type { ByteTransport } from "../platform/index.ts";
import { LIMITS, MANIFEST_KEY, type SignedRead, WaybillError } from "../protocol/index.ts";
import { retry } from "../timing/index.ts";
import {
  type FetchOptions,
  LinkBook,
  ShardSet,
  type Source,
  type SourceAdvice,
} from "../transfer/index.ts";
import { storeError } from "./store-error.ts";

/** Signs GETs of an artifact's objects; may give several URLs of one key, for several endpoints. */
export type SignReads = (
  keys: readonly string[],
  options: { readonly signal: AbortSignal },
) => Promise<readonly SignedRead[]>;

export type RangeReaderInit = {
  readonly sign: SignReads;
  readonly transport: ByteTransport;
  /** Keys in the order they will be asked for; some are signed ahead in one call. */
  readonly keys: readonly string[];
  readonly idleMs?: number | undefined;
  /** What is known of links; shared by the transfers of a process. */
  readonly links?: LinkBook | undefined;
  /** Uses URLs of this origin only, where the signer gives several of one key; default: the first of each key. */
  readonly origin?: string | undefined;
  /** URLs that were signed before, in the signer's order. */
  readonly signed?: readonly SignedRead[] | undefined;
};

/** Keys signed with the one that is needed: few enough that none expires unused. */
const SIGN_AHEAD = 64;
/** Fresh URLs refused in a row before the refusal is taken for an answer. */
const MAX_REFUSALS = 3;

/** Reads byte ranges of stored objects through URLs it keeps and renews. */
export class RangeReader {
  readonly #init: RangeReaderInit;
  readonly #deps: RangedGetDeps;
  readonly #urls = new Map<string, string>();
  readonly #order: ReadonlyMap<string, number>;
  /** The call to the signer that is under way: those who need URLs meanwhile may find theirs in its answer. */
  #signing: Promise<unknown> = Promise.resolve();
  readonly #origins = new Set<string>();
  /** The host of the latest URL. */
  #host: string | undefined;

  constructor(init: RangeReaderInit) {
    this.#init = init;
    const { transport, idleMs, links = new LinkBook() } = init;
    this.#deps = { transport, idleMs, links };
    this.#order = new Map(init.keys.map((key, index) => [key, index]));
    this.#learn(init.signed ?? []);
  }

  /**
   * The range's bytes, whole. Goes on where a connection broke while that makes progress, and signs again; throws
   * at once otherwise. Pieces are valid until the next one is asked for.
   */
  read(
    range: ObjectRange,
    options: FetchOptions,
    objectBytes?: number,
  ): AsyncGenerator<Uint8Array> {
    const pin: Pin = { etag: undefined };
    const attempt = (done: number) => {
      const rest = { key: range.key, start: range.start + done, size: range.size - done };
      const { into } = options;
      const shifted = into === undefined ? {} : { into: (at: number) => into(at + done) };
      return this.#attempt(rest, { ...options, ...shifted }, { objectBytes, pin });
    };
    return readOn(range.size, attempt, options.signal);
  }

  /** Origins of the URLs that were signed so far: the endpoints of the store. */
  get origins(): readonly string[] {
    return [...this.#origins];
  }

  /** What was learned of the link to the store. */
  advice(): SourceAdvice {
    return this.#host === undefined ? {} : this.#deps.links.advice(this.#host);
  }

  /** One exchange; a refused URL is signed again, three times in a row. */
  async *#attempt(
    range: ObjectRange,
    options: FetchOptions,
    object: { readonly objectBytes: number | undefined; readonly pin: Pin },
  ): AsyncGenerator<Uint8Array> {
    for (let refusals = 1; ; refusals++) {
      const url = await this.#url(range.key, options.signal);
      const get = {
        ...object,
        url,
        range,
        refusal: (refusal: Parameters<typeof storeError>[2]) => storeError(range.key, url, refusal),
      };
      try {
        return yield* rangedGet(this.#deps, get, options);
      } catch (error) {
        if (!(error instanceof WaybillError) || error.code !== "url_expired") throw error;
        if (this.#urls.get(range.key) === url) this.#urls.delete(range.key);
        if (refusals >= MAX_REFUSALS) throw error;
      }
    }
  }

  async #url(key: string, signal: AbortSignal): Promise<string> {
    const turn = this.#signing
      // Its failure is its own caller's.
      .catch(() => undefined)
      .then(() => this.#urls.get(key) ?? this.#sign(key, signal));
    this.#signing = turn;
    const url = await turn;
    this.#host = new URL(url).host;
    return url;
  }

  async #sign(key: string, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const at = this.#order.get(key) ?? 0;
    const ahead = this.#init.keys
      .slice(at, at + Math.min(SIGN_AHEAD, LIMITS.signBatch))
      .filter((other) => other === key || !this.#urls.has(other));
    this.#learn(await this.#init.sign(ahead.length > 0 ? ahead : [key], { signal }));
    const url = this.#urls.get(key);
    if (url === undefined) throw new WaybillError("not_found", `the hub signs no read of ${key}`);
    return url;
  }

  /** Keeps the URLs that are for this reader. */
  #learn(reads: readonly SignedRead[]): void {
    const { origin: own } = this.#init;
    const fresh = new Map<string, string>();
    for (const read of reads) {
      const { origin } = new URL(read.url);
      this.#origins.add(origin);
      const mine = own === undefined ? !fresh.has(read.key) : own === origin;
      if (mine) fresh.set(read.key, read.url);
    }
    for (const [name, url] of fresh) this.#urls.set(name, url);
  }
}

/** Most connections to one store; the scheduler begins with four and finds out how many pay. */
const WINDOW = 32;

/** A stored artifact as a source of kind `s3`. */
export class S3Source implements Source {
  readonly id: string;
  readonly kind = "s3";
  readonly cost = "paid";
  readonly window = WINDOW;
  readonly expectedAnswerMs: number | undefined;
  readonly #map: ShardMap;
  readonly #reader: RangeReader;

  /** `expectedAnswerMs`: an answer's time on another way to where the store probably is. */
  constructor(init: {
    readonly id: string;
    readonly map: ShardMap;
    readonly reader: RangeReader;
    readonly expectedAnswerMs?: number | undefined;
  }) {
    this.id = init.id;
    this.expectedAnswerMs = init.expectedAnswerMs;
    this.#map = init.map;
    this.#reader = init.reader;
  }

  shards(): ShardSet {
    return ShardSet.all(this.#map.count);
  }

  runEnd(first: number): number {
    return this.#map.objectEnd(first);
  }

  fetch(run: ShardRun, options: FetchOptions): AsyncIterable<Uint8Array> {
    return readStoredRun(this.#map, run, options, (range, how, objectBytes) =>
      this.#reader.read(range, how, objectBytes),
    );
  }

  advice(): SourceAdvice {
    return this.#reader.advice();
  }
}

/** The keys of an artifact's objects in the order in which shards come. */
export function readKeys(map: ShardMap): string[] {
  return manifestObjects(map.manifest).map(({ key }) => key);
}

export type ReadManifest = {
  /** What the artifact's record says. */
  readonly bytes: number;
  /** Gives up after failing for this long. */
  readonly retryForMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
};

/** The manifest's bytes as text; tries again while the store is away. Throws `too_large`, or the last error. */
export async function readManifest(
  reader: RangeReader,
  { bytes, retryForMs, signal, onRetry }: ReadManifest,
): Promise<string> {
  if (bytes > LIMITS.manifestBytes) {
    throw new WaybillError("too_large", `the manifest has ${bytes} bytes`);
  }
  const range = { key: MANIFEST_KEY, start: 0, size: bytes };
  const options = { signal: signal ?? new AbortController().signal };
  return retry(
    async () => {
      const whole = new Uint8Array(bytes);
      let at = 0;
      for await (const piece of reader.read(range, options, bytes)) {
        whole.set(piece, at);
        at += piece.length;
      }
      return new TextDecoder().decode(whole);
    },
    { forMs: retryForMs, signal, capMs: 5000, ...(onRetry === undefined ? {} : { onRetry }) },
  );
}
