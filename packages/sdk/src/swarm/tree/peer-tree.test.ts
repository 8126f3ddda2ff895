// docs/protocol/peer-tree.md: a peer's tree read over a link, and what a server refuses.
import { afterEach, describe, expect, it } from "vitest";
import { PACK_KEY, PeerId, WaybillError, decodeValue } from "../../protocol/index.ts";
import {
  type SampleArtifact,
  expectedBytes,
  runSourceTests,
  sampleArtifact,
} from "../../transfer/source.conformance.ts";
import { ManualClock } from "../bulk/manual-clock.fixture.ts";
import type { Clock } from "../clock.ts";
import type { LinkMessage } from "../peer-link.ts";
import { PeerTreeSource } from "./peer-tree-source.ts";
import { LinkPair, linksOf } from "./tree-links.fixture.ts";
import { type OfferInit, STALLED_MS, type ServedTree, TreeServer } from "./tree-server.ts";

const reader = decodeValue(PeerId, `p_${"r".repeat(16)}_1`, "peer");
const pusher = decodeValue(PeerId, `p_${"s".repeat(16)}_1`, "peer");

/** The sample's objects, in pieces of 700 bytes. */
function treeOf({ map, files }: SampleArtifact): ServedTree {
  const objects = new Map<string, Uint8Array>(
    map.manifest.layout === "packed"
      ? [
          [
            PACK_KEY,
            Buffer.concat(
              map.manifest.files.map(({ path }) => files.get(path) ?? new Uint8Array()),
            ),
          ],
        ]
      : files,
  );
  return {
    sizeOf: (key) => objects.get(key)?.length,
    check: async () => undefined,
    read: async function* (key, start, end) {
      const bytes = objects.get(key) ?? new Uint8Array();
      for (let at = start; at < end; at += 700) yield bytes.subarray(at, Math.min(end, at + 700));
    },
  };
}

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end();
});

function setup(more: Partial<OfferInit> = {}, clock?: Clock) {
  const sample = sampleArtifact("plain");
  const pair = new LinkPair(reader, pusher);
  const server = new TreeServer({ links: linksOf(pair.server) });
  const offered = server.offer({ tree: treeOf(sample), ...more });
  const source = new PeerTreeSource({
    link: pair.reader,
    offer: offered.offer,
    map: sample.map,
    ...(clock === undefined ? {} : { clock }),
  });
  endings.push(() => server.stop());
  const read = async (first = 0, count = 5, signal = new AbortController().signal) => {
    const pieces: Uint8Array[] = [];
    for await (const piece of source.fetch({ first, count }, { signal })) pieces.push(piece);
    return Buffer.concat(pieces);
  };
  return { sample, pair, server, offered, source, read };
}

runSourceTests("a peer's tree", async (sample) => {
  const pair = new LinkPair(reader, pusher);
  const server = new TreeServer({ links: linksOf(pair.server) });
  const { offer } = server.offer({ tree: treeOf(sample) });
  return {
    source: new PeerTreeSource({ link: pair.reader, offer, map: sample.map }),
    close: () => server.stop(),
  };
});

