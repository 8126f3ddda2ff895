import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createByteTransport, crc32 } from "../platform/index.ts";
import { StoreDouble, type StoreFault } from "../testing/index.ts";
import { crc32Base64 } from "../transfer/index.ts";
import { type SampleArtifact, runServedSourceTests } from "../transfer/source.conformance.ts";
import { RangeReader, S3Source, createPresignedPut, readKeys } from "./index.ts";

type Fixture = { store: StoreDouble; dir: string; signed: string[][] };

async function openStore(): Promise<Fixture> {
  const dir = mkdtempSync(join(tmpdir(), "waybill-s3-"));
  const store = new StoreDouble(dir);
  await store.start();
  return { store, dir, signed: [] };
}

async function closeStore({ store, dir }: Fixture): Promise<void> {
  await store.stop();
  rmSync(dir, { recursive: true });
}

async function put({ store }: Fixture, key: string, body: Uint8Array): Promise<void> {
  const transport = createByteTransport();
  const url = store.sign({ method: "PUT", key, part: 0 });
  const headers = { "x-amz-checksum-crc32": crc32Base64(crc32(body)) };
  await transport.put({ url, headers, body });
  transport.close();
}

function readerOf(fixture: Fixture, keys: readonly string[]): RangeReader {
  return new RangeReader({
    keys,
    idleMs: 200,
    transport: createByteTransport(),
    sign: async (wanted) => {
      fixture.signed.push([...wanted]);
      return wanted.map((key) => ({
        key,
        url: fixture.store.sign({ method: "GET", key, part: 0 }),
      }));
    },
  });
}

async function fill({ map, files }: SampleArtifact, fixture: Fixture): Promise<void> {
  if (map.manifest.layout === "packed") {
    return put(fixture, "pack.bin", Buffer.concat([...files.values()]));
  }
  for (const [key, bytes] of files) await put(fixture, key, bytes);
  return undefined;
}

const html = {
  type: "answer",
  status: 200,
  body: "<html>Log in</html>",
  contentType: "text/html",
} as const;

/** One fault for the next GET. */
function once(fixture: Fixture, fault: StoreFault): void {
  const queue = [fault];
  fixture.store.fault = ({ method }) => (method === "GET" ? queue.shift() : undefined);
}

runServedSourceTests("an object store", async (sample) => {
  const fixture = await openStore();
  await fill(sample, fixture);
  const { map } = sample;
  const reader = readerOf(fixture, readKeys(map));
  return {
    source: new S3Source({ id: "s3", map, reader }),
    faults: {
      cut: (afterBytes) => once(fixture, { type: "cut", afterBytes }),
      shift: () => once(fixture, { type: "another-range" }),
      portal: () => once(fixture, html),
      busy: () => once(fixture, { type: "answer", status: 503 }),
    },
    close: () => closeStore(fixture),
  };
});

