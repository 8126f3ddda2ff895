// Peers that serve artifacts over HTTP to members of their room (docs/protocol/data-server.md).
import * as v from "valibot";
import { Label } from "./access.ts";
import { HttpAddress } from "./arriving.ts";
import { PeerId } from "./ids.ts";

/** How a peer serves artifacts to members of its room. */
export const Serving = v.object({
  addresses: v.pipe(v.array(HttpAddress), v.minLength(1), v.maxLength(16)),
  /** Asked for an artifact it does not have, it fetches it: a cache for others. */
  fills: v.optional(v.literal(true)),
});
export type Serving = v.InferOutput<typeof Serving>;

/** A peer that has an artifact, or would fetch it. */
export const Holder = v.object({
  peer: PeerId,
  name: Label,
  /** As far as the hub can tell it is in the caller's network: worth waiting for. */
  near: v.optional(v.literal(true)),
  ...Serving.entries,
});
export type Holder = v.InferOutput<typeof Holder>;

/** Where data servers listen unless they are told otherwise. */
export const DATA_PORT = 8780;
