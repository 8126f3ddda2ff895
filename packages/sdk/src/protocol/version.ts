// Versions and limits that both ends of every connection must agree on. Each number carries its
// reason; nothing else in the project invents a bound of its own for the wire.

/** Version of the hub API, the signaling messages and the peer channel together. */
export const PROTOCOL_VERSION = 1;

/** Version of the artifact manifest's format. */
export const ARTIFACT_FORMAT_VERSION = 1;

/** Version of a room's registry document. */
export const REGISTRY_FORMAT_VERSION = 2;

const KIB = 1024;
const MIB = 1024 * KIB;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

export const LIMITS = {
  /** Control-plane bodies stay under 1 MB; big bytes never pass through the hub's API. */
  httpBodyBytes: 1024 * 1024,
  /** One WebSocket frame of signaling; larger frames close the socket with 1009. */
  signalingFrameBytes: 256 * KIB,
  /** One message on the control channel: RFC 8831 §6.6 peers without the SDP attribute stop at 64 KiB. */
  controlMessageBytes: 60 * KIB,
  /** One event, encoded; longer log lines are cut and marked. */
  eventBytes: 32 * KIB,
  /** One sample image kept with a job. */
  sampleBytes: 1024 * 1024,
  /** Objects of a `plain` artifact; more files than this are packed into one object. */
  plainObjects: 1000,
  /** URLs signed by one request. */
  signBatch: 256,
  /** S3's own limits: 10,000 parts; 5 MiB to 5 GiB each but the last; 5 TiB for one object. */
  s3Parts: 10_000,
  s3MinPartBytes: 5 * MIB,
  s3MaxPartBytes: 5 * 1024 * MIB,
  /** Default part: two shards; a compromise between a lost part's cost and per-request overhead. */
  partBytes: 8 * MIB,
  /**
   * Default shard: what a bad answer, a hedge or a changed byte costs; large enough that 16 GiB are 16,384
   * hashes (1.3 MB of manifest).
   */
  shardBytes: MIB,
  /** Objects of at most this are put at once; larger ones in parts. */
  atOnceBytes: 8 * MIB,
  /** Parts begin at multiples of this (more for objects over 10,000 MiB): a part's number says where it lies. */
  unitBytes: MIB,
  /** Parts copied by one request: a minute's work even for a store that copies byte by byte. */
  copyBatch: 64,
  /** Shards of one artifact before shardBytes doubles: keeps manifests around 6 MB. */
  shardsPerArtifact: 65_536,
  /** Manifest of an artifact: about 200,000 files; larger is refused. */
  manifestBytes: 256 * MIB,
  /** A path inside an artifact: what S3 keys allow less our prefixes. */
  pathBytes: 900,
  /** Presigned URLs live this long; clients re-sign on 403. */
  presignSeconds: 3600,
  inviteMs: 10 * MINUTE_MS,
  /** Member and worker tokens; renewed by clients after half their life. */
  tokenMs: 30 * DAY_MS,
  /** Owner tokens and worker keys. */
  longTokenMs: 365 * DAY_MS,
  /** Proofs of possession may be this old or this far in the future (clock skew of laptops). */
  proofSkewMs: 15 * MINUTE_MS,
  keepAliveMs: 15_000,
  /** A job whose worker has not renewed for this long is taken from it. */
  leaseMs: 60_000,
  /** Sequence numbers a worker may use before it must renew its lease. */
  seqReserve: 100_000,
  roomIdleMs: 120 * MINUTE_MS,
  uploadTtlMs: DAY_MS,
} as const;
