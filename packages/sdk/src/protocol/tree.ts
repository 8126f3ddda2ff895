// Reading another peer's tree: the control messages; bytes go over bulk streams (docs/protocol/peer-tree.md).
import * as v from "valibot";
import { ByteCount } from "./ids.ts";
import { ObjectKey } from "./uploads.ts";

/** The right to read one tree from one peer: 256 random bits in hex. */
export const TreeOffer = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "not 64 hex digits"));
export type TreeOffer = v.InferOutput<typeof TreeOffer>;

/** The reader's, unique on its link. */
const RequestId = v.pipe(v.string(), v.regex(/^[a-z0-9]{1,24}$/));
/** A bulk stream of the link. */
const StreamId = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(0xffff_ffff));
/** Longer requests would only be cut off half-way. */
const MAX_WANT_BYTES = 2 ** 30;

export const TREE_MESSAGES = [
  /** Send these bytes of an object over that stream. */
  v.object({
    type: v.literal("tree.want"),
    id: RequestId,
    offer: TreeOffer,
    key: ObjectKey,
    offset: ByteCount,
    length: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_WANT_BYTES)),
    stream: StreamId,
  }),
  /** They will not come. */
  v.object({
    type: v.literal("tree.refused"),
    id: RequestId,
    code: v.picklist([
      "forbidden",
      "not_found",
      "invalid_request",
      "source_changed",
      "rate_limited",
      "unreachable",
    ]),
    reason: v.pipe(v.string(), v.maxLength(512)),
  }),
  v.object({ type: v.literal("tree.cancel"), id: RequestId }),
  /** The sender has all of it, verified. */
  v.object({ type: v.literal("tree.done"), offer: TreeOffer }),
] as const;
