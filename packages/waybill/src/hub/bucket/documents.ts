// JSON documents under compare-and-swap: the hub's state is read, edited and written back only if nobody
// else wrote it meanwhile (I4). One process serialises its own edits of a key and remembers what it last
// saw there, so that an edit usually costs one conditional PUT and no GET; a 412 means another hub wrote,
// and the edit runs again on what is there now.
//
//   update ─▶ cached? ──yes──▶ edit ─▶ PUT If-Match ─▶ done
//               │no              ▲          │412
//               └────▶ GET ──────┴─◀─jitter─┘
import {
  WaybillError,
  cryptoRandom,
  decodeJson,
  messageOf,
  randomText,
} from "@waybill/sdk/protocol";
import { nextTurn } from "@waybill/sdk/platform";
import { backoffMs, delay } from "@waybill/sdk/timing";
import type { Bucket, Head, PutCondition, PutOptions } from "./bucket.ts";
import { DocumentCache, type Versioned } from "./document-cache.ts";
import {
  type DocumentKind,
  type DocumentSchema,
  type DocumentType,
  isKind,
} from "./document-kind.ts";
import { KeyedQueue } from "./keyed-queue.ts";

export type { Versioned } from "./document-cache.ts";

export type Updated<T> = Versioned<T> & {
  /** Whether this call wrote. */
  readonly changed: boolean;
};

/**
 * Gives the next document, or `undefined` to leave it as it is. It may run several times and must
 * neither mutate its argument nor have effects; what it throws ends the update. Where it can, it should
 * recognise its own result: the answer to a write may be lost while another writer builds upon it.
 */
export type Edit<T> = (doc: T | undefined) => T | undefined;

export type DocumentsInit = {
  readonly bucket: Bucket;
  readonly now?: () => number;
  readonly sleep?: (ms: number) => Promise<void>;
  readonly random?: () => number;
};

/** Larger documents are not ours. */
const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024;
/** Lost races before an update gives up: at 64 contending hubs each round still lets one through. */
const MAX_TRIES = 100;

/** The documents of one bucket. */
export class Documents {
  readonly bucket: Bucket;
  readonly #now: () => number;
  readonly #sleep: (ms: number) => Promise<void>;
  readonly #random: () => number;
  readonly #cache = new DocumentCache();
  readonly #queue = new KeyedQueue();
  /** Large documents under way from the store, by key and etag: many who ask at once share one. */
  readonly #loading = new Map<string, Promise<Found<unknown>>>();

  constructor(init: DocumentsInit) {
    this.bucket = init.bucket;
    this.#now = init.now ?? Date.now;
    this.#sleep = init.sleep ?? ((ms) => delay(ms));
    this.#random = init.random ?? Math.random;
  }

