/**
 * Who sent a request: checks the signature in its `Authorization` header or, for a presigned URL,
 * in its query. There are no anonymous requests: every bucket is private.
 */
import { S3Error } from "../s3-error.ts";
import {
  ALGORITHM,
  canonicalRequestHash,
  parseAmzTime,
  sameSignature,
  scopeText,
  sign,
  signingKey,
  stringToSign,
  type Scope,
  type SignedRequest,
} from "./canonical.ts";
import {
  malformedCredentialParameter,
  malformedHeader,
  malformedQuery,
  parseAuthorization,
  parseCredential,
  unsupportedMechanism,
  type Claim,
} from "./claim.ts";
import { parsePayload, type Payload } from "./payload.ts";

export interface Credential {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** A request as far as authentication needs it. */
export type IncomingRequest = Pick<SignedRequest, "method" | "path" | "query" | "headers">;

/** What signed chunks of the body go on from. */
export interface ChunkSigning {
  readonly key: Buffer;
  readonly time: string;
  readonly scope: string;
  readonly seed: string;
}

export interface Authentication {
  readonly accessKeyId: string;
  readonly payload: Payload;
  readonly chunkSigning: ChunkSigning;
  /** True for presigned URLs: `x-amz-*` query parameters then stand for headers. */
  readonly presigned: boolean;
}

/** S3 refuses a request whose time differs more: 15 minutes. */
const MAX_SKEW_MS = 15 * 60 * 1000;
/** S3's bound for a presigned URL: 7 days. */
const MAX_EXPIRES_SECONDS = 7 * 24 * 60 * 60;
/** Signing keys kept; one a day and credential is used in practice. */
const MAX_CACHED_KEYS = 64;

export class Authenticator {
  readonly #secrets: ReadonlyMap<string, string>;
  readonly #region: string;
  readonly #now: () => number;
  readonly #keys = new Map<string, Buffer>();

  /** @param now milliseconds since 1970 */
  constructor(credentials: readonly Credential[], region: string, now: () => number) {
    this.#secrets = new Map(credentials.map((one) => [one.accessKeyId, one.secretAccessKey]));
    this.#region = region;
    this.#now = now;
  }

  /** @throws S3Error with the code S3 gives for what is wrong */
  authenticate(request: IncomingRequest): Authentication {
    const authorization = header(request, "authorization");
    const query = new Map(request.query);
    if (header(request, "x-amz-security-token") ?? query.get("X-Amz-Security-Token")) {
      // Session tokens belong to temporary credentials, which this store does not issue.
      throw new S3Error("InvalidToken");
    }
    const inQuery = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature");
    if (authorization !== undefined && inQuery) {
      throw new S3Error("InvalidArgument", {
        message: "Only one auth mechanism allowed: the Authorization header or the query string.",
      });
    }
    if (authorization !== undefined) return this.#byHeader(request, authorization);
    if (inQuery) return this.#byQuery(request, query);
    if (query.has("AWSAccessKeyId")) throw unsupportedMechanism();
    throw new S3Error("AccessDenied", {
      message: "Anonymous access is forbidden: sign the request or use a presigned URL.",
    });
  }

  #byHeader(request: IncomingRequest, authorization: string): Authentication {
    const claim = parseAuthorization(authorization);
    const time = this.#requestTime(request);
    const payloadText = header(request, "x-amz-content-sha256");
    if (payloadText === undefined) {
      throw new S3Error("InvalidRequest", {
        message: "Missing required header for this request: x-amz-content-sha256",
      });
    }
    const payload = parsePayload(payloadText);
    const secret = this.#secret(claim.accessKeyId);
    if (!time.startsWith(claim.scope.date)) {
      throw malformedHeader("Invalid credential date. Date is not the same as X-Amz-Date.");
    }
    this.#checkRegion(claim, malformedHeader);
    checkSignedHeaders(request, claim.signedHeaders, []);
    return this.#verify(claim, secret, time, payload, false, { ...request, payload: payloadText });
  }

