/**
 * A store in a temporary directory for tests, and a client that signs by hand: URLs go out
 * exactly as written (no library tidies `..` or `//`), and any header can be wrong on purpose.
 */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  canonicalRequestHash,
  encodePath,
  formatAmzTime,
  scopeText,
  sign,
  signingKey,
  stringToSign,
} from "../auth/canonical.ts";
import { parseTarget } from "../http/target.ts";
import { createStore, type Store, type StoreInit } from "../store.ts";

export const testCredential = {
  accessKeyId: "AKIATEST",
  secretAccessKey: "a secret nobody needs to keep",
} as const;
const REGION = "us-east-1";

export interface TestRequest {
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Leaves the signature out. */
  readonly anonymous?: boolean;
}

export interface TestResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The body as text. */
  readonly text: string;
  /** S3's error code, when the body is an error. */
  readonly code: string | undefined;
}

export interface TestStore extends AsyncDisposable {
  readonly store: Store;
  readonly endpoint: string;
  readonly port: number;
  readonly dataDir: string;
  /** Sends a signed request; `path` is `/bucket/key`, not encoded. */
  send(method: string, path: string, request?: TestRequest): Promise<TestResponse>;
  /** A presigned URL's path and query. */
  presign(method: string, path: string, options?: PresignOptions): string;
  /** Blob files on disk. */
  blobFiles(): Promise<string[]>;
}

interface PresignOptions {
  readonly expiresSeconds?: number;
  readonly signedHeaders?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  /** Milliseconds since 1970. */
  readonly at?: number;
}

/** Starts a store; disposing it stops the store and removes its directory. */
export async function startTestStore(init: Partial<StoreInit> = {}): Promise<TestStore> {
  const dataDir = init.dataDir ?? (await mkdtemp(join(tmpdir(), "waybill-store-")));
  const store = createStore({
    host: "127.0.0.1",
    port: 0,
    region: REGION,
    credentials: [testCredential],
    minPartBytes: 1024,
    sweepIntervalMs: 0,
    ...init,
    dataDir,
  });
  const { endpoint } = await store.start();
  const port = Number(new URL(endpoint).port);
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const now = (): number => (init.clock ?? Date).now();
  return {
    store,
    endpoint,
    port,
    dataDir,
    send(method, path, request = {}) {
      const headers = signHeaders(method, path, port, request, now());
      return exchange(
        { agent, port, method, headers, body: request.body },
        target(path, request.query),
      );
    },
    presign: (method, path, options = {}) => presign(method, path, port, { at: now(), ...options }),
    async blobFiles() {
      const entries = await readdir(join(dataDir, "blobs"), {
        recursive: true,
        withFileTypes: true,
      });
      return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
    },
    async [Symbol.asyncDispose]() {
      agent.destroy();
      await store.stop();
      if (init.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
}

function target(path: string, query = ""): string {
  return encodePath(path) + (query === "" ? "" : `?${query}`);
}

/** Headers of a signed request, with the body unsigned. */
export function signHeaders(
  method: string,
  path: string,
  port: number,
  request: TestRequest,
  at: number,
): Record<string, string> {
  const time = formatAmzTime(at);
  const headers: Record<string, string> = {
    host: `127.0.0.1:${port}`,
    "x-amz-date": time,
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    ...request.headers,
  };
  if (request.anonymous) return { ...request.headers };
  const signedHeaders = Object.keys(headers)
    .map((name) => name.toLowerCase())
    .toSorted();
  const scope = { date: time.slice(0, 8), region: REGION, service: "s3" };
  const hash = canonicalRequestHash({
    method,
    path,
    query: parseTarget(`/?${request.query ?? ""}`, "").query,
    headers: Object.entries(headers),
    signedHeaders,
    payload: headers["x-amz-content-sha256"] ?? "UNSIGNED-PAYLOAD",
  });
  const signature = sign(
    signingKey(testCredential.secretAccessKey, scope),
    stringToSign(time, scope, hash),
  );
  headers["authorization"] =
    `AWS4-HMAC-SHA256 Credential=${testCredential.accessKeyId}/${scopeText(scope)}, ` +
    `SignedHeaders=${signedHeaders.join(";")}, Signature=${signature}`;
  return headers;
}

function presign(method: string, path: string, port: number, options: PresignOptions): string {
  const time = formatAmzTime(options.at ?? 0);
  const scope = { date: time.slice(0, 8), region: REGION, service: "s3" };
  const headers = { host: `127.0.0.1:${port}`, ...options.signedHeaders };
  const signedHeaders = Object.keys(headers).toSorted();
  const query: [string, string][] = [
    ...Object.entries(options.query ?? {}),
    ["X-Amz-Algorithm", "AWS4-HMAC-SHA256"],
    ["X-Amz-Credential", `${testCredential.accessKeyId}/${scopeText(scope)}`],
    ["X-Amz-Date", time],
    ["X-Amz-Expires", String(options.expiresSeconds ?? 3600)],
    ["X-Amz-SignedHeaders", signedHeaders.join(";")],
  ];
  const hash = canonicalRequestHash({
    method,
    path,
    query,
    headers: Object.entries(headers),
    signedHeaders,
    payload: "UNSIGNED-PAYLOAD",
  });
  const key = signingKey(testCredential.secretAccessKey, scope);
  const signature = sign(key, stringToSign(time, scope, hash));
  const text = [...query, ["X-Amz-Signature", signature]]
    .map(([name, value]) => `${encodeURIComponent(name ?? "")}=${encodeURIComponent(value ?? "")}`)
    .join("&");
  return `${encodePath(path)}?${text}`;
}

interface Exchange {
  readonly agent?: Agent;
  readonly port: number;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | undefined;
}

/** One HTTP exchange, with the path exactly as given. */
export function exchange(options: Exchange, path: string): Promise<TestResponse> {
  const { agent, port, method, body } = options;
  const length = body === undefined && method !== "PUT" ? {} : { "content-length": size(body) };
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        host: "127.0.0.1",
        port,
        method,
        path,
        ...(agent ? { agent } : {}),
        headers: { ...length, ...options.headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const all = Buffer.concat(chunks);
          const text = all.toString("utf8");
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: all,
            text,
            code: /<Error><Code>([^<]+)/.exec(text)?.[1],
          });
        });
      },
    );
    outgoing.on("error", reject);
    // As bytes: with text, Node would encode the headers like the text, in UTF-8.
    outgoing.end(body === undefined ? undefined : Buffer.from(body));
  });
}

function size(body: string | Uint8Array | undefined): number {
  return typeof body === "string" ? Buffer.byteLength(body) : (body?.length ?? 0);
}

/** Bytes that compress badly and repeat never, the same for the same seed. */
export function sampleBytes(length: number, seed = 1): Buffer<ArrayBuffer> {
  const block = 64;
  const out = Buffer.alloc(Math.ceil(length / block) * block);
  for (let at = 0; at < out.length; at += block) {
    createHash("sha512").update(`${seed}:${at}`).digest().copy(out, at);
  }
  return out.subarray(0, length);
}

/** Hexadecimal MD5, which is what S3 calls an ETag. */
export function md5(data: string | Uint8Array): string {
  return createHash("md5").update(data).digest("hex");
}
