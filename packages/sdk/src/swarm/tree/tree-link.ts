// What reading a tree over a link needs of it: control messages, and bulk streams for the bytes.
import type { BulkStreams } from "../bulk/bulk.ts";
import type { ControlLink } from "../peer-links.ts";

export type TreeLink = Pick<
  ControlLink,
  "peerId" | "path" | "closed" | "send" | "onMessage" | "onPath" | "onClose"
> & { readonly bulk: TreeStreams };

export type TreeStreams = Pick<BulkStreams, "newStreamId" | "openStream" | "accept">;
