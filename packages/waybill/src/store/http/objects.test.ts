import { createHash } from "node:crypto";
import { connect } from "node:net";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import {
  md5,
  sampleBytes,
  signHeaders,
  startTestStore,
  type TestStore,
} from "../testing/test-store.ts";

async function withBucket(work: (store: TestStore) => Promise<void>): Promise<void> {
  await using store = await startTestStore();
  await store.send("PUT", "/bucket");
  await work(store);
}

function crc32Base64(data: string | Uint8Array): string {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(crc32(data));
  return out.toString("base64");
}

test.each([0, 1, 16 * 1024, 16 * 1024 + 1, 3 * 1024 * 1024 + 7])(
  "gives back an object of %i bytes with its MD5 as ETag",
  (bytes) =>
    withBucket(async (store) => {
      const body = sampleBytes(bytes);
      const put = await store.send("PUT", "/bucket/key", { body });
      expect(put).toMatchObject({ status: 200, headers: { etag: `"${md5(body)}"` } });
      const got = await store.send("GET", "/bucket/key");
      expect(got.headers["content-length"]).toBe(String(bytes));
      expect(got.body.equals(body)).toBe(true);
      const head = await store.send("HEAD", "/bucket/key");
      expect(head).toMatchObject({ status: 200, headers: { etag: `"${md5(body)}"` } });
      expect(head.body).toHaveLength(0);
    }),
);

test("keeps system headers and user metadata, and lets a signed read override the former", () =>
  withBucket(async (store) => {
    const headers = {
      "content-type": "text/plain",
      "cache-control": "no-store",
      "content-encoding": "aws-chunked,gzip",
      "x-amz-meta-name": "caf\u00e9",
    };
    expect((await store.send("PUT", "/bucket/key", { headers, body: "x" })).text).toBe("");
    const query = "response-content-type=image%2Fpng";
    const { headers: got } = await store.send("GET", "/bucket/key", { query });
    expect(got).toMatchObject({
      "content-type": "image/png",
      "cache-control": "no-store",
      "content-encoding": "gzip",
      "x-amz-meta-name": "caf\u00e9",
    });
  }));

test.each([
  "../up",
  "a/../../b",
  "/leading",
  "trailing/",
  "a//b",
  ".",
  "sp ace+plus%25",
  "\u{1f600}/ünï",
  "quote'\"<&>",
  "k".repeat(1024),
])("takes the key %j as it is", (key) =>
  withBucket(async (store) => {
    expect(await store.send("PUT", `/bucket/${key}`, { body: key })).toMatchObject({ status: 200 });
    expect((await store.send("GET", `/bucket/${key}`)).text).toBe(key);
    const listing = await store.send("GET", "/bucket", { query: "list-type=2&encoding-type=url" });
    const listed = /<Key>([^<]*)<\/Key>/.exec(listing.text)?.[1] ?? "";
    expect(decodeURIComponent(listed)).toBe(key);
    expect((await store.send("DELETE", `/bucket/${key}`)).status).toBe(204);
    expect((await store.send("GET", `/bucket/${key}`)).code).toBe("NoSuchKey");
  }),
);

test("refuses a key of 1025 bytes", () =>
  withBucket(async (store) => {
    const answer = await store.send("PUT", `/bucket/${"k".repeat(1025)}`, { body: "" });
    expect(answer).toMatchObject({ status: 400, code: "KeyTooLongError" });
  }));

test("answers ranges across the boundaries of batches and buffers", () =>
  withBucket(async (store) => {
    const body = sampleBytes(2 * 1024 * 1024 + 10);
    await store.send("PUT", "/bucket/key", { body });
    for (const [range, start, end] of [
      ["bytes=0-0", 0, 1],
      ["bytes=1048575-1048576", 1_048_575, 1_048_577],
      ["bytes=2097152-", 2_097_152, body.length],
      ["bytes=-5", body.length - 5, body.length],
    ] as const) {
      const got = await store.send("GET", "/bucket/key", { headers: { range } });
      expect(got.status).toBe(206);
      expect(got.headers["content-range"]).toBe(`bytes ${start}-${end - 1}/${body.length}`);
      expect(got.body.equals(body.subarray(start, end))).toBe(true);
    }
    const beyond = await store.send("GET", "/bucket/key", { headers: { range: "bytes=9999999-" } });
    expect(beyond).toMatchObject({ status: 416, code: "InvalidRange" });
  }));