  /**
   * The document as stored, or `undefined`. With `maxAgeMs` a copy this process read or wrote at most that
   * long ago will do; by default the store is asked. Throws `storage_failed`.
   */
  async read<T>(
    type: DocumentType<T>,
    key: string,
    options: { readonly maxAgeMs?: number } = {},
  ): Promise<Versioned<T> | undefined> {
    if (options.maxAgeMs !== undefined) {
      const cached = this.#cache.get(type, key);
      if (cached !== undefined && this.#now() - cached.atMs <= options.maxAgeMs) return cached;
    }
    return this.#fetch(type, key);
  }

  /** Writes a document that must not exist yet; throws `conflict` when it does, else `storage_failed`. */
  async create<T>(type: DocumentType<T>, key: string, doc: T): Promise<Versioned<T>> {
    return this.#queue.run(key, async () => {
      const put = await this.#put(type, key, doc, undefined);
      if (put.won) return put.written;
      throw new WaybillError("conflict", `${key} exists already`);
    });
  }

  /**
   * Applies `edit` and writes the result, again and again until no other writer came between. Answers the
   * document as it is afterwards (`undefined` when there is none and the edit wanted none).
   *
   * An edit that throws or changes nothing is believed only on a document that was read from the store
   * during this call, so a stale memory cannot refuse what another hub has made possible.
   *
   * Throws what `edit` throws; `storage_failed`; `conflict` after 100 lost races.
   */
  async update<T>(
    type: DocumentType<T>,
    key: string,
    edit: Edit<T>,
  ): Promise<Updated<T> | undefined> {
    return this.#queue.run(key, async () => {
      let current: Versioned<T> | undefined = this.#cache.get(type, key);
      let fresh = false;
      if (current === undefined) {
        current = await this.#fetch(type, key);
        fresh = true;
      }
      for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
        const outcome = tryEdit(edit, current?.doc);
        if (outcome.kind !== "changed" && !fresh) {
          const before = current?.etag;
          current = await this.#fetch(type, key);
          fresh = true;
          if (current?.etag !== before) continue;
        }
        if (outcome.kind === "failed") throw outcome.error;
        if (outcome.kind === "unchanged") {
          return current === undefined ? undefined : { ...current, changed: false };
        }
        const put = await this.#put(type, key, outcome.doc, current);
        if (put.won) return { ...put.written, changed: true };
        current = put.found;
        fresh = true;
        // The first retry is at once; the more races were lost, the longer and the more spread out.
        if (attempt > 0) {
          await this.#sleep(
            backoffMs(attempt - 1, { baseMs: 4, capMs: 250, random: this.#random }),
          );
          current = await this.#fetch(type, key);
        }
      }
      throw new WaybillError("conflict", `${key} is being changed by too many writers at once`, {
        hint: "try again in a moment",
      });
    });
  }

  /** Deletes the document, whatever it holds. */
  async delete(key: string): Promise<void> {
    await this.#queue.run(key, async () => {
      this.#cache.forget(key);
      await this.bucket.delete([key]);
    });
  }

  /** Forgets what is remembered of a key (after it was written by other means). */
  forget(key: string): void {
    this.#cache.forget(key);
  }

  async #fetch<T>(type: DocumentType<T>, key: string): Promise<Versioned<T> | undefined> {
    return (await this.#find(type, key)).versioned;
  }

  async #find<T>(type: DocumentType<T>, key: string): Promise<Found<T>> {
    return isKind(type) ? this.#findLarge(type, key) : this.#get(type, key);
  }

  async #get<T>(schema: DocumentSchema<T>, key: string): Promise<Found<T>> {
    const atMs = this.#now();
    const object = await this.bucket.get(key);
    if (object === undefined) {
      this.#cache.forget(key);
      return NOTHING;
    }
    const text = new TextDecoder().decode(object.body);
    const versioned = { doc: decodeStored(schema, key, text), etag: object.etag };
    this.#cache.set(schema, key, { ...versioned, atMs }, object.size);
    return { versioned, writeId: object.writeId };
  }

  /** Looks at what is there, and reads only what changed in it where that is possible. */
  async #findLarge<T>(kind: DocumentKind<T>, key: string): Promise<Found<T>> {
    const atMs = this.#now();
    const head = await this.bucket.head(key);
    if (head === undefined) {
      await kind.missing(this.bucket, key);
      this.#cache.forget(key);
      return NOTHING;
    }
    const known = this.#cache.get(kind, key);
    if (known?.etag === head.etag) {
      this.#remember(kind, key, { ...known, atMs }, head.size);
      return { versioned: known, writeId: head.writeId };
    }
    const version = `${key}\n${head.etag}`;
    const shared = this.#loading.get(version) as Promise<Found<T>> | undefined;
    if (shared !== undefined) return shared;
    const loading = this.#load(kind, key, known, head, atMs);
    this.#loading.set(version, loading);
    try {
      return await loading;
    } finally {
      this.#loading.delete(version);
    }
  }

  async #load<T>(
    kind: DocumentKind<T>,
    key: string,
    known: Versioned<T> | undefined,
    head: Head,
    atMs: number,
  ): Promise<Found<T>> {
    const { bucket } = this;
    const next = known && (await kind.advance(bucket, key, known.doc, head));
    if (next !== undefined) {
      const versioned = { doc: next, etag: head.etag };
      this.#remember(kind, key, { ...versioned, atMs }, head.size);
      return { versioned, writeId: head.writeId };
    }
    const object = await bucket.get(key);
    if (object === undefined) return this.#findLarge(kind, key);
    const versioned = { doc: await kind.decode(key, object), etag: object.etag };
    this.#remember(kind, key, { ...versioned, atMs }, object.size);
    return { versioned, writeId: object.writeId };
  }

  /** Unless something younger was remembered while this was read. */
  #remember<T>(
    kind: DocumentKind<T>,
    key: string,
    seen: Versioned<T> & { readonly atMs: number },
    size: number,
  ): void {
    const known = this.#cache.get(kind, key);
    if (known === undefined || known.atMs <= seen.atMs) this.#cache.set(kind, key, seen, size);
  }

  /** Writes over `before`, or where nothing is; otherwise answers what was found there. */
  async #put<T>(
    type: DocumentType<T>,
    key: string,
    doc: T,
    before: Versioned<T> | undefined,
  ): Promise<PutOutcome<T>> {
    const condition: PutCondition =
      before === undefined ? { ifAbsent: true } : { ifMatch: before.etag };
    const startMs = this.#now();
    // Until the store has answered nobody knows what is there.
    if (isKind(type)) this.#cache.distrust(key);
    else this.#cache.forget(key);
    const { body, ...facts } = await this.#encode(type, key, doc, before?.doc);
    try {
      const options = { condition, contentType: "application/json", ...facts };
      const stored = await this.bucket.put(key, body, options);
      const written = { doc, etag: stored.etag };
      // What was read of a large document while it was written is older than this, whenever it comes.
      const atMs = isKind(type) ? this.#now() : startMs;
      this.#cache.set(type, key, { ...written, atMs }, stored.size);
      return { won: true, written };
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "precondition_failed") throw error;
    }
    // A PUT whose answer was lost is sent again by the S3 client, and refused because it had succeeded.
    const found = await this.#find(type, key).catch(async (reason: unknown) => {
      if (isKind(type)) await type.refused(this.bucket, key, doc, reason);
      throw reason;
    });
    return found.versioned !== undefined && found.writeId === facts.writeId
      ? { won: true, written: found.versioned }
      : { won: false, found: found.versioned };
  }

  async #encode<T>(
    type: DocumentType<T>,
    key: string,
    doc: T,
    before: T | undefined,
  ): Promise<{ readonly body: Uint8Array | string } & Pick<PutOptions, "metadata" | "writeId">> {
    if (!isKind(type)) {
      return { body: JSON.stringify(doc), writeId: randomText(16, cryptoRandom) };
    }
    const [encoded] = await Promise.all([
      // Encoding takes a while, and the store meanwhile does what comes first.
      nextTurn().then(() => type.encode(doc)),
      type.prepare(this.bucket, key, before, doc),
    ]);
    return encoded;
  }
}

