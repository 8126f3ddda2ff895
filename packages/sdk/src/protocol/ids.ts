// Branded identifiers. Raw strings become these in the codec and stay so inside the code.
import * as v from "valibot";

const pattern = <const B extends string>(brand: B, regex: RegExp, what: string) =>
  v.pipe(v.string(), v.regex(regex, `not ${what}`), v.brand(brand));

/** A room's name is its id: 1–40 lower-case letters, digits and inner hyphens. */
export const RoomId = pattern(
  "RoomId",
  /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/,
  "a room name (1–40 of a–z, 0–9 and inner hyphens)",
);
export type RoomId = v.InferOutput<typeof RoomId>;

/** `p_` + 16 characters of the key's thumbprint + `_` + the process's instance. Self-certifying but for the instance. */
export const PeerId = pattern("PeerId", /^p_[A-Za-z0-9-]{16}_[a-z0-9]{1,12}$/, "a peer id");
export type PeerId = v.InferOutput<typeof PeerId>;

/** `j_` + 9 characters of time + 7 random: sorts by submission. */
export const JobId = pattern("JobId", /^j_[0-9a-hjkmnp-tv-z]{16}$/, "a job id");
export type JobId = v.InferOutput<typeof JobId>;

/** Lower-case hex BLAKE3-256 of the canonical manifest. */
export const ArtifactId = pattern("ArtifactId", /^[0-9a-f]{64}$/, "an artifact id (64 hex digits)");
export type ArtifactId = v.InferOutput<typeof ArtifactId>;

/** Lower-case hex BLAKE3-256 of a shard or a file. */
export const Digest = pattern("Digest", /^[0-9a-f]{64}$/, "a BLAKE3 digest (64 hex digits)");
export type Digest = v.InferOutput<typeof Digest>;

/** Hex; derived from the room and the upload's fingerprint, so that the same push finds it again. */
export const UploadId = pattern("UploadId", /^u_[0-9a-f]{24}$/, "an upload id");
export type UploadId = v.InferOutput<typeof UploadId>;

/** 8 hex digits, more on collision. */
export const ModelId = pattern(
  "ModelId",
  /^(?:[0-9a-f]{2}){4,16}$/,
  "a model id (8 to 32 hex digits)",
);
export type ModelId = v.InferOutput<typeof ModelId>;

/** Model types are open: what kind of network or pipeline a model is. */
export const ModelType = pattern(
  "ModelType",
  /^[a-z][a-z0-9_]{0,47}$/,
  "a model type (a–z, 0–9 and _, at most 48, starting with a letter)",
);
export type ModelType = v.InferOutput<typeof ModelType>;

const RESERVED_ALIASES = new Set(["all", "latest", "none", "null"]);

/** 1–64 of `A-Za-z0-9._-`; not a reserved word, not 8 hex digits, not `latest-…` (that one is automatic). */
export const Alias = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9._-]{1,64}$/, "not an alias (1–64 of A–Z, a–z, 0–9, '.', '_', '-')"),
  v.check(
    (text) => !RESERVED_ALIASES.has(text.toLowerCase()),
    "a reserved word cannot be an alias",
  ),
  v.check(
    (text) => !/^(?:[0-9a-f]{2}){4,16}$/i.test(text),
    "an alias must not look like a model id",
  ),
  // A URL's path cannot hold them.
  v.check((text) => text !== "." && text !== "..", "dots alone cannot be an alias"),
  v.check((text) => !text.startsWith("latest-"), "latest-… aliases are kept by Waybill itself"),
  v.brand("Alias"),
);
export type Alias = v.InferOutput<typeof Alias>;

/** A tag: 1–64 of letters, digits and `._:/-`. */
export const Tag = pattern(
  "Tag",
  /^[A-Za-z0-9._:/-]{1,64}$/,
  "a tag (1–64 of A–Z, a–z, 0–9, '.', '_', ':', '/', '-')",
);
export type Tag = v.InferOutput<typeof Tag>;

/** A name people give an artifact: 1–128 printable characters, no slash at either end. */
export const ArtifactName = pattern(
  "ArtifactName",
  /^(?!\/)[\p{L}\p{N}\p{P}\p{S} ]{1,128}(?<![/ ])$/u,
  "an artifact name (1–128 printable characters)",
);
export type ArtifactName = v.InferOutput<typeof ArtifactName>;

/** How people address a model: an id, an alias or `latest-{type}`. */
export const ModelRef = v.pipe(
  v.string(),
  v.regex(/^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/, "not a model id or alias"),
);
export type ModelRef = v.InferOutput<typeof ModelRef>;

/** RFC 3339 UTC time with milliseconds. */
export const Timestamp = v.pipe(v.string(), v.isoTimestamp());
export type Timestamp = v.InferOutput<typeof Timestamp>;

/** Whole number of bytes. */
export const ByteCount = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** CRC-32 in base64, as S3's `x-amz-checksum-crc32`. */
export const Crc32Base64 = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9+/]{6}==$/, "not a base64 CRC-32"),
);

const CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz";

/** Makes a job id from the time and 7 random characters. */
export function newJobId(nowMs: number, randomBytes: (n: number) => Uint8Array): JobId {
  let time = "";
  for (let i = 0, rest = nowMs; i < 9; i++) {
    time = (CROCKFORD[rest % 32] ?? "0") + time;
    rest = Math.floor(rest / 32);
  }
  return v.parse(JobId, `j_${time}${randomText(7, randomBytes)}`);
}

/** Random Crockford base-32 text, 5 bits a character. */
export function randomText(length: number, randomBytes: (n: number) => Uint8Array): string {
  return Array.from(randomBytes(length), (byte) => CROCKFORD[byte & 31] ?? "0").join("");
}

/** Platform randomness in the shape the makers above take. */
export function cryptoRandom(length: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}
