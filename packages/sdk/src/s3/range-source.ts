// Shards by ranged GETs of presigned URLs. Goes on where a connection broke, signs again what has expired
// (I9), and takes nothing for an answer that is not exactly the range it asked for.
import type { ObjectRange, ShardMap, ShardRun } from "../artifact/index.ts";
import type { ByteTransport, GetAnswer } from "../platform/index.ts";
import {
  LIMITS,
  MANIFEST_KEY,
  PACK_KEY,
  type SignedRead,
  WaybillError,
  isRetryable,
} from "../protocol/index.ts";
import { backoffMs, delay } from "../timing/index.ts";
import { ShardSet, type Source } from "../transfer/index.ts";
import { storeError } from "./store-error.ts";

/** Signs GETs of an artifact's objects; retries by itself while the hub is away. */
export type SignReads = (
  keys: readonly string[],
  options: { readonly signal: AbortSignal | undefined },
) => Promise<readonly SignedRead[]>;

export type RangeReaderInit = {
  readonly sign: SignReads;
  readonly transport: ByteTransport;
  /** Keys in the order they will be asked for; some are signed ahead in one call. */
  readonly keys: readonly string[];
  /** Gives up after failures without a byte of progress for this long. */
  readonly retryForMs: number;
  readonly idleMs?: number;
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
};

/** Keys signed with the one that is needed: few enough that none expires unused. */
const SIGN_AHEAD = 64;
/** Fresh URLs refused in a row before the refusal is taken for an answer. */
const MAX_REFUSALS = 3;
/** Error documents are short. */
const MAX_ERROR_BYTES = 16 * 1024;

/** Reads byte ranges of stored objects through URLs it keeps and renews. */
export class RangeReader {
  readonly #init: RangeReaderInit;
  readonly #urls = new Map<string, string>();
  readonly #order: ReadonlyMap<string, number>;

  constructor(init: RangeReaderInit) {
    this.#init = init;
    this.#order = new Map(init.keys.map((key, index) => [key, index]));
  }

  /** The range's bytes, whole. Pieces are valid until the next one is asked for. */
  async *read(range: ObjectRange, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    let done = 0;
    let failures = 0;
    let refusals = 0;
    let failingSinceMs = performance.now();
    while (done < range.size) {
      try {
        const rest = { key: range.key, start: range.start + done, size: range.size - done };
        for await (const piece of this.#attempt(rest, signal)) {
          done += piece.length;
          failures = 0;
          refusals = 0;
          failingSinceMs = performance.now();
          yield piece;
        }
        continue;
      } catch (error) {
        signal?.throwIfAborted();
        if (!isRetryable(error)) throw error;
        if (error instanceof WaybillError && error.code === "url_expired") {
          this.#urls.delete(range.key);
          refusals += 1;
          if (refusals >= MAX_REFUSALS) throw error;
          continue;
        }
        const wished = error instanceof WaybillError ? (error.retryAfterMs ?? 0) : 0;
        const waitMs = Math.max(wished, backoffMs(failures, { capMs: 5000 }));
        failures += 1;
        if (performance.now() + waitMs - failingSinceMs > this.#init.retryForMs) throw error;
        this.#init.onRetry?.(error, waitMs);
        await delay(waitMs, signal);
      }
    }
  }

  async *#attempt(range: ObjectRange, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    const url = await this.#url(range.key, signal);
    const last = range.start + range.size - 1;
    const answer = await this.#init.transport.get({
      url,
      headers: { range: `bytes=${range.start}-${last}` },
      signal,
      ...(this.#init.idleMs === undefined ? {} : { idleMs: this.#init.idleMs }),
    });
    if (answer.status !== 206 && answer.status !== 200) {
      const text = await textOf(answer);
      throw storeError(range.key, url, { status: answer.status, header: answer.header, text });
    }
    const fault = faultOf(answer, range);
    if (fault !== undefined) {
      await textOf(answer);
      throw new WaybillError(
        "storage_failed",
        `store ${new URL(url).host} answered ${range.key} with ${fault}`,
      );
    }
    let left = range.size;
    for await (const piece of answer.body) {
      if (piece.length > left) {
        throw new WaybillError("storage_failed", `store sent more of ${range.key} than asked for`);
      }
      left -= piece.length;
      yield piece;
    }
    if (left > 0) {
      throw new WaybillError("unreachable", `store ended ${range.key} ${left} bytes early`);
    }
  }

  async #url(key: string, signal: AbortSignal | undefined): Promise<string> {
    const known = this.#urls.get(key);
    if (known !== undefined) return known;
    const at = this.#order.get(key) ?? 0;
    const ahead = this.#init.keys
      .slice(at, at + Math.min(SIGN_AHEAD, LIMITS.signBatch))
      .filter((other) => other === key || !this.#urls.has(other));
    for (const read of await this.#init.sign(ahead.length > 0 ? ahead : [key], { signal })) {
      this.#urls.set(read.key, read.url);
    }
    const url = this.#urls.get(key);
    if (url === undefined) throw new WaybillError("not_found", `the hub signs no read of ${key}`);
    return url;
  }
}