type Found<T> = {
  readonly versioned: Versioned<T> | undefined;
  readonly writeId: string | undefined;
};

const NOTHING = { versioned: undefined, writeId: undefined };

type PutOutcome<T> =
  | { readonly won: true; readonly written: Versioned<T> }
  | { readonly won: false; readonly found: Versioned<T> | undefined };

type Outcome<T> =
  | { readonly kind: "changed"; readonly doc: T }
  | { readonly kind: "unchanged" }
  | { readonly kind: "failed"; readonly error: unknown };

function tryEdit<T>(edit: Edit<T>, doc: T | undefined): Outcome<T> {
  try {
    const next = edit(doc);
    return next === undefined ? { kind: "unchanged" } : { kind: "changed", doc: next };
  } catch (error) {
    return { kind: "failed", error };
  }
}

/** Decodes what the bucket holds; what does not fit was not written by this version of a hub. */
function decodeStored<T>(schema: DocumentSchema<T>, key: string, text: string): T {
  try {
    return decodeJson(schema, text, key, MAX_DOCUMENT_BYTES);
  } catch (cause) {
    throw new WaybillError("storage_failed", `stored document is damaged: ${messageOf(cause)}`, {
      cause,
      hint: `look at ${key} with any S3 tool`,
    });
  }
}