test.each([
  ["content-md5", "AAAAAAAAAAAAAAAAAAAAAA==", "BadDigest"],
  ["content-md5", "nonsense", "InvalidDigest"],
  ["x-amz-checksum-crc32", "AAAAAA==", "BadDigest"],
  ["x-amz-checksum-crc32", "AAAA", "InvalidRequest"],
  ["x-amz-checksum-sha256", createHash("sha256").update("other").digest("base64"), "BadDigest"],
])("refuses a body that %s %s does not fit, and keeps the old object", (name, value, code) =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/key", { body: "old" });
    for (const body of ["small", sampleBytes(100_000)]) {
      const answer = await store.send("PUT", "/bucket/key", { headers: { [name]: value }, body });
      expect(answer).toMatchObject({ status: 400, code });
    }
    expect((await store.send("GET", "/bucket/key")).text).toBe("old");
    expect(await store.blobFiles()).toEqual([]);
  }),
);

test.each([
  ["x-amz-checksum-crc32", crc32Base64("hello")],
  ["x-amz-checksum-crc32c", "mnG7TA=="],
  ["x-amz-checksum-crc64nvme", "M3eFcAZSQlc="],
  ["x-amz-checksum-sha256", createHash("sha256").update("hello").digest("base64")],
])("returns %s to whoever asks for checksums", (name, value) =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/key", { headers: { [name]: value }, body: "hello" });
    const mode = { headers: { "x-amz-checksum-mode": "ENABLED" } };
    const got = await store.send("GET", "/bucket/key", mode);
    expect(got.headers).toMatchObject({ [name]: value, "x-amz-checksum-type": "FULL_OBJECT" });
    expect((await store.send("GET", "/bucket/key")).headers[name]).toBeUndefined();
  }),
);

test("lets exactly one of 64 concurrent creators win", () =>
  withBucket(async (store) => {
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, index) =>
        store.send("PUT", "/bucket/key", {
          headers: { "if-none-match": "*" },
          body: `writer ${index}`,
        }),
      ),
    );
    const winners = answers.flatMap(({ status }, index) => (status === 200 ? [index] : []));
    expect(winners).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(63);
    expect((await store.send("GET", "/bucket/key")).text).toBe(`writer ${winners[0]}`);
  }));

test("I4: loses no update of 64 writers that compare and swap", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/counter", { body: "0" });
    const increment = async (): Promise<void> => {
      for (;;) {
        const { text, headers } = await store.send("GET", "/bucket/counter");
        const swapped = await store.send("PUT", "/bucket/counter", {
          headers: { "if-match": headers.etag ?? "" },
          body: String(Number(text) + 1),
        });
        if (swapped.status === 200) return;
        expect(swapped.status).toBe(412);
      }
    };
    await Promise.all(Array.from({ length: 64 }, increment));
    expect((await store.send("GET", "/bucket/counter")).text).toBe("64");
  }));

test("answers If-Match on a missing key with 404, and refuses If-None-Match with an ETag", () =>
  withBucket(async (store) => {
    const missing = await store.send("PUT", "/bucket/key", {
      headers: { "if-match": '"x"' },
      body: "",
    });
    expect(missing).toMatchObject({ status: 404, code: "NoSuchKey" });
    const odd = await store.send("PUT", "/bucket/key", {
      headers: { "if-none-match": '"x"' },
      body: "",
    });
    expect(odd).toMatchObject({ status: 501, code: "NotImplemented" });
  }));

test("deletes only the object it was shown", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/key", { body: "x" });
    const other = await store.send("DELETE", "/bucket/key", { headers: { "if-match": '"y"' } });
    expect(other).toMatchObject({ status: 412, code: "PreconditionFailed" });
    const same = await store.send("DELETE", "/bucket/key", {
      headers: { "if-match": `"${md5("x")}"` },
    });
    expect(same.status).toBe(204);
  }));

test("deletes many keys at once and reports each", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/a&b", { body: "x" });
    await store.send("PUT", "/bucket/kept", { body: "x" });
    const body =
      "<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>missing</Key></Object>" +
      "<Object><Key>kept</Key><ETag>other</ETag></Object></Delete>";
    const { text } = await store.send("POST", "/bucket", { query: "delete", body });
    expect(text).toContain("<Deleted><Key>a&amp;b</Key></Deleted>");
    expect(text).toContain("<Deleted><Key>missing</Key></Deleted>");
    expect(text).toContain("<Error><Key>kept</Key><Code>PreconditionFailed</Code>");
  }));

