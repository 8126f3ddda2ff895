/** An authenticated request as operations see it. */
import type { IncomingMessage } from "node:http";
import type { Authentication } from "../auth/authenticate.ts";
import { S3Error } from "../s3-error.ts";
import { RequestBody } from "./request-body.ts";
import type { Target } from "./target.ts";

/** Longest XML body read: 10,000 parts with checksums stay well below. */
const MAX_XML_BYTES = 8 * 1024 * 1024;

export interface S3RequestInit {
  readonly message: IncomingMessage;
  readonly target: Target;
  readonly authentication: Authentication;
  readonly beforeBody: () => void;
}

export class S3Request {
  readonly method: string;
  readonly path: string;
  readonly query: ReadonlyMap<string, string>;
  readonly body: RequestBody;
  readonly #headers: ReadonlyMap<string, string>;
  readonly #target: Target;

  constructor({ message, target, authentication, beforeBody }: S3RequestInit) {
    this.method = message.method ?? "GET";
    this.path = target.path;
    this.query = new Map(target.query);
    this.body = new RequestBody(message, authentication, beforeBody);
    this.#target = target;
    this.#headers = collectHeaders(message, target, authentication);
  }

  /** The bucket named by the URL; operations on buckets and keys are only called with one. */
  get bucket(): string {
    return this.#target.bucket ?? "";
  }

  get key(): string {
    return this.#target.key ?? "";
  }

  header(name: string): string | undefined {
    return this.#headers.get(name);
  }

  /** Headers that start with `prefix`, by the rest of their names. */
  headersAfter(prefix: string): Record<string, string> {
    const found: Record<string, string> = {};
    for (const [name, value] of this.#headers) {
      if (name.startsWith(prefix)) found[name.slice(prefix.length)] = value;
    }
    return found;
  }

  /**
   * A query parameter that is a whole number.
   *
   * @throws S3Error `InvalidArgument`
   */
  wholeNumber(name: string, fallback: number, min: number, max: number): number {
    const value = this.query.get(name);
    if (value === undefined || value === "") return fallback;
    const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= 2 ** 31 - 1) return Math.min(number, max);
    throw new S3Error("InvalidArgument", {
      message: /^-\d+$/.test(value)
        ? `Argument ${value} must be an integer between ${min} and 2147483647`
        : `Provided ${value} not an integer or within integer range`,
      details: { ArgumentName: name, ArgumentValue: value },
    });
  }

  /** The whole body as text, for XML. */
  async readText(observe?: (chunk: Buffer) => void): Promise<string> {
    const chunks: Buffer[] = [];
    let total = 0;
    for await (const chunk of this.body.chunks()) {
      observe?.(chunk);
      total += chunk.length;
      if (total > MAX_XML_BYTES) throw new S3Error("MaxMessageLengthExceeded");
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString("utf8");
  }
}

function collectHeaders(
  message: IncomingMessage,
  target: Target,
  authentication: Authentication,
): Map<string, string> {
  const headers = new Map<string, string>();
  if (authentication.presigned) {
    // Presigners move x-amz- headers into the query, where they mean the same.
    for (const [name, value] of target.query) {
      const lower = name.toLowerCase();
      if (lower.startsWith("x-amz-") && !notHeaders.has(lower)) headers.set(lower, value);
    }
  }
  for (const [name, value] of Object.entries(message.headersDistinct)) {
    if (value !== undefined) headers.set(name, value.join(","));
  }
  return headers;
}

const notHeaders = new Set([
  // SDKs leave their wish in presigned URLs, where no checksum can follow it.
  "x-amz-sdk-checksum-algorithm",
  "x-amz-algorithm",
  "x-amz-credential",
  "x-amz-date",
  "x-amz-expires",
  "x-amz-signature",
  "x-amz-signedheaders",
  "x-amz-security-token",
]);
