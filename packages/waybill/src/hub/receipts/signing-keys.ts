// The keys that sign receipts: `_receipts/keys.json` of the rooms bucket, shared by all hubs of the bucket.
// Public keys stay for ever, because receipts do. Private ones are encrypted under the hub's secret, so that
// whoever may read the bucket cannot sign; a hub with another secret adds a key of its own.
import {
  type Identity,
  type IdentityKey,
  generateIdentityKey,
  loadIdentity,
} from "@waybill/sdk/hub-client";
import {
  PublicKey,
  type ReceiptKey,
  Timestamp,
  WaybillError,
  decodeJson,
} from "@waybill/sdk/protocol";
import { CompactEncrypt, compactDecrypt, errors } from "jose";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";
import type { Clock } from "../log.ts";

const KEYS_KEY = "_receipts/keys.json";
const INFO = new TextEncoder().encode("waybill receipt keys");
/** Another hub's new key may be seen so much later by who asks for the set. */
const MAX_AGE_MS = 5000;

const StoredKey = v.object({
  kid: v.string(),
  x: PublicKey,
  /** JWE (`dir`, `A256GCM`) of `{d, x}`. */
  sealed: v.string(),
  createdAt: Timestamp,
});
type StoredKey = v.InferOutput<typeof StoredKey>;
const KeysDoc = v.object({ keys: v.array(StoredKey) });
const PrivateKey = v.object({ d: v.string(), x: PublicKey });

export type SigningKeysInit = {
  readonly documents: Documents;
  /** The hub's secret, the same for all hubs that share a key. */
  readonly secret: Uint8Array;
  readonly clock: Clock;
};

export class SigningKeys {
  readonly #documents: Documents;
  readonly #secret: Uint8Array;
  readonly #clock: Clock;
  #own: Promise<Identity> | undefined;

  constructor({ documents, secret, clock }: SigningKeysInit) {
    this.#documents = documents;
    this.#secret = secret;
    this.#clock = clock;
  }

  /** The key this hub signs with; made and stored when there is none it can open. Throws `storage_failed`. */
  own(): Promise<Identity> {
    this.#own ??= this.#openOrMake().catch((error: unknown) => {
      this.#own = undefined;
      throw error;
    });
    return this.#own;
  }

  /** Every public key, oldest first. */
  async all(): Promise<ReceiptKey[]> {
    const stored = await this.#documents.read(KeysDoc, KEYS_KEY, { maxAgeMs: MAX_AGE_MS });
    return (stored?.doc.keys ?? []).map(({ kid, x }) => ({
      kty: "OKP",
      crv: "Ed25519",
      x,
      kid,
      alg: "EdDSA",
      use: "sig",
    }));
  }

  async #openOrMake(): Promise<Identity> {
    const sealing = await this.#sealingKey();
    const stored = await this.#documents.read(KeysDoc, KEYS_KEY);
    const known = await openNewest(stored?.doc.keys ?? [], sealing);
    if (known !== undefined) return known;
    const key = await generateIdentityKey();
    const made = await loadIdentity(key);
    const entry: StoredKey = {
      kid: made.thumbprint,
      x: made.publicKey,
      sealed: await seal(key, sealing),
      createdAt: new Date(this.#clock()).toISOString(),
    };
    // Of two hubs that make one at once the second keeps the first's, when it can open it.
    const before = new Set(stored?.doc.keys.map(({ kid }) => kid));
    const written = await this.#documents.update(KeysDoc, KEYS_KEY, (doc) => {
      const keys = doc?.keys ?? [];
      const mine = keys.some(({ kid }) => kid === entry.kid);
      const raced = keys.some(({ kid }) => !before.has(kid));
      return mine || raced ? undefined : { keys: [...keys, entry] };
    });
    if (written?.doc.keys.some(({ kid }) => kid === entry.kid) === true) return made;
    return this.#openOrMake();
  }

  /** HKDF-SHA-256 of the secret, without salt. */
  async #sealingKey(): Promise<Uint8Array> {
    const secret = new Uint8Array(this.#secret);
    const base = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
    const parameters = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: INFO };
    return new Uint8Array(await crypto.subtle.deriveBits(parameters, base, 256));
  }
}

function seal(key: IdentityKey, sealing: Uint8Array): Promise<string> {
  return new CompactEncrypt(new TextEncoder().encode(JSON.stringify(key)))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM" })
    .encrypt(sealing);
}

async function openNewest(
  keys: readonly StoredKey[],
  sealing: Uint8Array,
): Promise<Identity | undefined> {
  for (const { sealed, x } of keys.toReversed()) {
    try {
      const { plaintext } = await compactDecrypt(sealed, sealing);
      const text = new TextDecoder().decode(plaintext);
      const key = decodeJson(PrivateKey, text, KEYS_KEY, 1024);
      if (key.x === x) return await loadIdentity(key);
    } catch (error) {
      // Sealed by a hub with another secret, or damaged.
      if (!(error instanceof errors.JOSEError) && !(error instanceof WaybillError)) throw error;
    }
  }
  return undefined;
}
