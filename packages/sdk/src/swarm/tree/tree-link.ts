// What reading a tree over a link needs of it: control messages, and bulk streams for the bytes.
import type { ControlLink } from "../peer-links.ts";

/** A stream of bytes to the other side, in order. */
export type BulkOut = {
  /** Resolves when there is room for more; the bytes are the stream's from then on. */
  write(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
  /** The other side's reading fails. */
  abort(reason: string): void;
};

export type BulkStreams = {
  /** An id that no stream of this side of the link has. */
  newStreamId(): number;
  /** Fails, at the latest with the first write, while the link has no path that carries bulk. */
  openStream(id: number, options: { readonly signal: AbortSignal }): BulkOut;
  /** The bytes the other side writes; throws when it aborts, or the signal's reason. */
  accept(id: number, options: { readonly signal: AbortSignal }): AsyncIterable<Uint8Array>;
};

export type TreeLink = Pick<
  ControlLink,
  "peerId" | "path" | "closed" | "send" | "onMessage" | "onPath" | "onClose"
> & { readonly bulk: BulkStreams };
