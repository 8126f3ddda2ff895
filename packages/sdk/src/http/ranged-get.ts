// One GET of one range, and the reading on where a connection broke. Takes nothing for an answer that is not
// exactly what was asked for: portals, proxies and servers answer all sorts of things with status 200.
import type { ObjectRange } from "../artifact/index.ts";
import type { ByteTransport, ConnectionFacts, GetAnswer } from "../platform/index.ts";
import { WaybillError, isRetryable } from "../protocol/index.ts";
import type { FetchOptions, LinkBook } from "../transfer/index.ts";

/** An answer that is no success, with the first 16 KiB of its body. */
export type Refusal = {
  readonly status: number;
  readonly header: (name: string) => string | undefined;
  readonly text: string;
};

export type RangedGet = {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly range: ObjectRange;
  /** Size of the whole object, when it is known: an object of another size is another version. */
  readonly objectBytes?: number | undefined;
  /** `ETag` of the object as its first part was read; another one is a failed request. */
  readonly pin?: Pin | undefined;
  /** The error for a refusal. */
  readonly refusal: (refusal: Refusal, url: string) => WaybillError;
  /** Whether the bytes before the range may be read and thrown away, where the server serves no ranges. */
  readonly maySkip?: boolean;
  /** Told when the server answered with the whole object: it serves no ranges. */
  readonly onWhole?: () => void;
  /** Told where redirections led, when what was asked for is there. */
  readonly onRedirect?: (url: string) => void;
};

export type RangedGetDeps = {
  readonly transport: ByteTransport;
  readonly links: LinkBook;
  readonly idleMs?: number | undefined;
};

/** Remembers an object's `ETag` through the requests of one read. */
export type Pin = { etag: string | undefined };

/** Error documents are short. */
const MAX_ERROR_BYTES = 16 * 1024;
const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** An attempt that brought less was no progress. */
const PROGRESS_BYTES = 1024;

/**
 * Reads `size` bytes by attempts, each going on where the last one broke, as long as they make progress;
 * throws the error of one that made none. Pieces are valid until the next one is asked for.
 */
export async function* readOn(
  size: number,
  attempt: (done: number) => AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < size;) {
    const before = done;
    try {
      for await (const piece of attempt(done)) {
        done += piece.length;
        yield piece;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!isRetryable(error) || done - before < PROGRESS_BYTES) throw error;
    }
  }
}

/**
 * The range's bytes, in one exchange (and up to 5 redirections). Throws what `refusal` gives, `storage_failed`
 * for an answer that is not that range, `source_changed` for an object of another size, `unreachable` and
 * `timeout` for connections, or the signal's reason. Teaches `links` what it sees.
 */
export async function* rangedGet(
  deps: RangedGetDeps,
  get: RangedGet,
  { signal, into }: FetchOptions,
): AsyncGenerator<Uint8Array> {
  const { range } = get;
  const startMs = performance.now();
  const watch = new LinkWatch(deps.links);
  // Bytes of the body still to come that lie before the range; they have no place in the reader's memory.
  let skip = 0;
  const placed = get.maySkip === true ? undefined : into;
  try {
    const { answer, url } = await ask(deps, get, { signal, into: placed }, watch);
    watch.answered(performance.now() - startMs);
    if (answer.status !== 206 && answer.status !== 200) {
      throw get.refusal({ ...answer, text: await textOf(answer) }, url);
    }
    await checkAnswer(answer, get, new URL(url).host);
    if (url !== get.url) get.onRedirect?.(url);
    skip = answer.status === 200 ? range.start : 0;
    let left = range.size;
    for await (const whole of answer.body) {
      const piece = whole.subarray(skip);
      watch.moved(whole.length - piece.length);
      skip -= whole.length - piece.length;
      // The whole object instead of its beginning: the rest is not read.
      const part = piece.length > left ? piece.subarray(0, left) : piece;
      if (part.length < piece.length && answer.status === 206) {
        throw new WaybillError("storage_failed", `more of ${range.key} came than was asked for`);
      }
      left -= part.length;
      watch.moved(part.length);
      if (part.length > 0) yield part;
      if (left === 0 && answer.status === 200) break;
    }
    if (left > 0) {
      throw new WaybillError("unreachable", `${range.key} ended ${left} bytes early`);
    }
    watch.alive();
  } catch (error) {
    watch.failed(error);
    throw error;
  }
}

async function ask(
  { transport, links, idleMs }: RangedGetDeps,
  get: RangedGet,
  options: Partial<FetchOptions>,
  watch: LinkWatch,
): Promise<{ answer: GetAnswer; url: string }> {
  const { range } = get;
  let { url, headers = {} } = get;
  for (let hops = 0; ; hops++) {
    const { host } = new URL(url);
    const { maxConnectionAgeMs } = links.advice(host);
    const answer = await transport.get({
      url,
      headers: { ...headers, range: `bytes=${range.start}-${range.start + range.size - 1}` },
      ...options,
      maxConnectionAgeMs,
      onConnection: (facts) => watch.connected(host, facts),
      ...(idleMs === undefined ? {} : { idleMs }),
    });
    const location = answer.header("location");
    if (!REDIRECTS.has(answer.status) || location === undefined) {
      return { answer, url };
    }
    await textOf(answer);
    const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
    const from = new URL(url);
    if (hops >= MAX_REDIRECTS || next === undefined || !isSafeHop(from, next)) {
      throw new WaybillError(
        "storage_failed",
        `${from.host} redirects ${range.key} ${hops >= MAX_REDIRECTS ? "round and round" : "to where this client does not go"}`,
      );
    }
    if (next.origin !== from.origin) headers = withoutSecrets(headers);
    url = next.href;
  }
}

