import { S3RequestPresigner } from "@aws-sdk/s3-request-presigner";
import { createHash, createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Presigner, type S3Credentials, type ToSign } from "./presign.ts";

const NOW_MS = Date.UTC(2026, 3, 5, 6, 7, 8);
const plain: S3Credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "a/very+secret" };

const presigner = (credentials: S3Credentials = plain, endpoint?: string) =>
  new Presigner({
    endpoint,
    region: "eu-central-1",
    credentials: async () => credentials,
    clock: () => NOW_MS,
  });

class NodeSha256 {
  readonly #hash;
  constructor(secret?: unknown) {
    this.#hash =
      secret === undefined ? createHash("sha256") : createHmac("sha256", toBuffer(secret));
  }
  update(data: unknown): void {
    this.#hash.update(toBuffer(data));
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
  reset(): void {}
}

function toBuffer(data: unknown): Buffer {
  if (typeof data === "string") return Buffer.from(data);
  if (data instanceof ArrayBuffer) return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  throw new TypeError("not hashable");
}

/** The same request signed by the AWS SDK, which is right by definition. */
async function bySdk(request: ToSign, credentials: S3Credentials, endpoint: string) {
  const sdk = new S3RequestPresigner({
    region: "eu-central-1",
    credentials,
    sha256: NodeSha256,
  });
  const url = new URL(endpoint);
  const names = new Set(Object.keys(request.headers ?? {}));
  const signed = await sdk.presign(
    {
      method: request.method,
      protocol: url.protocol,
      hostname: url.hostname,
      ...(url.port === "" ? {} : { port: Number(url.port) }),
      path: `/${request.bucket}/${request.key.split("/").map(encodeURIComponent).join("/")}`,
      query: { ...request.query },
      headers: { ...request.headers, host: url.host },
    },
    {
      expiresIn: 600,
      signingDate: new Date(NOW_MS),
      unhoistableHeaders: names,
      signableHeaders: new Set(["host", ...names]),
    },
  );
  return signed.query ?? {};
}

describe("Presigner", () => {
  const requests: ToSign[] = [
    { method: "GET", bucket: "rooms", key: "lab/models/m_00/artifact.json" },
    {
      method: "PUT",
      bucket: "uploads",
      key: "lab/u_1/ein Ordner/Ümläut & 50%+.bin",
      query: { partNumber: "7", uploadId: "abc~d=/+" },
      headers: { "content-length": "8388608", "x-amz-checksum-crc32": "AAAAAA==" },
    },
  ];

  it.each(requests)("signs $method as the AWS SDK does", async (request) => {
    const endpoint = "http://127.0.0.1:8701";
    for (const credentials of [plain, { ...plain, sessionToken: "to/ken+==" }]) {
      const { urls } = await presigner(credentials, endpoint).sign([request], 600);
      const ours = Object.fromEntries(new URL(urls[0] ?? "").searchParams);
      expect(ours).toEqual(await bySdk(request, credentials, endpoint));
    }
  });

  it("names the bucket in the host for AWS and in the path for other stores", async () => {
    const request: ToSign = { method: "GET", bucket: "rooms", key: "a b" };
    const aws = await presigner().sign([request], 60);
    expect(aws.urls[0]).toMatch(/^https:\/\/rooms\.s3\.eu-central-1\.amazonaws\.com\/a%20b\?/);
    const other = await presigner(plain, "https://s3.example.org").sign([request], 60);
    expect(other.urls[0]).toMatch(/^https:\/\/s3\.example\.org\/rooms\/a%20b\?/);
  });

  it("does not promise more time than temporary credentials have", async () => {
    const expiration = new Date(NOW_MS + 90_500);
    const { urls, expiresAtMs } = await presigner({ ...plain, expiration }).sign(
      [{ method: "GET", bucket: "rooms", key: "a" }],
      3600,
    );
    expect(new URL(urls[0] ?? "").searchParams.get("X-Amz-Expires")).toBe("90");
    expect(expiresAtMs).toBe(NOW_MS + 90_000);
  });
});
