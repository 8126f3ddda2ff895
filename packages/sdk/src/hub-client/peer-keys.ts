// What peers check of each other without trusting the hub: that a key is the one a peer id is made of, what
// that key has signed, and the X25519 key that messages to a process are encrypted for (docs/protocol/signaling.md §2, §3).
import { calculateJwkThumbprint, errors, flattenedVerify, importJWK } from "jose";
import * as v from "valibot";
import {
  type KeyAgreement,
  type PeerId,
  type PeerSignature,
  PublicKey,
  decodeJson,
} from "../protocol/index.ts";
import type { Identity } from "./identity.ts";

/** `typ` of the signature over an X25519 key: keeps other things these keys sign from passing as one, and back. */
const AGREEMENT_TYP = "waybill-agreement+jws";
const X25519_BYTES = 32;

const Header = v.looseObject({
  typ: v.string(),
  alg: v.picklist(["EdDSA", "Ed25519"]),
  jwk: v.object({ kty: v.literal("OKP"), crv: v.literal("Ed25519"), x: PublicKey }),
  /** Extensions that must be understood: there are none (RFC 7515 §4.1.11). */
  crit: v.optional(v.never()),
});

/** One process's key pair: what others are told of it, and the half that stays in memory. */
export type AgreementKey = {
  readonly agreement: KeyAgreement;
  /** Not extractable; for `deriveBits`. */
  readonly privateKey: CryptoKey;
};

/** Makes a process's X25519 key and has its identity sign it: base64url of 32 bytes, and a JWS over those bytes. */
export async function createAgreement(identity: Identity): Promise<AgreementKey> {
  const pair = await crypto.subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]);
  const { publicKey, privateKey } = pair;
  const bytes = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
  const signature = await identity.sign(bytes, { typ: AGREEMENT_TYP });
  return { agreement: { key: base64Url(bytes), ...signature }, privateKey };
}

/** Whether `agreement` was signed by the holder of the Ed25519 key `publicKey`. */
export async function verifyAgreement(
  publicKey: PublicKey,
  agreement: KeyAgreement,
): Promise<boolean> {
  const payload = bytesOf(agreement.key);
  if (payload?.length !== X25519_BYTES) return false;
  return verifyPeerSignature({ publicKey, payload, typ: AGREEMENT_TYP, signature: agreement });
}

/** Whether the holder of `publicKey` has signed `payload` as something of this `typ` (see `Identity.sign`). */
export async function verifyPeerSignature(signed: {
  readonly publicKey: PublicKey;
  readonly payload: Uint8Array;
  readonly typ: string;
  readonly signature: PeerSignature;
}): Promise<boolean> {
  const { publicKey, payload, typ, signature } = signed;
  const jws = { protected: signature.protected, signature: signature.signature };
  const header = headerOf(jws.protected);
  if (header?.typ !== typ || header.jwk.x !== publicKey) return false;
  try {
    const key = await importJWK({ kty: "OKP", crv: "Ed25519", x: publicKey }, "EdDSA");
    const algorithms = ["EdDSA", "Ed25519"];
    await flattenedVerify({ ...jws, payload: base64Url(payload) }, key, { algorithms });
    return true;
  } catch (error) {
    const isWrong =
      error instanceof errors.JOSEError ||
      error instanceof TypeError ||
      (error instanceof Error && error.name === "DataError");
    if (isWrong) return false;
    throw error;
  }
}

/** Whether `publicKey` is the key that `peerId` is made of: nobody else, the hub included, can speak for that id. */
export async function isKeyOf(publicKey: PublicKey, peerId: PeerId): Promise<boolean> {
  const thumbprint = await calculateJwkThumbprint({ kty: "OKP", crv: "Ed25519", x: publicKey });
  return peerId.startsWith(`p_${thumbprint.slice(0, 16).replaceAll("_", "-")}_`);
}

function headerOf(text: string): v.InferOutput<typeof Header> | undefined {
  const bytes = bytesOf(text);
  if (bytes === undefined) return undefined;
  try {
    return decodeJson(Header, new TextDecoder().decode(bytes), "a signature's header", 4096);
  } catch {
    return undefined;
  }
}

/** The bytes of a base64url text; `undefined` unless the text is the one they have. */
function bytesOf(text: string): Uint8Array | undefined {
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    return base64Url(bytes) === text ? bytes : undefined;
  } catch {
    return undefined;
  }
}

function base64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
