// Presigned URLs by AWS Signature Version 4 in the query (docs: "Authenticating Requests: Using Query
// Parameters"). The SDK's presigner builds a whole client request per URL and takes milliseconds for a
// batch; here a URL costs one HMAC and one SHA-256 over a few hundred bytes, and the day's signing key is
// derived once.
import { createHash, createHmac } from "node:crypto";
import type { Clock } from "../log.ts";

export type S3Credentials = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** When temporary credentials, and every URL signed with them, stop working. */
  readonly expiration?: Date;
};

export type PresignerInit = {
  /** What clients reach the store by, such as `http://10.0.0.5:8701`; AWS's own when absent. */
  readonly endpoint?: string | undefined;
  readonly region: string;
  readonly credentials: () => Promise<S3Credentials>;
  readonly clock: Clock;
  /** The store's clock, which signatures are judged by; `clock` when absent. */
  readonly signingClock?: Clock;
};

export type ToSign = {
  readonly method: "GET" | "HEAD" | "PUT";
  readonly bucket: string;
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Lower-case names; the request must carry exactly these values. `host` is added. */
  readonly headers?: Readonly<Record<string, string>>;
};

export type Presigned = {
  readonly urls: string[];
  /** By the hub's clock. */
  readonly expiresAtMs: number;
  /** From now on, for whoever has another clock. */
  readonly validForMs: number;
};

type SigningKey = { readonly scope: string; readonly secret: string; readonly key: Buffer };

/** Signs batches of URLs that all expire together. */
export class Presigner {
  readonly #init: PresignerInit;
  readonly #base: URL;
  readonly #pathStyle: boolean;
  #signingKey: SigningKey | undefined;

  constructor(init: PresignerInit) {
    this.#init = init;
    this.#pathStyle = init.endpoint !== undefined;
    this.#base = new URL(init.endpoint ?? `https://s3.${init.region}.amazonaws.com`);
  }

  /** Where URLs of a bucket lead: scheme, host and port. */
  originOf(bucket: string): string {
    return `${this.#base.protocol}//${this.#place(bucket, "").host}`;
  }

  /** URLs good for `seconds` from now, less when the hub's own credentials expire before. */
  async sign(requests: readonly ToSign[], seconds: number): Promise<Presigned> {
    const credentials = await this.#init.credentials();
    const nowMs = this.#init.clock();
    const untilMs = Math.min(
      nowMs + seconds * 1000,
      credentials.expiration?.getTime() ?? Number.POSITIVE_INFINITY,
    );
    const validSeconds = Math.max(1, Math.floor((untilMs - nowMs) / 1000));
    const signedMs = this.#init.signingClock?.() ?? nowMs;
    const date = new Date(signedMs).toISOString().replaceAll(/[-:]|\.\d{3}/g, "");
    const urls = requests.map((request) => this.#url(request, credentials, date, validSeconds));
    const validForMs = validSeconds * 1000;
    return { urls, expiresAtMs: nowMs + validForMs, validForMs };
  }

  #url(request: ToSign, credentials: S3Credentials, date: string, seconds: number): string {
    const { host, path } = this.#place(request.bucket, request.key);
    const headers: [string, string][] = Object.entries({ ...request.headers, host });
    headers.sort(byName);
    const signedHeaders = headers.map(([name]) => name).join(";");
    const scope = `${date.slice(0, 8)}/${this.#init.region}/s3/aws4_request`;
    const query: [string, string][] = Object.entries({
      ...request.query,
      "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
      "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
      "X-Amz-Credential": `${credentials.accessKeyId}/${scope}`,
      "X-Amz-Date": date,
      "X-Amz-Expires": String(seconds),
      "X-Amz-SignedHeaders": signedHeaders,
      ...(credentials.sessionToken === undefined
        ? {}
        : { "X-Amz-Security-Token": credentials.sessionToken }),
    });
    const canonicalQuery = query
      .map(([name, value]): [string, string] => [encode(name), encode(value)])
      .sort(byName)
      .map(([name, value]) => `${name}=${value}`)
      .join("&");
    const canonicalRequest = [
      request.method,
      path,
      canonicalQuery,
      ...headers.map(([name, value]) => `${name}:${value.trim()}`),
      "",
      signedHeaders,
      "UNSIGNED-PAYLOAD",
    ].join("\n");
    const toSign = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${sha256Hex(canonicalRequest)}`;
    const key = this.#keyFor(scope, credentials.secretAccessKey);
    const signature = createHmac("sha256", key).update(toSign).digest("hex");
    return `${this.#base.protocol}//${host}${path}?${canonicalQuery}&X-Amz-Signature=${signature}`;
  }

  #place(bucket: string, key: string): { host: string; path: string } {
    const encodedKey = key.split("/").map(encode).join("/");
    // A dot in a bucket's name would break the wildcard certificate of AWS's virtual hosts.
    if (this.#pathStyle || bucket.includes(".")) {
      const prefix = this.#base.pathname.replace(/\/+$/, "");
      return { host: this.#base.host, path: `${prefix}/${bucket}/${encodedKey}` };
    }
    return { host: `${bucket}.${this.#base.host}`, path: `/${encodedKey}` };
  }

  #keyFor(scope: string, secret: string): Buffer {
    const known = this.#signingKey;
    if (known !== undefined && known.scope === scope && known.secret === secret) return known.key;
    let key: Buffer | string = `AWS4${secret}`;
    for (const part of scope.split("/")) key = createHmac("sha256", key).update(part).digest();
    if (typeof key === "string") key = Buffer.from(key);
    this.#signingKey = { scope, secret, key };
    return key;
  }
}

function sha256Hex(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** RFC 3986: everything but unreserved characters, in upper-case hex. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** By code unit, which is byte order for what remains after encoding. */
function byName(a: readonly [string, string], b: readonly [string, string]): number {
  return a[0] < b[0] ? -1 : 1;
}
