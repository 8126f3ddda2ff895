// Messages between a viewer and a worker on the control channel, direct or relayed (docs/protocol/peer-channel.md).
import * as v from "valibot";
import { JobCommand, JobEvent } from "./events.ts";
import { JobId } from "./ids.ts";
import { Negotiation } from "./signaling.ts";
import { LIMITS } from "./version.ts";
import { TREE_MESSAGES } from "./tree.ts";

/** Subprotocol of the data channel, whose label is `control`. */
export const CONTROL_CHANNEL = "waybill-control.1";

/** Subprotocol of the data channel whose label is `bulk`: binary frames (bulk-frame.ts). */
export const BULK_CHANNEL = "waybill-bulk.1";

const SubscriptionId = v.pipe(v.string(), v.regex(/^[a-z0-9]{1,24}$/));
const Seq = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** A run of event numbers, both ends included, that a subscriber of the newest was not sent. The stored log has them. */
export const LeftOut = v.object({
  from: Seq,
  to: Seq,
  /** How many of them are lines of the log. */
  logs: Count,
});
export type LeftOut = v.InferOutput<typeof LeftOut>;

/** A sample image as a viewer hears of it before it is in the log. */
export const LiveSample = v.object({
  /** Name of its `sample` event: digest of the bytes and extension. */
  file: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}\.(?:png|jpg|webp|gif)$/)),
  /** Name that the trainer gave: later ones of the same name take its place. */
  series: v.pipe(v.string(), v.maxLength(1024)),
  mime: v.pipe(v.string(), v.maxLength(64)),
  bytes: v.pipe(Count, v.maxValue(LIMITS.sampleBytes)),
});
export type LiveSample = v.InferOutput<typeof LiveSample>;

export const ControlMessage = v.variant("type", [
  /** Send me every event of `job` after `sinceSeq`, then those that follow. A second one with the same id replaces the first. */
  v.object({
    type: v.literal("subscribe"),
    id: SubscriptionId,
    job: JobId,
    sinceSeq: Count,
    /** What has gathered while it could not be sent may be thinned out to the newest. */
    latest: v.optional(v.boolean()),
    /** Send sample images over the bulk channel. */
    samples: v.optional(v.boolean()),
  }),
  v.object({ type: v.literal("unsubscribe"), id: SubscriptionId }),
  /** Consecutive events of the worker's log; with `latest`, events and runs left out are consecutive together. */
  v.object({
    type: v.literal("events"),
    id: SubscriptionId,
    job: JobId,
    events: v.array(JobEvent),
    left: v.optional(v.array(LeftOut)),
  }),
  /** The subscription cannot be served here: read the stored segments instead. */
  v.object({ type: v.literal("refused"), id: SubscriptionId, reason: v.string() }),
  /** What becomes of a sample image on its way to this subscriber; `sending`: it comes on bulk stream `stream`. */
  v.object({
    type: v.literal("sample"),
    id: SubscriptionId,
    job: JobId,
    ...LiveSample.entries,
    stage: v.picklist(["waiting", "sending", "passed", "stored"]),
    stream: v.optional(Count),
  }),
  v.object({ type: v.literal("command"), command: JobCommand }),
  v.object({
    type: v.literal("ack"),
    id: v.string(),
    stage: v.picklist(["received", "applied", "rejected"]),
    message: v.optional(v.string()),
  }),
  /** Credit for relayed events: the viewer has taken everything up to `seq`. */
  v.object({ type: v.literal("taken"), id: SubscriptionId, seq: v.number() }),
  /** Negotiation of a further connection of this link. */
  v.object({ type: v.literal("signal"), data: Negotiation }),
  /** Nothing more comes on this connection: another one has taken over. */
  v.object({ type: v.literal("leaving") }),
  ...TREE_MESSAGES,
  v.object({ type: v.literal("ping"), t: v.number() }),
  v.object({ type: v.literal("pong"), t: v.number() }),
]);
export type ControlMessage = v.InferOutput<typeof ControlMessage>;

/** Events a worker sends to one subscriber ahead of its `taken`: bounds memory at both ends and at the relay. */
export const EVENT_WINDOW = 512;
