/**
 * The body of a request, unframed and verified: aws-chunked framing taken off, chunk signatures,
 * the announced length and the signed SHA-256 checked. It is trustworthy only once it has been
 * read to its end without an error.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Authentication } from "../auth/authenticate.ts";
import { ChunkedDecoder } from "../auth/chunked-decoder.ts";
import { S3Error } from "../s3-error.ts";

type ChunkedPayload = Extract<Authentication["payload"], { kind: "chunked" }>;

export class RequestBody {
  /** Bytes of data announced; undefined when the client named no length. */
  readonly bytes: number | undefined;
  readonly #message: IncomingMessage;
  readonly #authentication: Authentication;
  readonly #beforeRead: () => void;
  #trailers: ReadonlyMap<string, string> = new Map();

  /** @param beforeRead called when somebody wants the first byte (sends `100 Continue`) */
  constructor(message: IncomingMessage, authentication: Authentication, beforeRead: () => void) {
    this.#message = message;
    this.#authentication = authentication;
    this.#beforeRead = beforeRead;
    this.bytes = announcedBytes(message, authentication);
  }

  /** Headers that came after the body, by lower-case name; known once it was read. */
  get trailers(): ReadonlyMap<string, string> {
    return this.#trailers;
  }

  /**
   * The data, once.
   *
   * @throws S3Error `IncompleteBody`, `SignatureDoesNotMatch`, `XAmzContentSHA256Mismatch`
   */
  async *chunks(): AsyncGenerator<Buffer> {
    this.#beforeRead();
    let received = 0;
    for await (const chunk of this.#verified()) {
      received += chunk.length;
      if (this.bytes !== undefined && received > this.bytes) throw new S3Error("IncompleteBody");
      yield chunk;
    }
    if (this.bytes !== undefined && received < this.bytes) throw new S3Error("IncompleteBody");
  }

  async *#verified(): AsyncGenerator<Buffer> {
    const { payload } = this.#authentication;
    switch (payload.kind) {
      case "unsigned":
        yield* this.#raw();
        return;
      case "hashed":
        yield* this.#hashed(payload.sha256);
        return;
      case "chunked":
        yield* this.#unframed(payload);
    }
  }

  async *#hashed(expected: string): AsyncGenerator<Buffer> {
    const hash = createHash("sha256");
    for await (const chunk of this.#raw()) {
      hash.update(chunk);
      yield chunk;
    }
    const computed = hash.digest("hex");
    if (computed === expected) return;
    throw new S3Error("XAmzContentSHA256Mismatch", {
      details: {
        ClientComputedContentSHA256: expected,
        S3ComputedContentSHA256: computed,
      },
    });
  }

  async *#unframed({ signed, trailer }: ChunkedPayload): AsyncGenerator<Buffer> {
    const announced = this.#message.headers["x-amz-trailer"];
    const decoder = new ChunkedDecoder({
      signing: signed ? this.#authentication.chunkSigning : undefined,
      signedTrailer: signed && trailer,
      trailerName: typeof announced === "string" ? announced.trim().toLowerCase() : undefined,
    });
    for await (const chunk of this.#raw()) yield* decoder.push(chunk);
    this.#trailers = decoder.finish();
  }

  /** Leaving early must not destroy the connection: the error still has to be answered on it. */
  #raw(): AsyncIterable<Buffer> {
    return this.#message.iterator({ destroyOnReturn: false });
  }
}

function announcedBytes(message: IncomingMessage, { payload }: Authentication): number | undefined {
  const name = payload.kind === "chunked" ? "x-amz-decoded-content-length" : "content-length";
  const value = message.headers[name];
  if (typeof value !== "string") return undefined;
  if (/^\d{1,15}$/.test(value)) return Number(value);
  throw new S3Error("MissingContentLength");
}
