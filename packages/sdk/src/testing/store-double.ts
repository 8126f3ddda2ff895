// An object store for tests: presigned PUT and ranged GET over real HTTP, bodies in files, faults on demand.
import { once } from "node:events";
import {
  closeSync,
  createWriteStream,
  mkdirSync,
  openSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { crc32Base64 } from "../transfer/index.ts";
import { closeServer } from "./close-server.ts";

/** What a test may do to one request. */
export type StoreFault =
  /** Answer this instead. */
  | {
      readonly type: "answer";
      readonly status: number;
      readonly body?: string;
      readonly contentType?: string;
    }
  /** Drop the connection after so many body bytes in either direction. */
  | { readonly type: "cut"; readonly afterBytes: number }
  /** Flip a bit of the body that is sent. */
  | { readonly type: "flip"; readonly at: number }
  /** End the body early although its length was announced. */
  | { readonly type: "another-range" }
  /** Keep the body, but never say so. */
  | { readonly type: "lost-answer" }
  /** Never go on. */
  | { readonly type: "stall" };

export type StoreRequest = {
  readonly method: string;
  readonly key: string;
  readonly part: number;
  /** How many requests there were before this one. */
  readonly number: number;
};

type Segment = { readonly file: string; readonly size: number };
export type StoredPart = Segment & { readonly crc32: string };
export type StoredObject = {
  readonly size: number;
  readonly crc32?: string;
  readonly segments: readonly Segment[];
};

type Permit = {
  readonly method: string;
  readonly key: string;
  readonly part: number;
  /** `If-None-Match: *` (null) or `If-Match`. */
  readonly ifMatch?: string | null;
};

export class StoreDouble {
  readonly objects = new Map<string, StoredObject>();
  /** Parts by key, then by number. */
  readonly parts = new Map<string, Map<number, StoredPart>>();
  /** Asked before each request. */
  fault: (request: StoreRequest) => StoreFault | undefined = () => undefined;
  /** Body bytes that came in, also of requests that failed. */
  receivedBytes = 0;
  /** Bodies of parts that were here already. */
  sentAgain = 0;
  /** Body bytes handed to sockets. */
  servedBytes = 0;
  requests = 0;
  readonly #dir: string;
  readonly #permits = new Map<string, Permit>();
  #server: Server | undefined;
  #port = 0;
  #files = 0;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    const address = server.address();
    if (address !== null && typeof address === "object") this.#port = address.port;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await closeServer(server);
  }

  /** A URL good for one method, key and part until `expireUrls`. */
  sign(permit: Permit): string {
    const id = `${this.#permits.size}-${Math.random().toString(36).slice(2)}`;
    this.#permits.set(id, permit);
    return `http://127.0.0.1:${this.#port}/${permit.key.split("/").map(encodeURIComponent).join("/")}?permit=${id}`;
  }

  /** Makes every URL given out so far useless. */
  expireUrls(): void {
    this.#permits.clear();
  }

  /** Joins the parts of these numbers into an object; the others are forgotten. */
  join(key: string, numbers: readonly number[]): void {
    const parts = this.parts.get(key) ?? new Map<number, StoredPart>();
    const segments = numbers.flatMap((number) => parts.get(number) ?? []);
    this.objects.set(key, { size: segments.reduce((sum, one) => sum + one.size, 0), segments });
    this.parts.delete(key);
  }

  /** Keeps these bytes as a part, or as a whole object (part 0), as if they had been put. */
  keep(key: string, part: number, bytes: Uint8Array): StoredPart {
    const file = join(this.#dir, String(this.#files++));
    writeFileSync(file, bytes);
    const stored = { file, size: bytes.length, crc32: crc32Base64(crc32(bytes)) };
    this.#keep(key, part, stored);
    return stored;
  }

  /** Bytes of an object. */
  readRange(key: string, start: number, size: number): Uint8Array {
    return Buffer.concat([...this.#range(key, start, size)]);
  }

  #keep(key: string, part: number, stored: StoredPart): void {
    if (part === 0) {
      const { file, size, crc32: sum } = stored;
      this.objects.set(key, { size, crc32: sum, segments: [{ file, size }] });
      return;
    }
    const parts = this.parts.get(key) ?? new Map<number, StoredPart>();
    this.parts.set(key, parts.set(part, stored));
  }

  read(key: string): Uint8Array {
    const { size = 0 } = this.objects.get(key) ?? {};
    return Buffer.concat([...this.#range(key, 0, size)]);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://store");
    const permit = this.#permits.get(url.searchParams.get("permit") ?? "");
    const { method = "GET" } = request;
    if (permit?.method !== method) {
      return refuse(
        response,
        403,
        "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
      );
    }
    if (method === "PUT" && !this.#mayPut(permit)) {
      return refuse(response, 412, "<Error><Code>PreconditionFailed</Code></Error>");
    }
    const fault = this.fault({ ...permit, number: this.requests++ });
    if (fault?.type === "stall") return undefined;
    if (fault?.type === "answer") {
      const body = fault.body ?? "<Error><Code>SlowDown</Code></Error>";
      return refuse(response, fault.status, body, fault.contentType);
    }
    return method === "PUT"
      ? this.#put(request, response, permit, fault)
      : this.#get(request, response, permit, fault);
  }

  #mayPut({ key, ifMatch }: Permit): boolean {
    if (ifMatch === undefined) return true;
    const stored = this.objects.get(key)?.crc32;
    return ifMatch === null ? stored === undefined : `"${stored ?? ""}"` === ifMatch;
  }

  async #put(
    request: IncomingMessage,
    response: ServerResponse,
    { key, part }: Permit,
    fault: StoreFault | undefined,
  ): Promise<void> {
    if (part > 0 && this.parts.get(key)?.has(part) === true) this.sentAgain += 1;
    const file = join(this.#dir, String(this.#files++));
    const out = createWriteStream(file);
    let sum = 0;
    let size = 0;
    for await (const chunk of request) {
      if (!Buffer.isBuffer(chunk)) continue;
      sum = crc32(chunk, sum);
      size += chunk.length;
      this.receivedBytes += chunk.length;
      if (fault?.type === "cut" && size >= fault.afterBytes) {
        request.socket.destroy();
        return;
      }
      if (!out.write(chunk)) await once(out, "drain");
    }
    await new Promise<void>((resolve) => out.end(() => resolve()));
    const crc = crc32Base64(sum);
    if (
      request.headers["x-amz-checksum-crc32"] !== crc ||
      Number(request.headers["content-length"]) !== size
    ) {
      refuse(response, 400, "<Error><Code>BadDigest</Code></Error>");
      return;
    }
    this.#keep(key, part, { file, size, crc32: crc });
    if (fault?.type === "lost-answer") {
      request.socket.destroy();
      return;
    }
    response.writeHead(200, { etag: `"${crc}"`, "x-amz-checksum-crc32": crc }).end();
  }

  async #get(
    request: IncomingMessage,
    response: ServerResponse,
    { key }: Permit,
    fault: StoreFault | undefined,
  ): Promise<void> {
    const object = this.objects.get(key);
    if (object === undefined) return refuse(response, 404, "<Error><Code>NoSuchKey</Code></Error>");
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const first = Number(match?.[1] ?? 0) + (fault?.type === "another-range" ? 1 : 0);
    const last = Math.min(Number(match?.[2] ?? object.size - 1), object.size - 1);
    response.writeHead(match === null ? 200 : 206, {
      "content-length": Math.max(0, last - first + 1),
      "content-range": `bytes ${first}-${last}/${object.size}`,
    });
    const closed = once(response, "close").catch(() => undefined);
    let sent = 0;
    for (const chunk of this.#range(key, first, last - first + 1)) {
      if (fault?.type === "flip" && fault.at >= sent && fault.at < sent + chunk.length) {
        chunk.writeUInt8(chunk.readUInt8(fault.at - sent) ^ 1, fault.at - sent);
      }
      if (fault?.type === "cut" && sent + chunk.length > fault.afterBytes) {
        const part = chunk.subarray(0, fault.afterBytes - sent);
        this.servedBytes += part.length;
        await new Promise<void>((resolve) => response.write(part, () => resolve()));
        response.destroy();
        return undefined;
      }
      sent += chunk.length;
      this.servedBytes += chunk.length;
      const more = response.write(chunk);
      if (!more) await Promise.race([once(response, "drain"), closed]);
      if (response.destroyed) return undefined;
    }
    response.end();
    return undefined;
  }

  *#range(key: string, start: number, size: number): Generator<Buffer> {
    let skip = start;
    let left = size;
    for (const segment of this.objects.get(key)?.segments ?? []) {
      if (skip >= segment.size) {
        skip -= segment.size;
        continue;
      }
      const file = openSync(segment.file, "r");
      try {
        for (let at = skip; at < segment.size && left > 0;) {
          const chunk = Buffer.allocUnsafe(Math.min(256 * 1024, segment.size - at, left));
          readSync(file, chunk, 0, chunk.length, at);
          at += chunk.length;
          left -= chunk.length;
          yield chunk;
        }
      } finally {
        closeSync(file);
      }
      skip = 0;
      if (left === 0) return;
    }
  }
}

function refuse(
  response: ServerResponse,
  status: number,
  body: string,
  contentType = "application/xml",
): void {
  response.writeHead(status, { "content-type": contentType, connection: "close" }).end(body);
}
