// What every source must do. A source's own test calls `runSourceTests` with a way to make one that holds a
// given artifact, and another that holds all of it but one shard's right bytes.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ShardMap } from "../artifact/index.ts";
import { blake3Hex } from "../platform/index.ts";
import { ArtifactManifest, decodeValue } from "../protocol/index.ts";
import type { Source } from "./source.ts";

export type SampleArtifact = {
  readonly map: ShardMap;
  /** Content by path. */
  readonly files: ReadonlyMap<string, Uint8Array>;
};

export type SourceSetup = {
  /** A source that serves the artifact. */
  readonly source: Source;
  /** Releases what the setup made. */
  readonly close: () => Promise<void>;
};

export type ServedSourceSetup = SourceSetup & {
  /** What its server can be made to do to its next answer. */
  readonly faults: Faults;
};

/** Each applies to the next answer only. */
type Faults = {
  /** Breaks the connection after so many body bytes. */
  cut(afterBytes: number): void;
  /** Serves another range than was asked for, and says so. */
  shift(): void;
  /** Answers 200 with a web page, as captive portals do. */
  portal(): void;
  /** Refuses for now. */
  busy(): void;
};

const SHARD_BYTES = 1024;

/** An artifact with big, small and empty files, in one of the layouts. */
export function sampleArtifact(layout: "plain" | "packed"): SampleArtifact {
  const sizes = { "a/big.bin": 10_240 + 17, "a/small.txt": 5, empty: 0, "z/exact.bin": 2048 };
  const files = new Map(
    Object.entries(sizes).map(([path, size], seed) => [
      path,
      Uint8Array.from({ length: size }, (_, at) => (at * 31 + seed * 7 + (at >> 8)) & 255),
    ]),
  );
  const list = [...files].map(([path, bytes]) => ({
    path,
    size: bytes.length,
    shards: Array.from({ length: Math.ceil(bytes.length / SHARD_BYTES) }, (_, at) =>
      blake3Hex(bytes.subarray(at * SHARD_BYTES, (at + 1) * SHARD_BYTES)),
    ),
  }));
  const manifest = { format: 1, name: "sample", layout, shardBytes: SHARD_BYTES, files: list };
  return { map: new ShardMap(decodeValue(ArtifactManifest, manifest, "sample")), files };
}

/** The bytes of shards, from the sample's files. */
export function expectedBytes(sample: SampleArtifact, first: number, count: number): Buffer {
  const pieces: Uint8Array[] = [];
  for (let shard = first; shard < first + count; shard++) {
    const { file, offset, size } = sample.map.locate(shard);
    const bytes = sample.files.get(sample.map.file(file).path);
    if (bytes !== undefined) pieces.push(bytes.subarray(offset, offset + size));
  }
  return Buffer.concat(pieces);
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const copies: Buffer[] = [];
  // A piece is valid until the next one is asked for, hence the copy.
  for await (const piece of pieces) copies.push(Buffer.from(piece));
  return Buffer.concat(copies);
}