describe("a ranged read", () => {
  let fixture: Fixture;
  const body = Buffer.alloc(900_000, "0123456789abcde");

  beforeEach(async () => {
    fixture = await openStore();
    await put(fixture, "data", body);
  });

  afterEach(() => closeStore(fixture));

  const { signal } = new AbortController();
  const read = async (reader = readerOf(fixture, ["data"]), start = 0, size = body.length) => {
    const pieces: Buffer[] = [];
    const range = { key: "data", start, size };
    for await (const piece of reader.read(range, { signal }, body.length)) {
      pieces.push(Buffer.from(piece));
    }
    return Buffer.concat(pieces);
  };
  /** Applies faults to the first GETs, one each. */
  const faults = (...list: (StoreFault | undefined)[]) => {
    const queue = [...list];
    fixture.store.fault = ({ method }) => (method === "GET" ? queue.shift() : undefined);
  };

  it("goes on where a connection broke, without fetching a byte twice", async () => {
    faults(
      { type: "cut", afterBytes: 300_000 },
      { type: "cut", afterBytes: 2000 },
      { type: "cut", afterBytes: 1024 },
    );
    expect((await read()).equals(body)).toBe(true);
    expect(fixture.store.servedBytes).toBe(body.length);
  });

  it("I9: signs again when its URL has expired", async () => {
    const reader = readerOf(fixture, ["data"]);
    await read(reader, 0, 10);
    fixture.store.expireUrls();
    expect((await read(reader)).equals(body)).toBe(true);
    expect(fixture.signed).toHaveLength(2);
  });

  it("gives up when fresh URLs are refused, too", async () => {
    const denied = { type: "answer", status: 403, body: "<Code>AccessDenied</Code>" } as const;
    faults(denied, denied, denied);
    await expect(read()).rejects.toMatchObject({ code: "url_expired" });
  });

  it.each([
    ["a page of a proxy", html, "storage_failed"],
    ["another range", { type: "another-range" } as const, "storage_failed"],
    ["a 503", { type: "answer", status: 503 } as const, "storage_failed"],
    ["silence", { type: "stall" } as const, "timeout"],
    ["a connection that brings nothing", { type: "cut", afterBytes: 0 } as const, "unreachable"],
  ])("gives way at once to other sources after %s", async (_, fault, code) => {
    faults(fault);
    await expect(read(undefined, 10, 500_000)).rejects.toMatchObject({ code, retryable: true });
    expect((await read(undefined, 10, 500_000)).equals(body.subarray(10, 500_010))).toBe(true);
  });

  it("says what it was given", async () => {
    fixture.store.fault = () => html;
    await expect(read(undefined, 5, 10)).rejects.toThrow(/answered data with a web page/);
  });

  it("knows an object of another size for another version", async () => {
    const reading = (async () => {
      const range = { key: "data", start: 0, size: 10 };
      for await (const piece of readerOf(fixture, ["data"]).read(range, { signal }, 10))
        return piece;
      return undefined;
    })();
    await expect(reading).rejects.toMatchObject({ code: "source_changed" });
  });

  it("does not try again when the object is not there", async () => {
    const reader = readerOf(fixture, ["gone"]);
    const reading = (async () => {
      for await (const piece of reader.read({ key: "gone", start: 0, size: 1 }, { signal }))
        return piece;
      return undefined;
    })();
    await expect(reading).rejects.toMatchObject({ code: "not_found" });
  });

  it("signs some keys ahead in one call", async () => {
    const keys = Array.from({ length: 100 }, (_, at) => `k${at}`);
    for (const key of keys.slice(0, 3)) await put(fixture, key, body.subarray(0, 10));
    const reader = readerOf(fixture, keys);
    for (const key of keys.slice(0, 3)) {
      for await (const piece of reader.read({ key, start: 0, size: 10 }, { signal }))
        expect(piece).toHaveLength(10);
    }
    expect(fixture.signed.map((list) => list.length)).toEqual([64]);
  });
});

describe("a presigned put", () => {
  let fixture: Fixture;
  const body = Buffer.from("content");
  const signal = new AbortController().signal;

  beforeEach(async () => {
    fixture = await openStore();
  });

  afterEach(() => closeStore(fixture));

  const putPart = (sum = crc32(body)) => {
    const headers = { "content-length": "7", "x-amz-checksum-crc32": crc32Base64(sum) };
    const url = fixture.store.sign({ method: "PUT", key: "dir/key", part: 2 });
    const permit = { key: "key", part: 2, url, headers };
    const send = createPresignedPut(createByteTransport(), 300);
    return send(permit, body, { signal, onSent: () => undefined });
  };

  it("is confirmed when the store kept the same checksum", async () => {
    await putPart();
    expect(fixture.store.parts.get("dir/key")?.get(2)?.size).toBe(7);
  });

  it.each([
    [403, "<Error><Code>AccessDenied</Code></Error>", "url_expired"],
    [400, "<Error><Code>ExpiredToken</Code></Error>", "url_expired"],
    [404, "<Error><Code>NoSuchUpload</Code></Error>", "not_found"],
    [503, "<Error><Code>SlowDown</Code></Error>", "storage_failed"],
    [500, "", "storage_failed"],
    [507, "", "storage_full"],
    [400, "<Error><Code>InvalidArgument</Code></Error>", "invalid_request"],
  ])("that is answered %i %s throws %s", async (status, text, code) => {
    fixture.store.fault = () => ({ type: "answer", status, body: text });
    const putting = putPart();
    await expect(putting).rejects.toMatchObject({ code });
    // I10: the URL is a secret.
    await expect(putting).rejects.not.toThrow(/permit=/);
  });

  it.each([
    ["a login page", { ...html }],
    ["a success without an ETag", { type: "answer", status: 200, body: "ok" } as const],
    ["a redirection to a login page", { type: "answer", status: 302 } as const],
    ["a login page that calls itself an error", { ...html, status: 404 } as const],
  ])("that is answered with %s may be tried again, for no store said it", async (_, fault) => {
    fixture.store.fault = () => fault;
    const putting = putPart();
    await expect(putting).rejects.toMatchObject({ code: "storage_failed", retryable: true });
    await expect(putting).rejects.not.toThrow(/permit=/);
  });

  it("whose bytes arrive damaged may be tried again", async () => {
    await expect(putPart(1)).rejects.toMatchObject({ code: "storage_failed", retryable: true });
  });

  it("to a store that goes silent ends in a timeout", async () => {
    fixture.store.fault = () => ({ type: "stall" });
    await expect(putPart()).rejects.toMatchObject({ code: "timeout" });
  });
});
