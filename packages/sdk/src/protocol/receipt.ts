// Receipts (docs/protocol/receipt.md): a JWS in the General JSON Serialization over what a push or pull did,
// signed by the client and, where the hub could be asked, by the hub.
import * as v from "valibot";
import { PublicKey, Role } from "./access.ts";
import { ArtifactId, ArtifactName, ByteCount, RoomId, Timestamp } from "./ids.ts";

/** `typ` of every signature: keeps other things these keys sign from passing as receipts, and back. */
export const RECEIPT_TYP = "waybill-receipt+jws";

/** Bytes by reason or by kind of source. */
const BytesByName = v.pipe(
  v.record(
    v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/, "not 1–32 of a–z, 0–9 and hyphens")),
    ByteCount,
  ),
  v.check((record) => Object.keys(record).length <= 32, "more than 32 entries"),
);

const WholeNumber = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** What is signed. Sizes in bytes; times by the client's clock. */
export const ReceiptPayload = v.object({
  type: v.literal("waybill-receipt"),
  version: v.literal(1),
  direction: v.picklist(["push", "pull"]),
  /** The hub's address as the client called it. */
  hub: v.pipe(v.string(), v.minLength(1), v.maxLength(2048)),
  room: RoomId,
  artifact: ArtifactId,
  name: ArtifactName,
  files: WholeNumber,
  bytes: ByteCount,
  startedAt: Timestamp,
  endedAt: Timestamp,
  /** Push: body bytes on the wire, resends included. */
  sentBytes: v.optional(ByteCount),
  /** Pull: bytes that came over the wire. */
  receivedBytes: v.optional(ByteCount),
  /** Bytes of the artifact that did not have to travel, by reason. */
  saved: BytesByName,
  /** Pull: bytes of the artifact by kind of source. */
  sources: v.optional(BytesByName),
});
export type ReceiptPayload = v.InferOutput<typeof ReceiptPayload>;

const Thumbprint = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/, "not a key thumbprint"));

/** An Ed25519 public key (RFC 8037). */
const Ed25519Jwk = v.object({
  kty: v.literal("OKP"),
  crv: v.literal("Ed25519"),
  x: PublicKey,
});

const common = {
  alg: v.literal("EdDSA"),
  typ: v.literal(RECEIPT_TYP),
  jwk: Ed25519Jwk,
  /** RFC 7638 thumbprint of `jwk`. */
  kid: Thumbprint,
};

/** Protected header of a receipt's signature. */
export const ReceiptHeader = v.variant("by", [
  v.object({ ...common, by: v.literal("client") }),
  v.object({
    ...common,
    by: v.literal("hub"),
    /** Seconds since 1970 by the hub's clock; until the year 9999. */
    iat: v.pipe(WholeNumber, v.maxValue(253_402_300_799)),
    role: Role,
    /** Thumbprint of the key the client's token is bound to; `owner` for an owner's token. */
    sub: v.pipe(v.string(), v.maxLength(64)),
  }),
]);
export type ReceiptHeader = v.InferOutput<typeof ReceiptHeader>;

const Base64Url = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]+$/, "not base64url"));

/** One signature of the General JSON Serialization. */
export const ReceiptSignature = v.object({
  protected: v.pipe(Base64Url, v.maxLength(4096)),
  signature: v.pipe(Base64Url, v.maxLength(128)),
});
export type ReceiptSignature = v.InferOutput<typeof ReceiptSignature>;

/** The signed part of a receipt: the client's signature, then perhaps the hub's. */
export const ReceiptJws = v.object({
  payload: v.pipe(Base64Url, v.maxLength(64 * 1024)),
  signatures: v.pipe(v.array(ReceiptSignature), v.minLength(1), v.maxLength(2)),
});
export type ReceiptJws = v.InferOutput<typeof ReceiptJws>;

/** A key hubs have signed receipts with, as a member of a JWK set. */
export const ReceiptKey = v.object({
  ...Ed25519Jwk.entries,
  kid: Thumbprint,
  alg: v.literal("EdDSA"),
  use: v.literal("sig"),
});
export type ReceiptKey = v.InferOutput<typeof ReceiptKey>;