test("shares the bytes of a copy, and keeps them when the source goes", () =>
  withBucket(async (store) => {
    const body = sampleBytes(200_000);
    await store.send("PUT", "/bucket/source key", {
      headers: { "x-amz-meta-a": "1", "content-type": "text/plain" },
      body,
    });
    const copied = await store.send("PUT", "/bucket/copy", {
      headers: { "x-amz-copy-source": "/bucket/source%20key" },
    });
    expect(copied.text).toContain(`<ETag>&quot;${md5(body)}&quot;</ETag>`);
    expect(await store.blobFiles()).toHaveLength(1);
    await store.send("DELETE", "/bucket/source key");
    const got = await store.send("GET", "/bucket/copy");
    expect(got.body.equals(body)).toBe(true);
    expect(got.headers).toMatchObject({ "x-amz-meta-a": "1", "content-type": "text/plain" });
    await store.send("DELETE", "/bucket/copy");
    await expect.poll(() => store.blobFiles()).toEqual([]);
  }));

test("refuses a copy onto itself that changes nothing, and does one that changes metadata", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/key", { body: "x" });
    const headers = { "x-amz-copy-source": "bucket/key" };
    expect((await store.send("PUT", "/bucket/key", { headers })).code).toBe("InvalidRequest");
    const replaced = await store.send("PUT", "/bucket/key", {
      headers: { ...headers, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2" },
    });
    expect(replaced.status).toBe(200);
    const got = await store.send("GET", "/bucket/key");
    expect(got).toMatchObject({ text: "x", headers: { "x-amz-meta-b": "2" } });
  }));

test("finishes a download whose object is replaced meanwhile", () =>
  withBucket(async (store) => {
    const body = sampleBytes(6 * 1024 * 1024);
    await store.send("PUT", "/bucket/key", { body });
    const response = await fetch(store.endpoint + store.presign("GET", "/bucket/key"));
    await store.send("PUT", "/bucket/key", { body: "new" });
    const got = Buffer.from(await response.arrayBuffer());
    expect(got.equals(body)).toBe(true);
    await expect.poll(() => store.blobFiles()).toEqual([]);
  }));

test("forgets the body of a client that hangs up", () =>
  withBucket(async (store) => {
    const path = "/bucket/key";
    const headers = signHeaders("PUT", path, store.port, {}, Date.now());
    const socket = connect(store.port, "127.0.0.1");
    socket.write(`PUT ${path} HTTP/1.1\r\n`);
    for (const [name, value] of Object.entries(headers)) socket.write(`${name}: ${value}\r\n`);
    socket.write("content-length: 1000000\r\n\r\n");
    await new Promise((resolve) => socket.write(sampleBytes(400_000), resolve));
    socket.destroy();
    expect((await store.send("GET", path)).status).toBe(404);
    await expect.poll(() => store.blobFiles()).toEqual([]);
    await store.store.stop();
  }));

test("keeps the connection usable after refusing a body early", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/key", { body: "x" });
    for (let round = 0; round < 3; round++) {
      const answer = await store.send("PUT", "/bucket/key", {
        headers: { "if-none-match": "*" },
        body: sampleBytes(3_000_000),
      });
      expect(answer.status).toBe(412);
    }
    expect((await store.send("GET", "/bucket/key")).text).toBe("x");
  }));

test("asks for the body only when it will take it", () =>
  withBucket(async (store) => {
    await store.send("PUT", "/bucket/key", { body: "x" });
    const answer = await store.send("PUT", "/bucket/key", {
      headers: { "if-none-match": "*", expect: "100-continue" },
      body: "never read",
    });
    expect(answer).toMatchObject({ status: 412, headers: { connection: "close" } });
  }));

test("tells browsers of any origin every header, and answers their preflight", () =>
  withBucket(async (store) => {
    const preflight = await fetch(`${store.endpoint}/bucket/key`, {
      method: "OPTIONS",
      headers: {
        origin: "https://app.example",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "x-amz-checksum-crc32",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-headers")).toBe("x-amz-checksum-crc32");
    const headers = { origin: "https://app.example", "x-amz-meta-a": "1" };
    await store.send("PUT", "/bucket/key", { headers, body: "x" });
    const got = await store.send("GET", "/bucket/key", { headers: { origin: headers.origin } });
    expect(got.headers["access-control-allow-origin"]).toBe("*");
    expect(got.headers["access-control-expose-headers"]).toMatch(/etag.*x-amz-meta-a/);
  }));

test("refuses what it would have to pretend", () =>
  withBucket(async (store) => {
    for (const [name, value, status] of [
      ["x-amz-acl", "public-read", 400],
      ["x-amz-server-side-encryption", "aws:kms", 501],
      ["x-amz-server-side-encryption-customer-algorithm", "AES256", 501],
      ["x-amz-storage-class", "GLACIER", 400],
    ] as const) {
      const answer = await store.send("PUT", "/bucket/key", {
        headers: { [name]: value },
        body: "x",
      });
      expect(answer.status).toBe(status);
    }
    expect((await store.send("GET", "/bucket/key")).status).toBe(404);
  }));