describe("a peer that serves its tree", () => {
  it("answers an offer it does not know, and one that was withdrawn, with forbidden (2, 3)", async () => {
    const { pair, sample, offered, read } = setup();
    const other = { link: pair.reader, offer: "0".repeat(64), map: sample.map };
    const wrong = new PeerTreeSource(other).fetch({ first: 0, count: 1 }, neverAborted());
    await expect(wrong.next()).rejects.toMatchObject({ code: "forbidden" });
    offered.withdraw();
    await expect(read()).rejects.toMatchObject({ code: "forbidden" });
  });

  it("ends the streams of an offer that is withdrawn half-way (3)", async () => {
    const { pair, offered, read } = setup();
    let pieces = 0;
    pair.server.onWrite = () => {
      if ((pieces += 1) === 3) offered.withdraw();
    };
    await expect(read()).rejects.toMatchObject({ code: "unreachable", retryable: true });
  });

  it.each([
    [{ key: "none", offset: 0, length: 1 }, "not_found"],
    [{ key: "../secret", offset: 0, length: 1 }, "not_found"],
    [{ key: "a/small.txt", offset: 0, length: 6 }, "invalid_request"],
    [{ key: "a/small.txt", offset: 5, length: 1 }, "invalid_request"],
  ])("refuses %j with %s (6)", async (range, code) => {
    const { pair, offered } = setup();
    const refused = new Promise((resolve) => pair.reader.onMessage(resolve));
    const { offer } = offered;
    pair.reader.send({ type: "tree.want", id: "r1", offer, stream: 1, ...range });
    expect(await refused).toMatchObject({ type: "tree.refused", id: "r1", code });
  });

  it("refuses a request whose stream cannot be opened (6)", async () => {
    for (const [error, code] of [
      [new WaybillError("invalid_request", "stream 1 is open"), "invalid_request"],
      [new WaybillError("unreachable", "the budget is used up"), "unreachable"],
    ] as const) {
      const { pair, offered, server } = setup();
      pair.server.bulk.openStream = () => {
        throw error;
      };
      const refused = new Promise((resolve) => pair.reader.onMessage(resolve));
      const range = { key: "a/small.txt", offset: 0, length: 1, stream: 1 };
      pair.reader.send({ type: "tree.want", id: "r1", offer: offered.offer, ...range });
      expect(await refused).toMatchObject({ type: "tree.refused", id: "r1", code });
      // Nothing that was begun is left, and nothing has failed unheard.
      await server.stop();
    }
  });

  it("gives up a request of which the reader takes nothing for a minute (13)", async () => {
    const sample = sampleArtifact("plain");
    const clock = new ManualClock();
    const pair = new LinkPair(reader, pusher);
    const server = new TreeServer({ links: linksOf(pair.server), clock });
    endings.push(() => server.stop());
    const size = 1024 * 1024;
    const tree: ServedTree = {
      ...treeOf(sample),
      sizeOf: () => size,
      read: async function* (_key, start, end) {
        for (let at = start; at < end; at += 1024) yield new Uint8Array(1024);
      },
    };
    const { offer } = server.offer({ tree });
    const stream = pair.reader.bulk.newStreamId();
    const pieces = pair.reader.bulk.accept(stream)[Symbol.asyncIterator]();
    const want: LinkMessage = {
      type: "tree.want",
      id: "r1",
      offer,
      key: "k",
      offset: 0,
      length: size,
      stream,
    };
    pair.reader.send(want);
    await pieces.next();
    const pass = async (ms: number) => {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(ms);
    };
    // It takes a little now and then: that is progress.
    for (let i = 0; i < 4; i++) {
      await pass(STALLED_MS / 2);
      await pieces.next();
    }
    await pass(STALLED_MS / 2);
    await pass(STALLED_MS);
    const rest = async () => {
      while ((await pieces.next()).done !== true);
    };
    await expect(rest()).rejects.toThrow(/nothing was taken for 60 s/);
  });

  it("refuses a file that is not the one that was hashed, and aborts when it changes half-way (6)", async () => {
    const sample = sampleArtifact("plain");
    const changed = new WaybillError("source_changed", "a/big.bin is another one");
    const check = async () => {
      throw changed;
    };
    const first = setup({ tree: { ...treeOf(sample), check } });
    await expect(first.read()).rejects.toMatchObject({ code: "source_changed" });
    const read: ServedTree["read"] = async function* (key, start) {
      yield new Uint8Array(start + 10);
      throw changed;
    };
    const second = setup({ tree: { ...treeOf(sample), read } });
    await expect(second.read()).rejects.toMatchObject({ code: "unreachable" });
  });

  it("serves at most sixteen requests of one peer at once (6)", async () => {
    const gate = Promise.withResolvers<void>();
    const check = () => gate.promise;
    const sample = sampleArtifact("plain");
    const { read } = setup({ tree: { ...treeOf(sample), check } });
    const sixteen = Array.from({ length: 16 }, () => read());
    await expect(read()).rejects.toMatchObject({ code: "rate_limited", retryAfterMs: 500 });
    gate.resolve();
    expect(new Set((await Promise.all(sixteen)).map(({ length }) => length))).toEqual(
      new Set([5 * 1024]),
    );
    expect((await read()).length).toBe(5 * 1024);
  });

  it("refuses with unreachable while nothing carries bulk, and serves again after that (6)", async () => {
    const { sample, pair, read } = setup();
    pair.bulkWorks = false;
    await expect(read()).rejects.toMatchObject({ code: "unreachable", retryable: true });
    pair.bulkWorks = true;
    expect((await read()).equals(expectedBytes(sample, 0, 5))).toBe(true);
  });

  it("lets all bytes pass the push's gate, and counts them (7)", async () => {
    const passed: number[] = [];
    let served = 0;
    const gate = { pieceBytes: 512, pass: async (bytes: number) => void passed.push(bytes) };
    const { read } = setup({
      gate: gate as unknown as NonNullable<OfferInit["gate"]>,
      onServed: (bytes) => (served += bytes),
    });
    await read();
    expect(Math.max(...passed)).toBe(512);
    expect(passed.reduce((sum, bytes) => sum + bytes, 0)).toBe(5 * 1024);
    expect(served).toBe(5 * 1024);
  });

  it("stops reading its files for a request that was cancelled (9)", async () => {
    let closed = false;
    const sample = sampleArtifact("plain");
    const tree = treeOf(sample);
    const read: ServedTree["read"] = async function* (key, start, end) {
      try {
        for (;;) yield* tree.read(key, start, end);
      } finally {
        closed = true;
      }
    };
    const { source } = setup({ tree: { ...tree, read } });
    const pieces = source.fetch({ first: 0, count: 5 }, neverAborted());
    await pieces.next();
    await pieces.return(undefined);
    await expect.poll(() => closed).toBe(true);
  });

  it("hears when a reader has all of it (11)", async () => {
    const done: PeerId[] = [];
    const { pair, offered } = setup({ onDone: (peer) => done.push(peer) });
    pair.reader.send({ type: "tree.done", offer: "0".repeat(64) });
    pair.reader.send({ type: "tree.done", offer: offered.offer });
    await expect.poll(() => done).toEqual([reader]);
  });
});

