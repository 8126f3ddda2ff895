/**
 * Answers: XML, nothing, or a stream of bytes with backpressure; each with S3's common headers and
 * with CORS headers for browsers.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { once } from "node:events";
import type { S3Error } from "../s3-error.ts";
import { plainDocument, text } from "./xml-writer.ts";

export type ResponseHeaders = Record<string, string | number | undefined>;

/** Response headers every script may read anyway (Fetch standard, "CORS-safelisted"). */
const safelisted = new Set(["cache-control", "content-language", "content-type", "expires"]);

export class S3Response {
  readonly requestId: string;
  readonly #response: ServerResponse;
  readonly #origin: boolean;

  constructor(response: ServerResponse, request: IncomingMessage, requestId: string) {
    this.#response = response;
    this.#origin = request.headers.origin !== undefined;
    this.requestId = requestId;
  }

  /** True once the status line is out; nothing but cutting the connection can be said then. */
  get started(): boolean {
    return this.#response.headersSent;
  }

  /** Answers with an XML document. */
  xml(status: number, document: string, headers: ResponseHeaders = {}): void {
    const body = Buffer.from(document);
    this.#head(status, {
      "content-type": "application/xml",
      "content-length": body.length,
      ...headers,
    });
    this.#response.end(body);
  }

  /** Answers without a body. */
  empty(status: number, headers: ResponseHeaders = {}): void {
    const length = status === 204 || status === 304 ? {} : { "content-length": 0 };
    this.#head(status, { ...length, ...headers });
    this.#response.end();
  }

  /**
   * Answers with bytes; `headers` must hold their `content-length`. A chunk is asked for only
   * when the one before has left for the kernel, so its buffer may be reused.
   */
  async stream(
    status: number,
    headers: ResponseHeaders,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    this.#head(status, headers);
    const response = this.#response;
    let gone = false;
    const closed = new Promise<void>((resolve) => {
      response.once("close", () => {
        gone = true;
        resolve();
      });
    });
    for await (const chunk of chunks) {
      await Promise.race([this.#write(chunk), closed]);
      if (gone) return;
    }
    response.end();
    if (!response.writableFinished) await Promise.race([once(response, "finish"), closed]);
  }

  /** Answers a HEAD: the headers of what a GET would send. */
  head(status: number, headers: ResponseHeaders): void {
    this.#head(status, headers);
    this.#response.end();
  }

  /** Answers an error as S3's XML. */
  error(error: S3Error, resource: string): void {
    const document = plainDocument(
      "Error",
      text("Code", error.code),
      text("Message", error.message),
      ...Object.entries(error.details).map(([name, value]) => text(name, value)),
      text("Resource", resource),
      text("RequestId", this.requestId),
      text("HostId", this.requestId),
    );
    this.xml(error.status, document, error.headers);
  }

  /** Makes this the connection's last answer. */
  closeConnection(): void {
    if (!this.started) this.#response.setHeader("connection", "close");
  }

  /** Cuts the connection: the client must see that an answer is not whole. */
  destroy(cause: Error): void {
    this.#response.destroy(cause);
  }

  #head(status: number, headers: ResponseHeaders): void {
    const all: OutgoingHttpHeaders = {
      server: "Waybill",
      "x-amz-request-id": this.requestId,
      "x-amz-id-2": this.requestId,
    };
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined) all[name] = value;
    }
    if (this.#origin) {
      all["access-control-expose-headers"] = [...Object.keys(all), "date"]
        .filter((name) => !safelisted.has(name))
        .join(", ");
      all["access-control-allow-origin"] = "*";
    }
    this.#response.writeHead(status, all);
  }

  #write(chunk: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#response.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }
}

/** Answers a browser's preflight: any origin may use a presigned URL; the signature decides. */
export function answerPreflight(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers.origin === undefined) {
    response.writeHead(400, { "content-length": 0 });
    response.end();
    return;
  }
  const wanted = request.headers["access-control-request-headers"];
  response.writeHead(204, {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, HEAD, PUT, POST, DELETE",
    ...(wanted === undefined ? {} : { "access-control-allow-headers": wanted }),
    "access-control-max-age": "3600",
    vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
  });
  response.end();
}
