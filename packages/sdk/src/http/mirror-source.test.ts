import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createByteTransport } from "../platform/index.ts";
import { type RangeFault, RangeServer } from "../testing/index.ts";
import { LinkBook } from "../transfer/index.ts";
import {
  type SampleArtifact,
  expectedBytes,
  runServedSourceTests,
  sampleArtifact,
} from "../transfer/source.conformance.ts";
import { HttpMirrorSource, httpMirror, retryAfterMs } from "./index.ts";

const { signal } = new AbortController();

function serverOf({ map, files }: SampleArtifact): Promise<RangeServer> {
  const packed = map.manifest.layout === "packed";
  const objects: [string, Uint8Array][] = packed
    ? [["digits/pack.bin", Buffer.concat([...files.values()])]]
    : [...files].map(([path, bytes]) => [`digits/${path}`, bytes]);
  return new RangeServer(objects).start();
}

/** One fault for the next request. */
function once(server: RangeServer, ...faults: (RangeFault | undefined)[]): void {
  server.fault = () => faults.shift();
}

const portal = {
  type: "answer",
  status: 200,
  headers: { "content-type": "text/html" },
  body: "<html>Log in</html>",
} as const;

runServedSourceTests("a mirror", async (sample) => {
  const server = await serverOf(sample);
  const transport = createByteTransport();
  return {
    source: new HttpMirrorSource(`${server.url}/digits`, sample.map, { transport }),
    faults: {
      cut: (afterBytes) => once(server, { type: "cut", afterBytes }),
      shift: () => once(server, { type: "shift", by: 1 }),
      portal: () => once(server, portal),
      busy: () => once(server, { type: "answer", status: 429 }),
    },
    close: async () => {
      transport.close();
      await server.stop();
    },
  };
});

