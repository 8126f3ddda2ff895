// Artifacts that are read while they are still being pushed (docs/protocol/arriving.md).
import * as v from "valibot";
import { ByteCount, Crc32Base64, PeerId } from "./ids.ts";
import { Label } from "./access.ts";
import { ArtifactRecord } from "./artifact.ts";
import { TreeOffer } from "./tree.ts";
import { ObjectKey, PartNumber } from "./uploads.ts";

/** Larger manifests are not announced: every reader fetches the manifest before its first shard. */
export const ANNOUNCED_MANIFEST_BYTES = 32 * 1024 * 1024;

/** What a reference stands for: an artifact the room holds, or one that is arriving. */
export const ResolvedArtifact = v.object({
  ...ArtifactRecord.entries,
  /** It is being pushed: what is there is told by `showArriving`. */
  arriving: v.optional(v.literal(true)),
});
export type ResolvedArtifact = v.InferOutput<typeof ResolvedArtifact>;

/** Where the pushing client serves the tree over HTTP, and what it wants to be shown. */
export const HttpAddress = v.object({
  /** `http://`, a literal IP address, a port; nothing else. */
  url: v.pipe(
    v.string(),
    v.maxLength(128),
    v.regex(
      /^http:\/\/(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):\d{1,5}$/,
      "not http://, an IP address and a port",
    ),
  ),
  /** 256 random bits in hex. */
  token: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "not 64 hex digits")),
});
export type HttpAddress = v.InferOutput<typeof HttpAddress>;

/** The pushing client as a peer of the room, and the right to read the tree from it. */
export const PeerAddress = v.object({ peer: PeerId, offer: TreeOffer });
export type PeerAddress = v.InferOutput<typeof PeerAddress>;

/** Where the pushing client serves the tree itself. */
export const DirectAddress = v.union([HttpAddress, PeerAddress]);
export type DirectAddress = v.InferOutput<typeof DirectAddress>;

/** A machine's addresses; more help nobody. */
export const DirectAddresses = v.pipe(v.array(DirectAddress), v.maxLength(16));

/** What an announcement says of the push besides. */
export const AnnouncedPush = v.object({
  /** Nothing is sent to the store for now: all of it is to be read from the direct addresses. */
  held: v.optional(v.literal(true)),
  /** Whose machine it is, for messages. */
  by: v.optional(Label),
});
export type AnnouncedPush = v.InferOutput<typeof AnnouncedPush>;

/** Given with segments of encoded objects: the bytes of the file that they stand for. */
const encoded = { plainBytes: v.optional(v.pipe(ByteCount, v.minValue(1))) };

/** One stored segment of an object: it begins at `partOffset(part, unitBytes)`, and part 0 is the whole object. */
export const Segment = v.object({
  part: PartNumber,
  /** Stored bytes. */
  size: ByteCount,
  ...encoded,
});
export type Segment = v.InferOutput<typeof Segment>;

/** What can be read of one object. */
export const ArrivingObject = v.object({ key: ObjectKey, segments: v.array(Segment) });
export type ArrivingObject = v.InferOutput<typeof ArrivingObject>;

/** What can be read of an announced artifact now. */
export const Arriving = v.object({
  /** The room holds the artifact: it is read like any other. */
  done: v.boolean(),
  /** Names this state of the account; give it when asking again. */
  revision: v.string(),
  unitBytes: v.number(),
  /** Absent when the revision is the one that was given. */
  objects: v.optional(v.array(ArrivingObject)),
  /** Absent when the revision is the one that was given. */
  direct: v.optional(DirectAddresses),
  ...AnnouncedPush.entries,
});
export type Arriving = v.InferOutput<typeof Arriving>;

/** A segment whose reading is to be signed; `artifact.json` as part 0 is the announced manifest. */
export const SegmentName = v.object({ key: ObjectKey, part: PartNumber, ...encoded });
export type SegmentName = v.InferOutput<typeof SegmentName>;

/** A URL that reads one segment. */
export const SignedSegment = v.object({ ...SegmentName.entries, url: v.string() });
export type SignedSegment = v.InferOutput<typeof SignedSegment>;

/** A segment that is to become a part, with the CRC-32 the part must have. */
export const SegmentToTake = v.object({
  ...SegmentName.entries,
  size: v.pipe(ByteCount, v.minValue(1)),
  crc32: Crc32Base64,
});
export type SegmentToTake = v.InferOutput<typeof SegmentToTake>;
