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
import { backoffMs, delay } from "@waybill/sdk/timing";
import type * as v from "valibot";
import type { Bucket, PutCondition } from "./bucket.ts";
import { DocumentCache } from "./document-cache.ts";
import { KeyedQueue } from "./keyed-queue.ts";

/** A document and the etag it was read or written with. Documents are values: never mutate one. */
export type Versioned<T> = { readonly doc: T; readonly etag: string };

export type Updated<T> = Versioned<T> & {
  /** Whether this call wrote. */
  readonly changed: boolean;
};

/** Validates what is stored; input and output types may differ by defaults only. */
export type DocumentSchema<T> = v.GenericSchema<unknown, T>;

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

/** Larger documents are not ours; a registry of 10,000 models stays below. */
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
    schema: DocumentSchema<T>,
    key: string,
    options: { readonly maxAgeMs?: number } = {},
  ): Promise<Versioned<T> | undefined> {
    if (options.maxAgeMs !== undefined) {
      const cached = this.#cache.get(schema, key);
      if (cached !== undefined && this.#now() - cached.atMs <= options.maxAgeMs) return cached;
    }
    return this.#fetch(schema, key);
  }

  /** Writes a document that must not exist yet; throws `conflict` when it does, else `storage_failed`. */
  async create<T>(schema: DocumentSchema<T>, key: string, doc: T): Promise<Versioned<T>> {
    return this.#queue.run(key, async () => {
      const put = await this.#put(schema, key, doc, undefined);
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
    schema: DocumentSchema<T>,
    key: string,
    edit: Edit<T>,
  ): Promise<Updated<T> | undefined> {
    return this.#queue.run(key, async () => {
      let current: Versioned<T> | undefined = this.#cache.get(schema, key);
      let fresh = false;
      if (current === undefined) {
        current = await this.#fetch(schema, key);
        fresh = true;
      }
      for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
        const outcome = tryEdit(edit, current?.doc);
        if (outcome.kind !== "changed" && !fresh) {
          const before = current?.etag;
          current = await this.#fetch(schema, key);
          fresh = true;
          if (current?.etag !== before) continue;
        }
        if (outcome.kind === "failed") throw outcome.error;
        if (outcome.kind === "unchanged") {
          return current === undefined ? undefined : { ...current, changed: false };
        }
        const put = await this.#put(schema, key, outcome.doc, current?.etag);
        if (put.won) return { ...put.written, changed: true };
        current = put.found;
        fresh = true;
        // The first retry is at once; the more races were lost, the longer and the more spread out.
        if (attempt > 0) {
          await this.#sleep(
            backoffMs(attempt - 1, { baseMs: 4, capMs: 250, random: this.#random }),
          );
          current = await this.#fetch(schema, key);
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

  async #fetch<T>(schema: DocumentSchema<T>, key: string): Promise<Versioned<T> | undefined> {
    return (await this.#fetchWithId(schema, key)).versioned;
  }

  async #fetchWithId<T>(
    schema: DocumentSchema<T>,
    key: string,
  ): Promise<{ versioned: Versioned<T> | undefined; writeId: string | undefined }> {
    const atMs = this.#now();
    const object = await this.bucket.get(key);
    if (object === undefined) {
      this.#cache.forget(key);
      return { versioned: undefined, writeId: undefined };
    }
    const text = new TextDecoder().decode(object.body);
    const versioned = { doc: decodeStored(schema, key, text), etag: object.etag };
    this.#cache.set(schema, key, { ...versioned, atMs }, object.size);
    return { versioned, writeId: object.writeId };
  }

  /** Writes over `etag`, or where nothing is; otherwise answers what was found there. */
  async #put<T>(
    schema: DocumentSchema<T>,
    key: string,
    doc: T,
    etag: string | undefined,
  ): Promise<PutOutcome<T>> {
    const text = JSON.stringify(doc);
    const writeId = randomText(16, cryptoRandom);
    const condition: PutCondition = etag === undefined ? { ifAbsent: true } : { ifMatch: etag };
    const atMs = this.#now();
    // Until the store has answered nobody knows what is there.
    this.#cache.forget(key);
    try {
      const options = { condition, contentType: "application/json", writeId };
      const stored = await this.bucket.put(key, text, options);
      const written = { doc, etag: stored.etag };
      this.#cache.set(schema, key, { ...written, atMs }, text.length);
      return { won: true, written };
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "precondition_failed") throw error;
    }
    // A PUT whose answer was lost is sent again by the S3 client, and refused because it had succeeded.
    const found = await this.#fetchWithId(schema, key);
    return found.versioned !== undefined && found.writeId === writeId
      ? { won: true, written: found.versioned }
      : { won: false, found: found.versioned };
  }
}

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
