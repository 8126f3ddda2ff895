import { describe, expect, test } from "vitest";
import {
  startTestStore,
  signHeaders,
  testCredential,
  type TestStore,
} from "../testing/test-store.ts";

const NOW = Date.parse("2026-06-01T12:00:00Z");
const clock = { now: () => NOW };
const MINUTE = 60_000;

async function withStore(work: (store: TestStore) => Promise<void>): Promise<void> {
  await using store = await startTestStore({ clock });
  await store.send("PUT", "/bucket");
  await store.send("PUT", "/bucket/key", { body: "content" });
  await work(store);
}

/** Sends headers as they are, signed or not. */
async function sendRaw(
  { endpoint }: TestStore,
  path: string,
  headers: Record<string, string>,
  init: { method?: string; body?: string } = {},
): Promise<{ status: number; code: string | undefined; text: string }> {
  const { host: _, ...rest } = headers;
  const response = await fetch(endpoint + path, { ...init, headers: rest });
  const text = await response.text();
  return { status: response.status, code: /<Code>([^<]+)/.exec(text)?.[1], text };
}

describe("a signed header", () => {
  test("is accepted within fifteen minutes of skew and refused beyond", () =>
    withStore(async (store) => {
      for (const [skew, status, code] of [
        [-14 * MINUTE, 200, undefined],
        [14 * MINUTE, 200, undefined],
        [-16 * MINUTE, 403, "RequestTimeTooSkewed"],
        [16 * MINUTE, 403, "RequestTimeTooSkewed"],
      ] as const) {
        const headers = signHeaders("GET", "/bucket/key", store.port, {}, NOW + skew);
        expect(await sendRaw(store, "/bucket/key", headers)).toMatchObject({ status, code });
      }
    }));

  test("does not cover another path, method or header value", () =>
    withStore(async (store) => {
      const request = { headers: { "x-amz-checksum-mode": "ENABLED" } };
      const headers = signHeaders("GET", "/bucket/key", store.port, request, NOW);
      const refused = { status: 403, code: "SignatureDoesNotMatch" };
      expect(await sendRaw(store, "/bucket/other", headers)).toMatchObject(refused);
      expect(await sendRaw(store, "/bucket/key?acl", headers)).toMatchObject(refused);
      expect(
        await sendRaw(store, "/bucket/key", { ...headers, "x-amz-checksum-mode": "x" }),
      ).toMatchObject(refused);
      expect(await sendRaw(store, "/bucket/key", headers, { method: "DELETE" })).toMatchObject(
        refused,
      );
    }));

  test("must cover every x-amz- header", () =>
    withStore(async (store) => {
      const headers = signHeaders("PUT", "/bucket/copy", store.port, {}, NOW);
      const smuggled = { ...headers, "x-amz-copy-source": "/bucket/key" };
      const answer = await sendRaw(store, "/bucket/copy", smuggled, { method: "PUT" });
      expect(answer).toMatchObject({ status: 403, code: "AccessDenied" });
      expect(answer.text).toContain("<HeadersNotSigned>x-amz-copy-source</HeadersNotSigned>");
    }));

  test("names a known key, the store's region and this day", () =>
    withStore(async (store) => {
      const headers = signHeaders("GET", "/bucket/key", store.port, {}, NOW);
      const { authorization } = headers;
      for (const [from, to, code] of [
        [testCredential.accessKeyId, "AKIANOBODY", "InvalidAccessKeyId"],
        ["us-east-1", "eu-west-1", "AuthorizationHeaderMalformed"],
        ["20260601", "20260602", "AuthorizationHeaderMalformed"],
        ["/s3/", "/ec2/", "AuthorizationHeaderMalformed"],
        ["Signature=", "Signature=0", "SignatureDoesNotMatch"],
        ["AWS4-HMAC-SHA256", "Basic", "InvalidArgument"],
      ] as const) {
        const changed = { ...headers, authorization: authorization!.replace(from, to) };
        expect(await sendRaw(store, "/bucket/key", changed)).toMatchObject({ code });
      }
    }));

  test("may hash the body, which then must match", () =>
    withStore(async (store) => {
      const sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; // hello
      const headers = { "x-amz-content-sha256": sha256 };
      const good = await store.send("PUT", "/bucket/h", { headers, body: "hello" });
      expect(good.status).toBe(200);
      const bad = await store.send("PUT", "/bucket/h2", { headers, body: "hallo" });
      expect(bad).toMatchObject({ status: 400, code: "XAmzContentSHA256Mismatch" });
      expect((await store.send("GET", "/bucket/h2")).status).toBe(404);
    }));
});

describe("no signature", () => {
  test("gives access to nothing", () =>
    withStore(async (store) => {
      for (const path of ["/", "/bucket", "/bucket/key", "/nowhere"]) {
        expect(await store.send("GET", path, { anonymous: true })).toMatchObject({
          status: 403,
          code: "AccessDenied",
        });
      }
    }));
});

describe("a presigned URL", () => {
  test("works until it expires, and not before its time", () =>
    withStore(async (store) => {
      for (const [at, expiresSeconds, status] of [
        [NOW, 60, 200],
        [NOW - 60_000, 60, 200],
        [NOW - 61_000, 60, 403],
        [NOW + 20 * MINUTE, 3600, 403],
        [NOW, 8 * 24 * 3600, 400],
      ] as const) {
        const url = store.presign("GET", "/bucket/key", { at, expiresSeconds });
        expect((await fetch(store.endpoint + url)).status).toBe(status);
      }
    }));

  test("is for one method and one key", () =>
    withStore(async (store) => {
      const url = store.presign("GET", "/bucket/key");
      expect((await fetch(store.endpoint + url, { method: "DELETE" })).status).toBe(403);
      expect((await fetch(store.endpoint + url.replace("key", "other"))).status).toBe(403);
    }));

  test("carries headers in its query as if they had been sent", () =>
    withStore(async (store) => {
      const query = { "x-amz-meta-color": "blue", "x-amz-checksum-crc32": "NhCmhg==" };
      const url = store.presign("PUT", "/bucket/p", { query });
      const put = (body: string): Promise<Response> =>
        fetch(store.endpoint + url, { method: "PUT", body });
      expect((await put("hallo")).status).toBe(400);
      expect((await put("hello")).status).toBe(200);
      const { headers } = await store.send("HEAD", "/bucket/p");
      expect(headers["x-amz-meta-color"]).toBe("blue");
    }));

  test("demands the headers it signed", () =>
    withStore(async (store) => {
      const signedHeaders = { "x-amz-checksum-crc32": "NhCmhg==", "content-length": "5" };
      const url = store.endpoint + store.presign("PUT", "/bucket/p", { signedHeaders });
      const plain = await fetch(url, { method: "PUT", body: "hello" });
      expect(plain.status).toBe(403);
      const headers = { "x-amz-checksum-crc32": "NhCmhg==" };
      expect((await fetch(url, { method: "PUT", body: "hello", headers })).status).toBe(200);
      expect((await fetch(url, { method: "PUT", body: "hello!", headers })).status).toBe(403);
    }));
});
