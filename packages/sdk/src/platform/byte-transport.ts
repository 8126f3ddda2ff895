// HTTP for bulk bytes, the part that differs between platforms: PUT a body from memory, GET a body as a
// stream. Status codes are the caller's business; only failures of the connection throw.

export type ByteRequest = {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** No byte in either direction for this long fails the request with `timeout`. */
  readonly idleMs?: number;
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
   * again. Ends when the body is complete and throws `unreachable` when the connection ends before it.
   * Leaving the loop early closes the connection.
   */
  readonly body: AsyncIterable<Uint8Array>;
};

/** Throws `unreachable` or `timeout` (both retryable), or the signal's reason. */
export interface ByteTransport {
  put(request: PutRequest): Promise<PutAnswer>;
  get(request: ByteRequest): Promise<GetAnswer>;
  /** Closes idle connections; requests under way finish. */
  close(): void;
}

/** A stalled connection is given up after this long; a store that flushes to disk answers sooner. */
export const DEFAULT_IDLE_MS = 30_000;

/** Error answers are short XML documents; nothing longer is read. */
export const MAX_TEXT_BYTES = 64 * 1024;
