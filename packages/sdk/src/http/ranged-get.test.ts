import { describe, expect, it } from "vitest";
import type { ByteTransport, GetRequest } from "../platform/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { LinkBook } from "../transfer/index.ts";
import { mirrorError } from "./mirror-error.ts";
import { rangedGet, readOn } from "./ranged-get.ts";

const host = "mirror.example";
const body = new Uint8Array(100_000).fill(7);

/** A transport whose connections die after so many bytes, at this age; a clock that it moves. */
function laboratory(diesAfter: number) {
  const asked: GetRequest[] = [];
  let nowMs = 0;
  const transport: ByteTransport = {
    put: () => Promise.reject(new Error("not here")),
    close: () => undefined,
    get: async (request) => {
      asked.push(request);
      const [start = 0, last = 0] = (request.headers?.["range"] ?? "")
        .replace("bytes=", "")
        .split("-")
        .map(Number);
      // Opened 6 s before it dies.
      request.onConnection?.({ reused: false, openedAtMs: performance.now() - 6000, host });
      const headers = new Map([["content-range", `bytes ${start}-${last}/${body.length}`]]);
      return {
        status: 206,
        header: (name) => headers.get(name),
        body: (async function* () {
          yield body.subarray(start, Math.min(last + 1, start + diesAfter));
          nowMs += 6000;
          if (last + 1 - start > diesAfter) throw new WaybillError("unreachable", "reset");
        })(),
      };
    },
  };
  const links = new LinkBook(() => nowMs);
  const read = async (size: number) => {
    const { signal } = new AbortController();
    let bytes = 0;
    const attempt = (done: number) =>
      rangedGet(
        { transport, links },
        {
          url: `http://${host}/data`,
          range: { key: "data", start: done, size: size - done },
          refusal: (refusal, url) => mirrorError("data", url, refusal),
        },
        { signal },
      );
    for await (const piece of readOn(size, attempt, signal)) bytes += piece.length;
    return bytes;
  };
  return { asked, links, read };
}

describe("a ranged get", () => {
  it("teaches when connections are reset, and takes no connection that is too old for a request", async () => {
    const { asked, links, read } = laboratory(40_000);
    expect(await read(100_000)).toBe(100_000);
    expect(asked.map(({ headers }) => headers?.["range"])).toEqual([
      "bytes=0-99999",
      "bytes=40000-99999",
      "bytes=80000-99999",
    ]);
    const { maxConnectionAgeMs = 0, maxRequestMs = 0 } = links.advice(host);
    expect(maxConnectionAgeMs).toBeGreaterThanOrEqual(0.4 * 6000);
    expect(maxConnectionAgeMs + maxRequestMs).toBeLessThan(6000);
    await read(10);
    expect(asked.at(-1)?.maxConnectionAgeMs).toBe(maxConnectionAgeMs);
  });

  it("teaches nothing of the links of other hosts", async () => {
    const { links, read } = laboratory(40_000);
    await read(100_000);
    expect(links.advice("other.example")).toEqual({});
  });

  it("gives way when an attempt makes no progress", async () => {
    const { asked, read } = laboratory(100);
    await expect(read(100_000)).rejects.toMatchObject({ code: "unreachable" });
    expect(asked).toHaveLength(1);
  });
});