  #byQuery(request: IncomingRequest, query: ReadonlyMap<string, string>): Authentication {
    const required = (name: string): string => {
      const value = query.get(name);
      if (value) return value;
      throw malformedQuery(
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
      );
    };
    const algorithm = required("X-Amz-Algorithm");
    if (algorithm !== ALGORITHM) {
      const supported = algorithm.startsWith("AWS4-ECDSA")
        ? ALGORITHM
        : `${ALGORITHM} and AWS4-ECDSA-P256-SHA256`;
      throw malformedQuery(`X-Amz-Algorithm only supports "${supported}"`);
    }
    const { accessKeyId, scope } = parseCredential(
      required("X-Amz-Credential"),
      malformedCredentialParameter,
    );
    const claim: Claim = {
      accessKeyId,
      scope,
      signedHeaders: required("X-Amz-SignedHeaders").split(";"),
      signature: required("X-Amz-Signature"),
    };
    const time = required("X-Amz-Date");
    const signedAt = parseAmzTime(time);
    if (signedAt === undefined) {
      throw malformedQuery(
        "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\".",
      );
    }
    this.#checkExpiry(signedAt, required("X-Amz-Expires"));
    const payloadText =
      header(request, "x-amz-content-sha256") ??
      query.get("X-Amz-Content-Sha256") ??
      "UNSIGNED-PAYLOAD";
    const secret = this.#secret(accessKeyId);
    this.#checkRegion(claim, malformedCredentialParameter);
    if (!time.startsWith(scope.date)) {
      throw malformedQuery(
        `Invalid credential date "${scope.date}". This date is not the same as X-Amz-Date: "${time.slice(0, 8)}".`,
      );
    }
    // The body's hash protects itself; clients add it to presigned requests without signing it.
    checkSignedHeaders(request, claim.signedHeaders, ["x-amz-content-sha256"]);
    const signed = {
      ...request,
      query: request.query.filter(([name]) => name !== "X-Amz-Signature"),
    };
    const payload = parsePayload(payloadText);
    // Presigners sign the marker, whatever the hash a client sends along.
    const covered = claim.signedHeaders.includes("x-amz-content-sha256")
      ? payloadText
      : (query.get("X-Amz-Content-Sha256") ?? "UNSIGNED-PAYLOAD");
    return this.#verify(claim, secret, time, payload, true, { ...signed, payload: covered });
  }

  #verify(
    claim: Claim,
    secret: string,
    time: string,
    payload: Payload,
    presigned: boolean,
    request: Omit<SignedRequest, "signedHeaders">,
  ): Authentication {
    const key = this.#signingKey(claim.accessKeyId, secret, claim.scope);
    const hash = canonicalRequestHash({ ...request, signedHeaders: claim.signedHeaders });
    const expected = sign(key, stringToSign(time, claim.scope, hash));
    if (!sameSignature(claim.signature, expected)) throw new S3Error("SignatureDoesNotMatch");
    return {
      accessKeyId: claim.accessKeyId,
      payload,
      presigned,
      chunkSigning: { key, time, scope: scopeText(claim.scope), seed: claim.signature },
    };
  }

  #secret(accessKeyId: string): string {
    const secret = this.#secrets.get(accessKeyId);
    if (secret === undefined) {
      throw new S3Error("InvalidAccessKeyId", { details: { AWSAccessKeyId: accessKeyId } });
    }
    return secret;
  }

  #signingKey(accessKeyId: string, secret: string, scope: Scope): Buffer {
    const name = `${accessKeyId}/${scopeText(scope)}`;
    let key = this.#keys.get(name);
    if (!key) {
      key = signingKey(secret, scope);
      if (this.#keys.size >= MAX_CACHED_KEYS) this.#keys.clear();
      this.#keys.set(name, key);
    }
    return key;
  }

  #requestTime(request: IncomingRequest): string {
    const amzDate = header(request, "x-amz-date");
    const date = header(request, "date");
    let at: number | undefined;
    if (amzDate !== undefined) at = parseAmzTime(amzDate);
    else if (date !== undefined) at = parseAmzTime(date) ?? Date.parse(date);
    if (at === undefined || Number.isNaN(at)) {
      throw new S3Error("AccessDenied", {
        message: "AWS authentication requires a valid Date or x-amz-date header.",
      });
    }
    this.#checkSkew(at);
    return amzDate ?? new Date(at).toISOString().replaceAll(/[-:]|\.\d{3}/g, "");
  }

  #checkSkew(at: number): void {
    const now = this.#now();
    if (Math.abs(now - at) <= MAX_SKEW_MS) return;
    throw new S3Error("RequestTimeTooSkewed", {
      details: {
        RequestTime: new Date(at).toISOString(),
        ServerTime: new Date(now).toISOString(),
        MaxAllowedSkewMilliseconds: String(MAX_SKEW_MS),
      },
    });
  }

  #checkExpiry(signedAt: number, expiresText: string): void {
    const expires = Number(expiresText);
    if (!/^-?\d+$/.test(expiresText)) throw malformedQuery("X-Amz-Expires should be a number");
    if (expires < 0) throw malformedQuery("X-Amz-Expires must be non-negative");
    if (expires > MAX_EXPIRES_SECONDS) {
      throw malformedQuery(
        `X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than ${MAX_EXPIRES_SECONDS} seconds`,
      );
    }
    const now = this.#now();
    if (signedAt > now + MAX_SKEW_MS) {
      throw new S3Error("AccessDenied", { message: "Request is not valid yet." });
    }
    const end = signedAt + expires * 1000;
    if (now <= end) return;
    throw new S3Error("AccessDenied", {
      message: "Request has expired.",
      details: {
        "X-Amz-Expires": expiresText,
        Expires: new Date(end).toISOString(),
        ServerTime: new Date(now).toISOString(),
      },
    });
  }

  #checkRegion({ scope }: Claim, error: (problem: string) => S3Error): void {
    if (scope.region === this.#region) return;
    const { code, message } = error(
      `the region "${scope.region}" is wrong; expecting "${this.#region}"`,
    );
    throw new S3Error(code, { message, details: { Region: this.#region } });
  }
}

function header(request: IncomingRequest, name: string): string | undefined {
  return request.headers.find(([one]) => one.toLowerCase() === name)?.[1];
}

/** An unsigned `x-amz-` header could change what a signed request does (its copy source, say). */
function checkSignedHeaders(
  request: IncomingRequest,
  signed: readonly string[],
  exempt: readonly string[],
): void {
  const missing = request.headers
    .map(([name]) => name.toLowerCase())
    .filter(
      (name) => name.startsWith("x-amz-") && !signed.includes(name) && !exempt.includes(name),
    );
  if (!signed.includes("host")) missing.push("host");
  if (missing.length === 0) return;
  throw new S3Error("AccessDenied", {
    message: "There were headers present in the request which were not signed",
    details: { HeadersNotSigned: missing.join(", ") },
  });
}
