// Signatures of receipts: how one is made, and how one is checked without trusting anything (docs/protocol/receipt.md §3).
import { calculateJwkThumbprint, errors, flattenedVerify, importJWK } from "jose";
import type { Identity } from "../hub-client/index.ts";
import {
  RECEIPT_TYP,
  ReceiptHeader,
  type ReceiptPayload,
  ReceiptPayload as PayloadSchema,
  type ReceiptSignature,
  WaybillError,
  canonicalJson,
  decodeJson,
} from "../protocol/index.ts";

/** Far above a payload with full tables of 32 entries. */
const MAX_PAYLOAD_BYTES = 48 * 1024;

/** Base64url of the payload's canonical JSON. */
export function encodePayload(payload: ReceiptPayload): string {
  return toBase64Url(new TextEncoder().encode(canonicalJson(payload)));
}

/** Throws `invalid_request` when it is not a receipt's payload, or of a version this one does not know. */
export function decodePayload(payload: string): ReceiptPayload {
  const text = new TextDecoder().decode(fromBase64Url(payload));
  return decodeJson(PayloadSchema, text, "the receipt's payload", MAX_PAYLOAD_BYTES);
}

/** The client's signature over an encoded payload. */
export function signAsClient(payload: string, identity: Identity): Promise<ReceiptSignature> {
  return identity.sign(fromBase64Url(payload), { typ: RECEIPT_TYP, by: "client" });
}

/** The hub's; `nowMs` by its clock. */
export function signAsHub(
  payload: string,
  identity: Identity,
  facts: Pick<Extract<ReceiptHeader, { by: "hub" }>, "role" | "sub"> & { readonly nowMs: number },
): Promise<ReceiptSignature> {
  const { role, sub, nowMs } = facts;
  const iat = Math.floor(nowMs / 1000);
  return identity.sign(fromBase64Url(payload), { typ: RECEIPT_TYP, by: "hub", iat, role, sub });
}

/** What a signature says of itself, and whether it is right: `fault` is absent then. */
export type CheckedSignature = { readonly header: ReceiptHeader; readonly fault?: string };

/** Checks one signature over an encoded payload; throws `invalid_request` when its header cannot be read. */
export async function checkSignature(
  payload: string,
  signature: ReceiptSignature,
): Promise<CheckedSignature> {
  const text = new TextDecoder().decode(fromBase64Url(signature.protected));
  const header = decodeJson(
    ReceiptHeader,
    text,
    "a signature's header",
    signature.protected.length,
  );
  fromBase64Url(signature.signature);
  if (header.kid !== (await calculateJwkThumbprint(header.jwk))) {
    return { header, fault: "its key is not the one it names" };
  }
  try {
    const key = await importJWK(header.jwk, "EdDSA");
    await flattenedVerify({ payload, ...signature }, key, { algorithms: ["EdDSA"] });
    return { header };
  } catch (error) {
    const wrong =
      error instanceof errors.JOSEError ||
      (error instanceof Error && error.name === "DataError") ||
      error instanceof TypeError;
    if (!wrong) throw error;
    return { header, fault: "it does not fit what is signed" };
  }
}

/** Throws `invalid_request` unless the text is the one base64url of its bytes: no two texts may mean the same. */
function fromBase64Url(text: string): Uint8Array {
  let bytes: Uint8Array | undefined;
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
  } catch {
    // Reported below.
  }
  if (bytes === undefined || toBase64Url(bytes) !== text) {
    throw new WaybillError("invalid_request", "the receipt holds text that is not base64url");
  }
  return bytes;
}

function toBase64Url(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
