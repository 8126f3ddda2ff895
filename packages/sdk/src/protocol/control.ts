// Messages between a viewer and a worker on the control channel, direct or relayed (docs/protocol/peer-channel.md).
import * as v from "valibot";
import { JobCommand, JobEvent } from "./events.ts";
import { JobId } from "./ids.ts";

/** Subprotocol of the data channel, whose label is `control`. */
export const CONTROL_CHANNEL = "waybill-control.1";

const SubscriptionId = v.pipe(v.string(), v.regex(/^[a-z0-9]{1,24}$/));

export const ControlMessage = v.variant("type", [
  /** Send me every event of `job` after `sinceSeq`, then those that follow. A second one with the same id replaces the first. */
  v.object({
    type: v.literal("subscribe"),
    id: SubscriptionId,
    job: JobId,
    sinceSeq: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  }),
  v.object({ type: v.literal("unsubscribe"), id: SubscriptionId }),
  /** Consecutive events of the worker's log. */
  v.object({
    type: v.literal("events"),
    id: SubscriptionId,
    job: JobId,
    events: v.array(JobEvent),
  }),
  /** The subscription cannot be served here: read the stored segments instead. */
  v.object({ type: v.literal("refused"), id: SubscriptionId, reason: v.string() }),
  v.object({ type: v.literal("command"), command: JobCommand }),
  v.object({
    type: v.literal("ack"),
    id: v.string(),
    stage: v.picklist(["received", "applied", "rejected"]),
    message: v.optional(v.string()),
  }),
  /** Credit for relayed events: the viewer has taken everything up to `seq`. */
  v.object({ type: v.literal("taken"), id: SubscriptionId, seq: v.number() }),
  v.object({ type: v.literal("ping"), t: v.number() }),
  v.object({ type: v.literal("pong"), t: v.number() }),
]);
export type ControlMessage = v.InferOutput<typeof ControlMessage>;

/** Events a worker sends to one subscriber ahead of its `taken`: bounds memory at both ends and at the relay. */
export const EVENT_WINDOW = 512;
