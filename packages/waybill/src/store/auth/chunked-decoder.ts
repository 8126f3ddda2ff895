/**
 * Takes `aws-chunked` framing off a body and checks the signature of every chunk:
 *
 * ```
 * size ── line ──▶ data ── all bytes ──▶ data-end ── CRLF ──▶ size
 *   ╰── size 0 ──▶ trailer ── empty line ──▶ done
 * ```
 *
 * Data passes as slices of what came in; nothing is copied or held back. The caller must keep
 * what it got invisible until `finish` has returned.
 */
import { createHash, type Hash } from "node:crypto";
import { S3Error } from "../s3-error.ts";
import type { ChunkSigning } from "./authenticate.ts";
import { EMPTY_SHA256, sameSignature, sign } from "./canonical.ts";

export interface ChunkedDecoderInit {
  /** Set when chunks carry signatures. */
  readonly signing: ChunkSigning | undefined;
  /** Whether trailing headers may follow the last chunk. */
  readonly trailer: boolean;
}

/** Longest line between chunks: a size, a signature, or a trailing header. */
const MAX_LINE_BYTES = 4096;
/** Trailing headers S3 knows: one checksum and one signature. */
const MAX_TRAILERS = 8;
const LINE_FEED = 0x0a;

type State = "size" | "data" | "data-end" | "trailer" | "done";

export class ChunkedDecoder {
  readonly #signing: ChunkSigning | undefined;
  readonly #trailerAllowed: boolean;
  readonly #trailers = new Map<string, string>();
  #state: State = "size";
  #line: Buffer = Buffer.alloc(0);
  #left = 0;
  #previous: string;
  #claimed = "";
  #hash: Hash | undefined;

  constructor(init: ChunkedDecoderInit) {
    this.#signing = init.signing;
    this.#trailerAllowed = init.trailer;
    this.#previous = init.signing?.seed ?? "";
  }

  /**
   * Takes bytes off the wire and yields the data among them.
   *
   * @throws S3Error `SignatureDoesNotMatch` for a bad chunk, `IncompleteBody` for bad framing
   */
  *push(input: Buffer): Generator<Buffer> {
    let at = 0;
    while (at < input.length && this.#state !== "done") {
      if (this.#state === "data") {
        const data = input.subarray(at, at + this.#left);
        at += data.length;
        this.#left -= data.length;
        this.#hash?.update(data);
        if (this.#left === 0) {
          this.#verifyChunk();
          this.#state = "data-end";
        }
        yield data;
        continue;
      }
      const end = input.indexOf(LINE_FEED, at);
      const piece = input.subarray(at, end < 0 ? input.length : end + 1);
      at += piece.length;
      this.#line = this.#line.length === 0 ? piece : Buffer.concat([this.#line, piece]);
      if (this.#line.length > MAX_LINE_BYTES) throw malformed("a line is too long");
      if (end < 0) {
        // Kept across calls: copy, so that a few bytes do not hold on to a whole network buffer.
        this.#line = Buffer.from(this.#line);
        return;
      }
      const line = this.#line.toString("latin1").replace(/\r?\n$/, "");
      this.#line = Buffer.alloc(0);
      this.#takeLine(line);
    }
  }

  /**
   * Ends the body and returns its trailing headers by lower-case name.
   *
   * @throws S3Error `IncompleteBody` when it stopped early, `SignatureDoesNotMatch` when the
   *   trailers' signature is wrong
   */
  finish(): ReadonlyMap<string, string> {
    // Some clients leave out the very last line end.
    if (this.#state === "trailer" && this.#line.length > 0) {
      this.#takeLine(this.#line.toString("latin1").replace(/\r$/, ""));
    }
    if (this.#state !== "done" && this.#state !== "trailer") {
      throw new S3Error("IncompleteBody");
    }
    if (this.#signing && this.#trailerAllowed) this.#verifyTrailers(this.#signing);
    this.#state = "done";
    return this.#trailers;
  }

  #takeLine(line: string): void {
    switch (this.#state) {
      case "size":
        this.#takeSize(line);
        return;
      case "data-end":
        if (line !== "") throw malformed("a chunk is longer than its size");
        this.#state = "size";
        return;
      case "trailer":
        this.#takeTrailer(line);
        return;
      case "data":
      case "done":
    }
  }

  #takeSize(line: string): void {
    const match = /^([0-9a-fA-F]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/.exec(line.trim());
    if (!match) throw malformed("a chunk size cannot be read");
    this.#left = Number.parseInt(match[1]!, 16);
    if (this.#signing) {
      if (match[2] === undefined) throw malformed("a chunk has no signature");
      this.#claimed = match[2];
      this.#hash = createHash("sha256");
    }
    if (this.#left > 0) {
      this.#state = "data";
      return;
    }
    this.#verifyChunk();
    this.#state = "trailer";
  }

  #takeTrailer(line: string): void {
    if (line === "") {
      this.#state = "done";
      return;
    }
    const colon = line.indexOf(":");
    if (!this.#trailerAllowed || colon < 1 || this.#trailers.size >= MAX_TRAILERS) {
      throw new S3Error("MalformedTrailerError");
    }
    this.#trailers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }

  #verifyChunk(): void {
    if (!this.#signing || !this.#hash) return;
    const { key, time, scope } = this.#signing;
    const expected = sign(key, [
      "AWS4-HMAC-SHA256-PAYLOAD",
      time,
      scope,
      this.#previous,
      EMPTY_SHA256,
      this.#hash.digest("hex"),
    ]);
    this.#hash = undefined;
    if (!sameSignature(this.#claimed, expected)) throw new S3Error("SignatureDoesNotMatch");
    this.#previous = expected;
  }

  #verifyTrailers({ key, time, scope }: ChunkSigning): void {
    const name = "x-amz-trailer-signature";
    const claimed = this.#trailers.get(name) ?? "";
    this.#trailers.delete(name);
    const canonical = [...this.#trailers]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([header, value]) => `${header}:${value}\n`)
      .join("");
    const hash = createHash("sha256").update(canonical, "latin1").digest("hex");
    const lines = ["AWS4-HMAC-SHA256-TRAILER", time, scope, this.#previous, hash];
    if (!sameSignature(claimed, sign(key, lines))) throw new S3Error("SignatureDoesNotMatch");
  }
}

function malformed(what: string): S3Error {
  return new S3Error("IncompleteBody", {
    message: `The request body terminated unexpectedly: ${what}.`,
  });
}