/** What is wrong with a successful answer, such as a proxy's page or another range than was asked for. */
function faultOf(answer: GetAnswer, range: ObjectRange): string | undefined {
  const length = answer.header("content-length");
  if (length !== undefined && Number(length) !== range.size) {
    return `${length} bytes instead of ${range.size}`;
  }
  if (answer.header("content-encoding") !== undefined) return "an encoded body";
  const given = answer.header("content-range");
  if (answer.status === 200) {
    // A whole object is an answer to a range that covers it, and to nothing else.
    if (range.start > 0) return "the whole object instead of a range";
    return length === undefined ? "a body of unknown length" : undefined;
  }
  const last = range.start + range.size - 1;
  const match = /^bytes (\d+)-(\d+)\/(?:\d+|\*)$/.exec(given ?? "");
  if (match !== null && Number(match[1]) === range.start && Number(match[2]) === last) {
    return undefined;
  }
  return `the range ${given ?? "of an unknown place"}`;
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

/** Connections to one store at once: enough to fill long paths, few enough to lose little when killed. */
const WINDOW = 4;

/** A stored artifact as a source of kind `s3`. */
export class S3Source implements Source {
  readonly id: string;
  readonly kind = "s3";
  readonly cost = "paid";
  readonly window = WINDOW;
  readonly #map: ShardMap;
  readonly #reader: RangeReader;

  constructor(init: { readonly id: string; readonly map: ShardMap; readonly reader: RangeReader }) {
    this.id = init.id;
    this.#map = init.map;
    this.#reader = init.reader;
  }

  shards(): ShardSet {
    return ShardSet.all(this.#map.count);
  }

  runEnd(first: number): number {
    return this.#map.objectEnd(first);
  }

  fetch(run: ShardRun, { signal }: { readonly signal: AbortSignal }): AsyncIterable<Uint8Array> {
    return this.#reader.read(this.#map.rangeOf(run), signal);
  }
}

/** The keys of an artifact's objects in the order in which shards come. */
export function readKeys(map: ShardMap): string[] {
  const { layout, files } = map.manifest;
  return layout === "packed" ? [PACK_KEY] : files.map((file) => file.path);
}

/** The manifest's bytes as text; `bytes` is what the artifact's record says. */
export async function readManifest(
  reader: RangeReader,
  bytes: number,
  signal?: AbortSignal,
): Promise<string> {
  if (bytes > LIMITS.manifestBytes) {
    throw new WaybillError("too_large", `the manifest has ${bytes} bytes`);
  }
  const whole = new Uint8Array(bytes);
  let at = 0;
  for await (const piece of reader.read({ key: MANIFEST_KEY, start: 0, size: bytes }, signal)) {
    whole.set(piece, at);
    at += piece.length;
  }
  return new TextDecoder().decode(whole);
}
