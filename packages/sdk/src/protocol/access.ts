// Who may do what: roles, rooms, invites and tokens (docs/protocol/hub-api.md, "Access").
import * as v from "valibot";
import { PeerId, RoomId, Timestamp } from "./ids.ts";

export const ROLES = ["owner", "member", "worker", "viewer"] as const;
export const Role = v.picklist(ROLES);
export type Role = v.InferOutput<typeof Role>;

/** Roles an invite may carry; there is one owner token and it is not handed out by invite. */
export const InviteRole = v.picklist(["member", "worker", "viewer"]);
export type InviteRole = v.InferOutput<typeof InviteRole>;

/** Ed25519 public key: base64url of 32 bytes (the `x` of an OKP JWK, RFC 8037). */
export const PublicKey = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_-]{43}$/, "not an Ed25519 public key"),
);
export type PublicKey = v.InferOutput<typeof PublicKey>;

/** Claims of a room token (JWT, HS256, `typ: "waybill+jwt"`); only hubs read them. */
export const TokenClaims = v.object({
  /** Room. */
  room: RoomId,
  role: Role,
  /** Token id; revocation names it. */
  jti: v.string(),
  iat: v.number(),
  exp: v.number(),
  /** RFC 7800 confirmation: thumbprint (RFC 7638) of the Ed25519 key; absent on bearer tokens. */
  cnf: v.optional(v.object({ jkt: v.string() })),
  /** Set on tokens minted for `WAYBILL_KEY`. */
  key: v.optional(v.string()),
});
export type TokenClaims = v.InferOutput<typeof TokenClaims>;

/** `ABCD-2345`: 8 Crockford base-32 characters (40 bits), read without regard to case, hyphens or spaces. */
export const InviteCode = v.pipe(
  v.string(),
  v.transform((text) => text.replaceAll(/[\s-]/g, "").toUpperCase()),
  v.regex(/^[0-9A-HJKMNP-TV-Z]{8}$/, "not an invite code (like ABCD-2345)"),
);

/** A person's label for a device, key or room member. */
export const Label = v.pipe(v.string(), v.minLength(1), v.maxLength(64));

export const WorkerKeyInfo = v.object({
  id: v.string(),
  label: Label,
  createdAt: Timestamp,
  expiresAt: Timestamp,
  revokedAt: v.optional(Timestamp),
});
export type WorkerKeyInfo = v.InferOutput<typeof WorkerKeyInfo>;

/** A JWS signature (RFC 7515, flattened, without the payload) made with a peer's Ed25519 key. */
export const PeerSignature = v.object({
  protected: v.pipe(v.string(), v.maxLength(1024)),
  signature: v.pipe(v.string(), v.maxLength(128)),
});
export type PeerSignature = v.InferOutput<typeof PeerSignature>;

/** A process's X25519 public key (base64url of 32 bytes), signed with its peer's Ed25519 key (peer-channel.md §7). */
export const KeyAgreement = v.object({
  key: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/, "not an X25519 public key")),
  ...PeerSignature.entries,
});
export type KeyAgreement = v.InferOutput<typeof KeyAgreement>;

/** Which candidate pairs peers may use: any, or relayed ones only. */
export const IcePolicy = v.picklist(["all", "relay"]);
export type IcePolicy = v.InferOutput<typeof IcePolicy>;

/** A peer as the others in its room see it. */
export const PeerInfo = v.object({
  peerId: PeerId,
  name: Label,
  role: Role,
  joinedAt: Timestamp,
  /** The key the peer's id is made of: whoever talks to it can check what it signs without trusting the hub. */
  publicKey: v.optional(PublicKey),
  /** What messages to it are encrypted for when the hub relays them. */
  agreement: v.optional(KeyAgreement),
});
export type PeerInfo = v.InferOutput<typeof PeerInfo>;
