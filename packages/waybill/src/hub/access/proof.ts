// Proof of possession in the manner of DPoP (RFC 9449): an EdDSA-signed JWT that names method, path and
// token, made by the key the token is bound to. Two deviations: `htu` is the path alone, because a hub
// does not know every name it is reached by, and clocks may differ by `LIMITS.proofSkewMs`.
//
// Every request of every client passes here. node:crypto checks a signature in a tenth of a millisecond; WebCrypto
// (jose) queues each step behind the process's file work.
import { LIMITS, PublicKey, WaybillError } from "@waybill/sdk/protocol";
import { calculateJwkThumbprint } from "jose";
import {
  type KeyObject,
  createHash,
  createPublicKey,
  verify as verifySignature,
} from "node:crypto";
import * as v from "valibot";

const ProofJwk = v.object({ kty: v.literal("OKP"), crv: v.literal("Ed25519"), x: PublicKey });
const ProofHeader = v.object({
  typ: v.literal("dpop+jwt"),
  alg: v.picklist(["EdDSA", "Ed25519"]),
  jwk: ProofJwk,
  /** Extensions that must be understood: there are none (RFC 7515 §4.1.11). */
  crit: v.optional(v.never()),
});
const ProofClaims = v.object({
  htm: v.string(),
  htu: v.string(),
  ath: v.string(),
  iat: v.number(),
  jti: v.pipe(v.string(), v.minLength(8), v.maxLength(64)),
});

export type ProvenRequest = {
  readonly method: string;
  /** As in the request line, without query. */
  readonly path: string;
  readonly token: string;
};

export type Proof = {
  /** RFC 7638 thumbprint of the key that made it. */
  readonly thumbprint: string;
  readonly publicKey: string;
  readonly jti: string;
  readonly issuedMs: number;
};

const MALFORMED = "it is malformed or its signature is wrong";

/** Public keys of recent callers: importing one costs more than checking a signature with it. */
const MAX_KEYS = 1024;

type KnownKey = { readonly key: KeyObject; readonly thumbprint: string };

/** Checks proofs; remembers imported keys, nothing else. */
export class ProofVerifier {
  readonly #keys = new Map<string, Promise<KnownKey>>();

  /** Throws `unauthorized` saying which claim is wrong; does not know replays. */
  async verify(proof: string, request: ProvenRequest, nowMs: number): Promise<Proof> {
    const { thumbprint, publicKey, claims } = await this.#open(proof);
    const { htm, htu, ath, iat, jti } = claims;
    if (htm !== request.method || htu !== request.path) {
      throw refused(`it is for ${htm} ${htu}, not for ${request.method} ${request.path}`);
    }
    if (ath !== hashOf(request.token)) throw refused("it was made for another token");
    const issuedMs = iat * 1000;
    if (Math.abs(nowMs - issuedMs) > LIMITS.proofSkewMs) {
      const minutes = Math.round(Math.abs(nowMs - issuedMs) / 60_000);
      throw refused(
        `it is ${minutes} minutes ${issuedMs < nowMs ? "old" : "in the future"}`,
        "set this computer's clock",
      );
    }
    return { thumbprint, publicKey, jti, issuedMs };
  }

  async #open(proof: string) {
    const [header = "", payload = "", signature = "", ...rest] = proof.split(".");
    const head = v.safeParse(ProofHeader, jsonOf(header));
    if (!head.success || rest.length > 0) throw refused(MALFORMED);
    const { x: publicKey } = head.output.jwk;
    const { key, thumbprint } = await this.#import(publicKey);
    const signed = Buffer.from(`${header}.${payload}`);
    if (!verifySignature(null, signed, key, Buffer.from(signature, "base64url"))) {
      throw refused(MALFORMED);
    }
    const claims = v.safeParse(ProofClaims, jsonOf(payload));
    if (!claims.success) throw refused(MALFORMED);
    return { thumbprint, publicKey, claims: claims.output };
  }

  async #import(x: string): Promise<KnownKey> {
    const known = this.#keys.get(x);
    if (known !== undefined) return known;
    const importing = importPublicKey(x);
    this.#keys.set(x, importing);
    importing.catch(() => this.#keys.delete(x));
    const oldest = this.#keys.keys().next();
    if (this.#keys.size > MAX_KEYS && oldest.done !== true) this.#keys.delete(oldest.value);
    return importing;
  }
}

/** Thumbprint of an Ed25519 public key, as in `cnf.jkt`. */
export async function thumbprintOf(publicKey: string): Promise<string> {
  return calculateJwkThumbprint({ kty: "OKP", crv: "Ed25519", x: publicKey });
}

async function importPublicKey(x: string): Promise<KnownKey> {
  try {
    const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
    return { key, thumbprint: await thumbprintOf(x) };
  } catch (cause) {
    throw new WaybillError("unauthorized", "the proof's key is not an Ed25519 key", { cause });
  }
}

/** The `ath` claim of a token: its SHA-256 in base64url. */
function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}

/** The JSON in a segment of a JWT; `undefined` when there is none. */
function jsonOf(segment: string): unknown {
  try {
    return JSON.parse(Buffer.from(segment, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
}

function refused(why: string, hint?: string): WaybillError {
  return new WaybillError(
    "unauthorized",
    `the proof of possession was refused: ${why}`,
    hint === undefined ? {} : { hint },
  );
}
