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
  /** Whether a signature of the trailing headers must follow them. */
  readonly signedTrailer: boolean;
  /** Lower-case name of the trailing header announced in `x-amz-trailer`. */
  readonly trailerName: string | undefined;
}

/** Longest line between chunks: a size, a signature, or a trailing header. */
const MAX_LINE_BYTES = 4096;
const LINE_FEED = 0x0a;
const SIGNATURE_TRAILER = "x-amz-trailer-signature";

type State = "size" | "data" | "data-end" | "trailer" | "done";

export class ChunkedDecoder {
  readonly #signing: ChunkSigning | undefined;
  readonly #signedTrailer: boolean;
  readonly #trailerName: string | undefined;
  readonly #trailers = new Map<string, string>();
  #state: State = "size";
  #line: Buffer = Buffer.alloc(0);
  #left = 0;
  #previous: string;
  #claimed = "";
  #hash: Hash | undefined;

  constructor(init: ChunkedDecoderInit) {
    this.#signing = init.signing;
    this.#signedTrailer = init.signedTrailer;
    this.#trailerName = init.trailerName;
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
      if (this.#line.length > MAX_LINE_BYTES) throw unexpectedEnd();
      if (end < 0) {
        // Kept across calls: copy, so that a few bytes do not hold on to a whole network buffer.
        this.#line = Buffer.from(this.#line);
        return;
      }
      const line = this.#line.toString("latin1");
      this.#line = Buffer.alloc(0);
      if (!line.endsWith("\r\n")) throw unexpectedEnd();
      this.#takeLine(line.slice(0, -2));
    }
  }

  /**
   * Ends the body and returns its trailing headers by lower-case name.
   *
   * @throws S3Error `IncompleteBody` when it stopped early, `MalformedTrailerError` when the
   *   announced trailer did not come, `SignatureDoesNotMatch` when the trailers' one is wrong
   */
  finish(): ReadonlyMap<string, string> {
    if (this.#state !== "done") throw unexpectedEnd();
    if (this.#trailerName !== undefined && !this.#trailers.has(this.#trailerName)) {
      throw new S3Error("MalformedTrailerError");
    }
    if (this.#signing && this.#signedTrailer) this.#verifyTrailers(this.#signing);
    return this.#trailers;
  }

  #takeLine(line: string): void {
    switch (this.#state) {
      case "size":
        this.#takeSize(line);
        return;
      case "data-end":
        if (line !== "") throw unexpectedEnd();
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
    const match = /^([0-9a-fA-F]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/.exec(line);
    if (!match) throw unexpectedEnd();
    this.#left = Number.parseInt(match[1]!, 16);
    if (this.#signing) {
      if (match[2] === undefined) throw unexpectedEnd();
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
    const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase();
    const expected =
      name === this.#trailerName || (this.#signedTrailer && name === SIGNATURE_TRAILER);
    if (name === "" || !expected) throw new S3Error("MalformedTrailerError");
    this.#trailers.set(name, line.slice(colon + 1).trim());
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
    const claimed = this.#trailers.get(SIGNATURE_TRAILER) ?? "";
    this.#trailers.delete(SIGNATURE_TRAILER);
    const canonical = [...this.#trailers]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([header, value]) => `${header}:${value}\n`)
      .join("");
    const hash = createHash("sha256").update(canonical, "latin1").digest("hex");
    const lines = ["AWS4-HMAC-SHA256-TRAILER", time, scope, this.#previous, hash];
    if (!sameSignature(claimed, sign(key, lines))) throw new S3Error("SignatureDoesNotMatch");
  }
}

/** The error for a framed body that is not what its frames say. */
function unexpectedEnd(): S3Error {
  return new S3Error("IncompleteBody", { message: "The request body terminated unexpectedly" });
}