/** The suite. `setup` gets the artifact the source is to serve. */
export function runSourceTests(
  name: string,
  setup: (sample: SampleArtifact) => Promise<SourceSetup>,
): void {
  describe.each(["plain", "packed"] as const)(`${name} as a source of a %s artifact`, (layout) => {
    let sample: SampleArtifact;
    let made: SourceSetup;
    const signal = new AbortController().signal;

    beforeEach(async () => {
      sample = sampleArtifact(layout);
      made = await setup(sample);
    });

    afterEach(async () => {
      await made.source.close?.();
      await made.close();
    });

    it("has an id without a secret, a positive window, and shards of the artifact only", () => {
      const { source } = made;
      expect(source.id).not.toMatch(/[?&=]|token|secret/i);
      expect(source.window).toBeGreaterThanOrEqual(1);
      const runs = source.shards().runs();
      expect(
        runs.every(({ first, count }) => first >= 0 && first + count <= sample.map.count),
      ).toBe(true);
    });

    it("serves every run it may be asked for, exactly", async () => {
      const { source } = made;
      const { map } = sample;
      for (let first = 0; first < map.count; first++) {
        const end = Math.min(source.runEnd?.(first) ?? map.count, map.count);
        expect(end).toBeGreaterThan(first);
        for (const count of new Set([1, end - first])) {
          const bytes = await collect(source.fetch({ first, count }, { signal }));
          expect(bytes.equals(expectedBytes(sample, first, count))).toBe(true);
        }
      }
    });

    it("serves as many runs at once as its window says", async () => {
      const { source } = made;
      const firsts = Array.from({ length: source.window }, (_, at) => at % sample.map.count);
      const all = firsts.map((first) => collect(source.fetch({ first, count: 1 }, { signal })));
      const results = await Promise.all(all);
      const right = results.map((bytes, at) =>
        bytes.equals(expectedBytes(sample, firsts[at] ?? 0, 1)),
      );
      expect(right).not.toContain(false);
    });

    it("can be left in the middle of a run and asked again", async () => {
      const { source } = made;
      for await (const piece of source.fetch({ first: 0, count: 5 }, { signal })) {
        expect(piece.length).toBeGreaterThan(0);
        break;
      }
      const bytes = await collect(source.fetch({ first: 0, count: 2 }, { signal }));
      expect(bytes.equals(expectedBytes(sample, 0, 2))).toBe(true);
    });

    it("stops in the middle of a run with the signal's reason, and serves the next one", async () => {
      const { source } = made;
      const abort = new AbortController();
      const reading = (async () => {
        for await (const piece of source.fetch({ first: 0, count: 5 }, { signal: abort.signal })) {
          expect(piece.length).toBeGreaterThan(0);
          abort.abort();
        }
      })();
      // All of it may have come before the signal did.
      const error = await reading.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect([undefined, "AbortError"]).toContain(error instanceof Error ? error.name : error);
      const bytes = await collect(source.fetch({ first: 1, count: 2 }, { signal }));
      expect(bytes.equals(expectedBytes(sample, 1, 2))).toBe(true);
    });

    it("receives into memory it is given, or does not, and the bytes are the same", async () => {
      const { source } = made;
      const run = { first: 0, count: 4 };
      const memory = new Uint8Array(expectedBytes(sample, 0, 4).length);
      const into = (at: number) => memory.subarray(at);
      const bytes = await collect(source.fetch(run, { signal, into }));
      expect(bytes.equals(expectedBytes(sample, 0, 4))).toBe(true);
    });

    it("gives advice that leaves room for a request", () => {
      const {
        maxRequestBytes = 1,
        maxRequestMs = 1,
        maxParallel = 1,
      } = made.source.advice?.() ?? {};
      expect(Math.min(maxRequestBytes, maxRequestMs, maxParallel)).toBeGreaterThanOrEqual(1);
    });

    it("stops with the signal's reason", async () => {
      const reading = collect(
        made.source.fetch({ first: 0, count: 1 }, { signal: AbortSignal.abort() }),
      );
      await expect(reading).rejects.toMatchObject({ name: "AbortError" });
    });
  });
}

/** What a source with a server must do besides: `runSourceTests`, and its server's failures. */
export function runServedSourceTests(
  name: string,
  setup: (sample: SampleArtifact) => Promise<ServedSourceSetup>,
): void {
  runSourceTests(name, setup);
  describe.each(["plain", "packed"] as const)(
    `${name} of a %s artifact whose server fails`,
    (layout) => {
      let sample: SampleArtifact;
      let made: ServedSourceSetup;
      const { signal } = new AbortController();

      beforeEach(async () => {
        sample = sampleArtifact(layout);
        made = await setup(sample);
      });
      afterEach(() => made.close());

      const run = { first: 0, count: 11 };
      const fetchRun = () => collect(made.source.fetch(run, { signal }));
      const right = (bytes: Buffer) => bytes.equals(expectedBytes(sample, run.first, run.count));

      it("goes on at the byte where a connection broke", async () => {
        made.faults.cut(5000);
        expect(right(await fetchRun())).toBe(true);
      });

      it.each(["shift", "portal", "busy"] as const)(
        "gives way with an error that passes, not with other bytes: %s",
        async (fault) => {
          made.faults[fault]();
          await expect(fetchRun()).rejects.toMatchObject({ retryable: true });
          expect(right(await fetchRun())).toBe(true);
        },
      );

      it("gives way when a connection brings nothing", async () => {
        made.faults.cut(0);
        await expect(fetchRun()).rejects.toMatchObject({ retryable: true });
        expect(right(await fetchRun())).toBe(true);
      });
    },
  );
}