describe("a reader of a peer's tree", () => {
  it("gives a request up after 10 s without a byte, and says so (8)", async () => {
    const timers = new Map<number, () => void>();
    const clock: Clock = {
      now: () => 0,
      after: (ms, run) => {
        timers.set(ms, run);
        return () => timers.delete(ms);
      },
    };
    const { pair, read } = setup({}, clock);
    pair.reader.drops = ({ type }) => type === "tree.want";
    const reading = read();
    timers.get(10_000)?.();
    await expect(reading).rejects.toMatchObject({ code: "unreachable", retryable: true });
    expect(pair.reader.sent.map(({ type }) => type)).toEqual(["tree.want", "tree.cancel"]);
  });

  it("gives way when the link is closed half-way (8)", async () => {
    const { pair, read } = setup();
    let pieces = 0;
    pair.server.onWrite = () => {
      if ((pieces += 1) === 3) pair.close();
    };
    await expect(read()).rejects.toMatchObject({ code: "unreachable", retryable: true });
  });

  it("takes no byte more than it asked for (10)", async () => {
    const { pair, read } = setup();
    pair.server.alter = (piece) => Buffer.concat([piece, piece]);
    await expect(read()).rejects.toMatchObject({ code: "unreachable", retryable: true });
  });

  it("costs money over a TURN server, and nothing otherwise (12)", () => {
    const { pair, source } = setup();
    expect(source.cost).toBe("free");
    pair.reader.setPath({ kind: "webrtc", candidateType: "relay", rttMs: 20 });
    expect(source.cost).toBe("paid");
  });
});

function neverAborted() {
  return { signal: new AbortController().signal };
}
