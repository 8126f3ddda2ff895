// A peer's Ed25519 key and the proofs it makes with it. Every request carries a proof (RFC 9449, "DPoP")
// that its sender holds the key the token is bound to, so a token that leaks alone is worthless.
import { FlattenedSign, SignJWT, calculateJwkThumbprint, importJWK, type JWK } from "jose";
import { type PublicKey, WaybillError, cryptoRandom, randomText } from "../protocol/index.ts";

/** Serialised form: base64url of the 32-byte seed and of the public key (RFC 8037 `d` and `x`). */
export type IdentityKey = { readonly d: string; readonly x: string };

export type Identity = {
  readonly publicKey: PublicKey;
  /** RFC 7638 thumbprint: base64url SHA-256. */
  readonly thumbprint: string;
  /** A fresh proof for one request; `path` without host, query or fragment. */
  proof(request: ProofRequest): Promise<string>;
  /**
   * A JWS signature over `payload` (RFC 7515, flattened, without the payload). The protected header is `header`
   * with `alg`, `jwk` and `kid` of this key; its `typ` must be one that no proof has.
   */
  sign(payload: Uint8Array, header: SignedHeader): Promise<DetachedSignature>;
};

export type SignedHeader = { readonly typ: string; readonly [name: string]: unknown };
export type DetachedSignature = { readonly protected: string; readonly signature: string };

export type ProofRequest = {
  readonly method: string;
  readonly path: string;
  readonly token: string;
  /** Milliseconds; the hub allows `LIMITS.proofSkewMs` of skew. */
  readonly nowMs?: number;
};

/** Makes a new key from the platform's randomness. */
export async function generateIdentityKey(): Promise<IdentityKey> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  if (!("privateKey" in pair)) throw new WaybillError("internal", "Ed25519 gave a single key");
  const jwk = await crypto.subtle.exportKey("jwk", pair.privateKey);
  if (jwk.d === undefined || jwk.x === undefined) {
    throw new WaybillError("internal", "Ed25519 keys cannot be exported on this platform");
  }
  return { d: jwk.d, x: jwk.x };
}

/** Loads a key; throws `invalid_request` when it is not an Ed25519 key. */
export async function loadIdentity(key: IdentityKey): Promise<Identity> {
  const publicJwk: JWK = { kty: "OKP", crv: "Ed25519", x: key.x };
  const privateKey = await importJWK({ ...publicJwk, d: key.d }, "EdDSA").catch(
    (cause: unknown) => {
      throw new WaybillError("invalid_request", "the identity key is not an Ed25519 key", {
        cause,
      });
    },
  );
  const thumbprint = await calculateJwkThumbprint(publicJwk);
  return {
    publicKey: key.x,
    thumbprint,
    proof: async ({ method, path, token, nowMs = Date.now() }) =>
      new SignJWT({ htm: method, htu: path, ath: await tokenHash(token) })
        .setProtectedHeader({ alg: "EdDSA", typ: "dpop+jwt", jwk: publicJwk })
        .setIssuedAt(Math.floor(nowMs / 1000))
        .setJti(randomText(16, cryptoRandom))
        .sign(privateKey),
    sign: async (payload, header) => {
      const full = { ...header, alg: "EdDSA", jwk: publicJwk, kid: thumbprint };
      const jws = await new FlattenedSign(payload).setProtectedHeader(full).sign(privateKey);
      return { protected: jws.protected ?? "", signature: jws.signature };
    },
  };
}

/** base64url SHA-256 of a token, the `ath` claim. */
export async function tokenHash(token: string): Promise<string> {
  const digest = new Uint8Array(
    await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)),
  );
  return btoa(String.fromCharCode(...digest))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