describe("a mirror", () => {
  const sample = sampleArtifact("packed");
  const transport = createByteTransport();
  let server: RangeServer;
  let links: LinkBook;
  let source: HttpMirrorSource;

  beforeEach(async () => {
    server = await serverOf(sample);
    links = new LinkBook();
    source = new HttpMirrorSource(`${server.url}/digits/`, sample.map, {
      transport,
      links,
      idleMs: 300,
    });
  });

  afterEach(() => server.stop());

  const read = async (first = 0, count = 11, from = source) => {
    const pieces: Buffer[] = [];
    for await (const piece of from.fetch({ first, count }, { signal })) {
      pieces.push(Buffer.from(piece));
    }
    return Buffer.concat(pieces);
  };
  const reads = async (first = 0, count = 11, from = source) =>
    (await read(first, count, from)).equals(expectedBytes(sample, first, count));

  it("that answers 200 with the whole object serves its beginning, and says that it serves no ranges", async () => {
    server.ranges = false;
    await expect(read(3, 3)).rejects.toMatchObject({ retryable: true });
    expect(source.advice()).toMatchObject({ wholeObjects: true });
    expect(await reads(0, 3)).toBe(true);
    // Asked for a rest all the same, it skips what lies before it.
    expect(await reads(3, 9)).toBe(true);
  });

  it.each([
    ["a body shorter than its Content-Length", { type: "wrong-length", by: 5 } as const],
    ["a body longer than its Content-Length", { type: "wrong-length", by: -5 } as const],
    ["a status that passes", { type: "answer", status: 502 } as const],
    ["silence", { type: "stall", afterBytes: 0 } as const],
    [
      "an encoded body",
      { type: "answer", status: 206, headers: { "content-encoding": "gzip" } } as const,
    ],
    [
      "a redirection to itself",
      { type: "answer", status: 302, headers: { location: "" } } as const,
    ],
  ])("that sends %s is a failed request, not a wrong shard", async (_, fault) => {
    server.fault = () => fault;
    await expect(read()).rejects.toMatchObject({ retryable: true });
    server.fault = () => undefined;
    expect(await reads()).toBe(true);
  });

  it("that has the object not, or in another size, is ruled out for that object", async () => {
    for (const status of [404, 403, 410, 416]) {
      once(server, { type: "answer", status });
      await expect(read()).rejects.toMatchObject({ code: "not_found" });
    }
    server.files.set("digits/pack.bin", new Uint8Array(20_000));
    await expect(read()).rejects.toThrow(/has another pack.bin: 20000 bytes instead of 12310/);
    server.ranges = false;
    await expect(read()).rejects.toMatchObject({ code: "source_changed" });
  });

  it("whose object changes while it is read does not mix the two", async () => {
    server.fault = ({ number }) => {
      server.etag = `"${number}"`;
      return number === 0 ? { type: "cut", afterBytes: 4000 } : undefined;
    };
    await expect(read()).rejects.toThrow(/changed at .* while it was read/);
    expect(await reads()).toBe(true);
  });

  it("may redirect to another host five times, never to something that is not the web", async () => {
    const other = await serverOf(sample);
    once(server, {
      type: "answer",
      status: 307,
      headers: { location: `${other.url}/digits/pack.bin` },
    });
    expect(await reads()).toBe(true);
    // The next request goes there at once.
    const before = server.requests;
    expect(await reads(3, 2)).toBe(true);
    expect(server.requests).toBe(before);
    await other.stop();
    once(server, { type: "answer", status: 302, headers: { location: "file:///etc/passwd" } });
    const fresh = new HttpMirrorSource(`${server.url}/digits`, sample.map, { transport });
    await expect(read(0, 1, fresh)).rejects.toThrow(/where this client does not go/);
  });

  it("forgets where it led as soon as a portal answers there, and never sends its login there", async () => {
    const other = await serverOf(sample);
    const location = `${other.url}/digits/pack.bin`;
    const own = new HttpMirrorSource(
      `${server.url.replace("http://", "http://me:secret@")}/digits`,
      sample.map,
      { transport },
    );
    const moved = { type: "answer", status: 302, headers: { location } } as const;
    // A portal that the mirror's address leads to is not remembered at all.
    once(server, moved);
    once(other, portal);
    await expect(read(0, 1, own)).rejects.toThrow(/a portal may want you to log in/);
    expect(await reads(0, 1, own)).toBe(true);
    expect(other.requests).toBe(1);
    // What was well there once is asked again there, without the login, until it is not.
    once(server, moved);
    expect(await reads(0, 1, own)).toBe(true);
    expect(await reads(0, 1, own)).toBe(true);
    expect(other.requests).toBe(3);
    expect(other.headers.authorization).toBeUndefined();
    once(other, portal);
    await expect(read(0, 1, own)).rejects.toMatchObject({ retryable: true });
    expect(await reads(0, 1, own)).toBe(true);
    expect(other.requests).toBe(4);
    await other.stop();
  });

  it("with a login in its URL gets it as a header, and the login shows nowhere", async () => {
    const url = `${server.url.replace("http://", "http://me:s%C3%A9cret@")}/digits?sig=abc`;
    const own = new HttpMirrorSource(url, sample.map, { transport });
    expect(await reads(0, 1, own)).toBe(true);
    expect(server.headers.authorization).toBe(
      `Basic ${Buffer.from("me:sécret").toString("base64")}`,
    );
    expect(own.id).toBe(`http ${new URL(server.url).host}/digits`);
    server.fault = () => ({ type: "answer", status: 500 });
    await expect(read(0, 1, own)).rejects.not.toThrow(/cret|abc/);
  });

  it("says how long it wants to be left alone, in seconds or by a date", async () => {
    once(server, { type: "answer", status: 503, headers: { "retry-after": "7" } });
    await expect(read()).rejects.toMatchObject({ code: "rate_limited", retryAfterMs: 7000 });
    const nowMs = Date.parse("2026-01-01T00:00:00Z");
    expect(retryAfterMs("Thu, 01 Jan 2026 00:00:30 GMT", nowMs)).toBe(30_000);
    expect(retryAfterMs("Thu, 01 Jan 2025 00:00:30 GMT", nowMs)).toBeUndefined();
    expect(retryAfterMs("soon", nowMs)).toBeUndefined();
  });

  it("is http or https", () => {
    for (const text of ["ftp://x/y", "/tmp/x", ""]) {
      expect(() => httpMirror(text, { transport })).toThrow(/a mirror is an http or https URL/);
    }
  });
});
