// Proof of possession in the manner of DPoP (RFC 9449): an EdDSA-signed JWT that names method, path and
// token, made by the key the token is bound to. Two deviations: `htu` is the path alone, because a hub
// does not know every name it is reached by, and clocks may differ by `LIMITS.proofSkewMs`.
import { LIMITS, PublicKey, WaybillError } from "@waybill/sdk/protocol";
import { tokenHash } from "@waybill/sdk/hub-client";
import { type CryptoKey, calculateJwkThumbprint, errors, importJWK, jwtVerify } from "jose";
import * as v from "valibot";

const ProofJwk = v.object({ kty: v.literal("OKP"), crv: v.literal("Ed25519"), x: PublicKey });
const ProofHeader = v.object({ jwk: ProofJwk });
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

/** Public keys of recent callers: importing one costs more than checking a signature with it. */
const MAX_KEYS = 1024;

/** Checks proofs; remembers imported keys, nothing else. */
export class ProofVerifier {
  readonly #keys = new Map<string, Promise<{ key: CryptoKey; thumbprint: string }>>();

  /** Throws `unauthorized` saying which claim is wrong; does not know replays. */
  async verify(proof: string, request: ProvenRequest, nowMs: number): Promise<Proof> {
    const { thumbprint, publicKey, claims } = await this.#open(proof);
    const { htm, htu, ath, iat, jti } = claims;
    if (htm !== request.method || htu !== request.path) {
      throw refused(`it is for ${htm} ${htu}, not for ${request.method} ${request.path}`);
    }
    if (ath !== (await tokenHash(request.token))) throw refused("it was made for another token");
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
    let publicKey = "";
    let thumbprint = "";
    try {
      const { payload } = await jwtVerify(
        proof,
        async (header) => {
          const { jwk } = v.parse(ProofHeader, header);
          publicKey = jwk.x;
          const known = await this.#import(jwk.x);
          thumbprint = known.thumbprint;
          return known.key;
        },
        { algorithms: ["EdDSA", "Ed25519"], typ: "dpop+jwt" },
      );
      return { thumbprint, publicKey, claims: v.parse(ProofClaims, payload) };
    } catch (error) {
      if (error instanceof errors.JOSEError || error instanceof v.ValiError) {
        throw refused("it is malformed or its signature is wrong");
      }
      throw error;
    }
  }

  async #import(x: string): Promise<{ key: CryptoKey; thumbprint: string }> {
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

async function importPublicKey(x: string): Promise<{ key: CryptoKey; thumbprint: string }> {
  const jwk = { kty: "OKP", crv: "Ed25519", x };
  const key = await importJWK(jwk, "EdDSA").catch(() => {
    throw refused("its key is not an Ed25519 key");
  });
  if (key instanceof Uint8Array) throw refused("its key is not an Ed25519 key");
  return { key, thumbprint: await thumbprintOf(x) };
}

function refused(why: string, hint?: string): WaybillError {
  return new WaybillError(
    "unauthorized",
    `the proof of possession was refused: ${why}`,
    hint === undefined ? {} : { hint },
  );
}
