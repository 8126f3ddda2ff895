// Any server of ranges as a source: the artifact's objects lie below a URL under their own keys, as `aws s3
// sync` or a web server over the folder lays them out. Free, unverified, and trusted with nothing.
import type { ObjectRange, ShardMap, ShardRun } from "../artifact/index.ts";
import { readStoredRun } from "../compression/index.ts";
import { WaybillError } from "../protocol/index.ts";
import {
  type FetchOptions,
  LinkBook,
  ShardSet,
  type Source,
  type SourceAdvice,
  type SourceFactory,
} from "../transfer/index.ts";
import { mirrorError } from "./mirror-error.ts";
import { type Pin, type RangedGetDeps, rangedGet, readOn } from "./ranged-get.ts";

export type MirrorInit = Omit<RangedGetDeps, "links"> & {
  /** What is known of links; shared by the transfers of a process. */
  readonly links?: LinkBook;
  /** It is known to have every object plain, under the plain object's key. */
  readonly plain?: boolean;
};

/** Most connections to one mirror; the scheduler begins with four and finds out how many pay. */
const WINDOW = 16;

/** A mirror of one artifact as a source of kind `http`. */
export class HttpMirrorSource implements Source {
  readonly id: string;
  readonly kind = "http";
  readonly cost = "free";
  readonly window = WINDOW;
  readonly #map: ShardMap;
  readonly #base: URL;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #deps: RangedGetDeps;
  /** Where redirections led, by key, for as long as all goes well there. */
  readonly #moved = new Map<string, string>();
  /** The host that served last, for advice. */
  #host: string;
  #wholeObjects = false;
  /** Which form of encoded objects it has: as they are stored, or plain, as a web server over the files does. */
  #form: "unknown" | "stored" | "plain" = "unknown";

  /** Throws `invalid_request` for what is no http or https URL. */
  constructor(prefix: string, map: ShardMap, init: MirrorInit) {
    const base = mirrorUrl(prefix);
    const { username, password } = base;
    base.username = "";
    base.password = "";
    this.#base = base;
    this.#map = map;
    this.#deps = { ...init, links: init.links ?? new LinkBook() };
    if (init.plain === true) this.#form = "plain";
    // The query may be a signature, so it is not shown (I10).
    this.id = `http ${base.host}${base.pathname.replace(/\/+$/, "")}`.replaceAll("=", "");
    const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    this.#headers = {
      "accept-encoding": "identity",
      ...(username === "" ? {} : { authorization: `Basic ${basic(login)}` }),
    };
    this.#host = base.host;
  }

  shards(): ShardSet {
    return ShardSet.all(this.#map.count);
  }

  runEnd(first: number): number {
    return this.#map.objectEnd(first);
  }

  advice(): SourceAdvice {
    return {
      ...this.#deps.links.advice(this.#host),
      ...(this.#wholeObjects ? { wholeObjects: true } : {}),
    };
  }

  async *fetch(run: ShardRun, options: FetchOptions): AsyncGenerator<Uint8Array> {
    const plain = this.#map.plainRangeOf(run);
    const plainBytes = objectSize(this.#map, run.first);
    if (this.#form === "plain" || this.#map.rangeOf(run).encoded === undefined) {
      yield* this.#read(plain, options, plainBytes);
      return;
    }
    try {
      const stored = readStoredRun(this.#map, run, options, this.#read.bind(this));
      for await (const piece of stored) {
        this.#form = "stored";
        yield piece;
      }
    } catch (error) {
      if (this.#form === "stored" || !isMissing(error)) throw error;
      for await (const piece of this.#read(plain, options, plainBytes)) {
        this.#form = "plain";
        yield piece;
      }
    }
  }

  #read(
    range: ObjectRange,
    options: FetchOptions,
    objectBytes: number,
  ): AsyncGenerator<Uint8Array> {
    const pin: Pin = { etag: undefined };
    return readOn(
      range.size,
      (done) => {
        const rest = { key: range.key, start: range.start + done, size: range.size - done };
        const { into } = options;
        const shifted = into === undefined ? {} : { into: (at: number) => into(at + done) };
        const from = this.#moved.get(range.key) ?? this.#urlOf(range.key);
        const pieces = rangedGet(
          this.#deps,
          {
            url: from,
            headers: this.#headersFor(from),
            range: rest,
            objectBytes,
            pin,
            // Known to serve no ranges, it is asked for long rests of objects only.
            maySkip: this.#wholeObjects,
            refusal: (refusal, url) => mirrorError(range.key, url, refusal),
            onWhole: () => (this.#wholeObjects = true),
            onRedirect: (url) => {
              this.#moved.set(range.key, url);
              this.#host = new URL(url).host;
            },
          },
          { ...options, ...shifted },
        );
        return this.#forgetting(range.key, pieces);
      },
      options.signal,
    );
  }

  /** Whatever fails, the next request begins at the mirror itself: what it led to may be a portal, or gone. */
  async *#forgetting(key: string, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* pieces;
    } catch (error) {
      this.#moved.delete(key);
      throw error;
    }
  }

  /** The login is for the mirror alone, not for where it led. */
  #headersFor(url: string): Readonly<Record<string, string>> {
    if (new URL(url).origin === this.#base.origin) return this.#headers;
    const { authorization: _, ...others } = this.#headers;
    return others;
  }

  #urlOf(key: string): string {
    const url = new URL(this.#base);
    const path = key.split("/").map(encodeURIComponent).join("/");
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path}`;
    return url.href;
  }
}

/** A factory for a mirror; throws `invalid_request` at once for what is no http or https URL. */
export function httpMirror(prefix: string, init: MirrorInit): SourceFactory {
  mirrorUrl(prefix);
  return ({ map }) => new HttpMirrorSource(prefix, map, init);
}

function isMissing(error: unknown): boolean {
  return error instanceof WaybillError && error.code === "not_found";
}

/** Size of the plain object that holds a shard. */
function objectSize(map: ShardMap, shard: number): number {
  return map.manifest.layout === "packed" ? map.bytes : map.file(map.fileOf(shard)).size;
}

function mirrorUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new WaybillError("invalid_request", "a mirror is an http or https URL", {
      hint: "give the address under which the artifact's files lie, such as https://mirror.example/digits",
    });
  }
  url.hash = "";
  return url;
}

function basic(login: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(login)));
}