/** Never out of the web, never out of encryption. */
function isSafeHop(from: URL, to: URL): boolean {
  return to.protocol === "https:" || (to.protocol === "http:" && from.protocol === "http:");
}

function withoutSecrets(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => name.toLowerCase() !== "authorization"),
  );
}

/** Throws unless a successful answer is what was asked for. */
async function checkAnswer(answer: GetAnswer, get: RangedGet, host: string): Promise<void> {
  const { range, objectBytes, pin } = get;
  const { fault, other } = faultOf(answer, get);
  const etag = answer.header("etag");
  const changed = pin?.etag !== undefined && etag !== undefined && etag !== pin.etag;
  if (answer.status === 200 && isWhole(answer, objectBytes) && range.size !== objectBytes) {
    get.onWhole?.();
  }
  if (fault === undefined && other === undefined && !changed) {
    if (pin !== undefined) pin.etag = etag ?? pin.etag;
    return;
  }
  await textOf(answer);
  if (other !== undefined) {
    throw new WaybillError("source_changed", `${host} has another ${range.key}: ${other}`);
  }
  if (fault === undefined) {
    throw new WaybillError("storage_failed", `${range.key} changed at ${host} while it was read`);
  }
  throw new WaybillError("storage_failed", `${host} answered ${range.key} with ${fault}`);
}

/** What is wrong with a successful answer; `other`: the object has another size than it should. */
function faultOf(
  answer: GetAnswer,
  { range, objectBytes, maySkip = false }: RangedGet,
): { fault?: string; other?: string } {
  const length = lengthOf(answer);
  const type = answer.header("content-type") ?? "";
  if (answer.header("content-encoding") !== undefined) return { fault: "an encoded body" };
  if (answer.status === 206) {
    const given = answer.header("content-range");
    const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(given ?? "");
    const total = match?.[3] === undefined || match[3] === "*" ? undefined : Number(match[3]);
    if (objectBytes !== undefined && total !== undefined && total !== objectBytes) {
      return { other: `${total} bytes instead of ${objectBytes}` };
    }
    const last = range.start + range.size - 1;
    if (match === null || Number(match[1]) !== range.start || Number(match[2]) !== last) {
      return { fault: `the range ${given ?? "of an unknown place"}` };
    }
    return length === undefined || length === range.size
      ? {}
      : { fault: `${length} bytes instead of ${range.size}` };
  }
  // A whole object is an answer to a range that begins it, and to nothing else.
  if (isWhole(answer, objectBytes ?? range.size)) {
    const useful = range.start === 0 || maySkip;
    return useful ? {} : { fault: "the whole object instead of a range" };
  }
  if (/html/i.test(type)) return { fault: "a web page: a portal may want you to log in" };
  if (range.start > 0) return { fault: "the whole object instead of a range" };
  if (length === undefined) return { fault: "a body of unknown length" };
  return objectBytes === undefined
    ? { fault: `${length} bytes instead of ${range.size}` }
    : { other: `${length} bytes instead of ${objectBytes}` };
}

function isWhole(answer: GetAnswer, objectBytes: number | undefined): boolean {
  return objectBytes !== undefined && lengthOf(answer) === objectBytes;
}

function lengthOf(answer: GetAnswer): number | undefined {
  const length = answer.header("content-length");
  return length === undefined ? undefined : Number(length);
}

async function textOf(answer: GetAnswer): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const piece of answer.body) {
      text += decoder.decode(piece, { stream: true });
      if (text.length > MAX_ERROR_BYTES) break;
    }
  } catch {
    // The status has said enough.
  }
  return text;
}

/** Sees the connection of one request and tells the link book how it fared. */
class LinkWatch {
  readonly #links: LinkBook;
  #facts: ConnectionFacts | undefined;
  #host = "";
  #bytes = 0;
  #firstMs: number | undefined;

  constructor(links: LinkBook) {
    this.#links = links;
  }

  connected(host: string, facts: ConnectionFacts): void {
    this.#host = host;
    this.#facts = facts;
  }

  answered(ms: number): void {
    this.#firstMs = performance.now();
    this.#learn({ type: "answered", ms });
  }

  moved(bytes: number): void {
    this.#bytes += bytes;
  }

  alive(): void {
    this.#learn({ type: "alive", ageMs: this.#ageMs() });
    this.#rate();
  }

  failed(error: unknown): void {
    const lost = error instanceof WaybillError && error.code === "unreachable";
    if (!lost || this.#facts === undefined) return;
    this.#learn({ type: "reset", ageMs: this.#ageMs() });
    this.#rate();
  }

  #rate(): void {
    if (this.#firstMs === undefined) return;
    this.#learn({ type: "moved", bytes: this.#bytes, ms: performance.now() - this.#firstMs });
  }

  #ageMs(): number {
    return performance.now() - (this.#facts?.openedAtMs ?? performance.now());
  }

  #learn(fact: Parameters<LinkBook["learn"]>[1]): void {
    if (this.#facts !== undefined) this.#links.learn(this.#host, fact);
  }
}
