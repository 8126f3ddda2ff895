// HTTP for bulk bytes, the part that differs between platforms: PUT a body from memory, GET a body as a
// stream. Status codes are the caller's business; only failures of the connection throw.

import type { RateGate, RateLimit } from "../timing/index.ts";

export type ByteTransportInit = {
  /** Bytes a second in all, over every connection; a gate is shared with whoever else passes it. Not in browsers. */
  readonly limits?: {
    readonly up?: RateLimit | RateGate | undefined;
    readonly down?: RateLimit | RateGate | undefined;
  };
  /** Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are honoured. Browsers know their own. */
  readonly proxy?: "environment" | "none";
};

export type ByteRequest = {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** No byte in either direction for this long fails the request with `timeout`. */
  readonly idleMs?: number;
  /** A kept connection older than this is closed instead of being used again. Browsers decide for themselves. */
  readonly maxConnectionAgeMs?: number | undefined;
  /** Told which connection carries the request, before its first byte is sent. Not in browsers. */
  readonly onConnection?: ((facts: ConnectionFacts) => void) | undefined;
};

export type ConnectionFacts = {
  /** Whether it carried another request before. */
  readonly reused: boolean;
  /** When it was opened, on the clock of `performance.now()`. */
  readonly openedAtMs: number;
  /** Host and port it leads to (not those of a proxy). */
  readonly host: string;
};

export type GetRequest = ByteRequest & {
  /**
   * Memory in which byte `at` of the body (from 0) and those after it belong, or undefined for now. Bytes that
   * could be received there are pieces of that memory, which saves a copy; any other piece is to be copied.
   * Memory that was given MUST NOT be used for anything else before the bytes came or the body ended.
   */
  readonly into?: ((at: number) => Uint8Array | undefined) | undefined;
};

export type PutRequest = ByteRequest & {
  readonly body: Uint8Array;
  /** Told of body bytes as they are handed to the socket. */
  readonly onSent?: (bytes: number) => void;
};

export type PutAnswer = {
  readonly status: number;
  /** Case-insensitive. */
  readonly header: (name: string) => string | undefined;
  /** The first 64 KiB of the answer's body. */
  readonly text: string;
};

export type GetAnswer = {
  readonly status: number;
  /** Case-insensitive. */
  readonly header: (name: string) => string | undefined;
  /**
   * Body as it arrives. **A chunk is valid until the next one is asked for**: its memory is read into
   * again (memory that `into` gave is not). Ends when the body is complete and throws `unreachable` when the connection ends before it.
   * Leaving the loop early closes the connection.
   */
  readonly body: AsyncIterable<Uint8Array>;
};

/** Throws `unreachable` or `timeout` (both retryable), or the signal's reason. */
export interface ByteTransport {
  put(request: PutRequest): Promise<PutAnswer>;
  get(request: GetRequest): Promise<GetAnswer>;
  /** Opens that many connections to an origin, for requests to come; what fails is left to them. Not in browsers. */
  warm?(origin: string, connections: number): void;
  /** Closes idle connections; requests under way finish. */
  close(): void;
}

/** A stalled connection is given up after this long; a store that flushes to disk answers sooner. */
export const DEFAULT_IDLE_MS = 30_000;

/** Error answers are short XML documents; nothing longer is read. */
export const MAX_TEXT_BYTES = 64 * 1024;
