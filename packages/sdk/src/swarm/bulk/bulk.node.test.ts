// Bulk streams, replacement and policy over real connections of node-datachannel.
import { createHash } from "node:crypto";
import * as polyfill from "node-datachannel/polyfill";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type WaybillError, randomText, cryptoRandom } from "../../protocol/index.ts";
import { type TestPeer, makePeers } from "../../testing/test-peers.ts";
import { MemoryHub, type MemoryPort } from "../memory-signaling.ts";
import {
  type HeldLink,
  type PeerLinks,
  type PeerLinksInit,
  createPeerLinks,
} from "../peer-links.ts";
import type { PeerConnectionConstructor } from "../rtc-types.ts";

const RTCPeerConnection: PeerConnectionConstructor = polyfill.RTCPeerConnection;
const [one, two] = (await makePeers(2)) as [TestPeer, TestPeer];
const MIB = 1024 * 1024;

let hub: MemoryHub;
let ports: [MemoryPort, MemoryPort];
let here: HeldLink;
let there: HeldLink;
let networkChanged = () => {};
const all: PeerLinks[] = [];
const problems: WaybillError[] = [];

const connect = async (more: Partial<PeerLinksInit> = {}) => {
  ports = [hub.join(one.peerId, "member", one.shown), hub.join(two.peerId, "worker", two.shown)];
  const onNetworkChange = (listener: () => void) => {
    networkChanged = listener;
    return () => undefined;
  };
  const common = { RTCPeerConnection, ...more };
  const links = [
    createPeerLinks({ signaling: ports[0], keys: one.keys, onNetworkChange, ...common }),
    createPeerLinks({
      signaling: ports[1],
      keys: two.keys,
      onNetworkChange: () => () => undefined,
      ...common,
    }),
  ] as const;
  for (const each of links) each.onProblem((error) => problems.push(error));
  all.push(...links);
  here = links[0].linkTo(two.peerId);
  there = links[1].linkTo(one.peerId);
};
const until = (done: () => boolean) =>
  vi.waitFor(() => expect(done()).toBe(true), { timeout: 20_000, interval: 2 });
/** Waits until a number has stood still for ten looks in a row. */
const untilStill = async (read: () => number) => {
  let same = 0;
  let last = read();
  await until(() => {
    same = read() === last ? same + 1 : 0;
    last = read();
    return same >= 10;
  });
};
/** A class of connections that remembers those it makes. */
const watched = () => {
  const made: Pick<RTCPeerConnection, "connectionState" | "iceGatheringState" | "close">[] = [];
  class Watched extends polyfill.RTCPeerConnection {
    constructor(...init: ConstructorParameters<typeof polyfill.RTCPeerConnection>) {
      super(...init);
      made.push(this);
    }
  }
  return { made, Watched };
};
const bytesOf = (size: number) => {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i += 997) bytes[i] = i % 251;
  return bytes;
};
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const read = async (stream: AsyncIterable<Uint8Array>, onBytes = (_: number) => {}) => {
  const hash = createHash("sha256");
  let count = 0;
  for await (const bytes of stream) {
    hash.update(bytes);
    count += bytes.length;
    onBytes(count);
  }
  return hash.digest("hex");
};

beforeEach(() => {
  hub = new MemoryHub();
  problems.length = 0;
});
afterEach(async () => {
  for (const links of all.splice(0)) await links.stop();
});

describe("a bulk stream", () => {
  it("brings every byte in order, with several streams both ways at once", async () => {
    await connect();
    const sizes = [0, 1, 65_519, 65_520, 3 * MIB + 17, 20 * MIB];
    await Promise.all(
      sizes.map(async (size, i) => {
        const [from, to] = i % 2 === 0 ? [here, there] : [there, here];
        const id = from.bulk.newStreamId();
        const found = read(to.bulk.accept(id));
        const writer = from.bulk.openStream(id, { live: i === 2 });
        const bytes = bytesOf(size);
        for (let at = 0; at < size; at += 700_001)
          await writer.write(bytes.subarray(at, at + 700_001));
        await writer.end();
        expect(await found).toBe(digest(bytes));
      }),
    );
    expect(problems).toEqual([]);
  });

  it("makes ids that the two sides of a link do not share", async () => {
    await connect();
    const ids = [here, there].flatMap(({ bulk }) => [bulk.newStreamId(), bulk.newStreamId()]);
    expect(new Set(ids).size).toBe(4);
  });

  it("has an id of its own when the link was let go and is taken again", async () => {
    await connect();
    await until(() => here.bulk.connections > 0 && there.bulk.connections > 0);
    const [first] = all;
    const former = here.bulk.newStreamId();
    const writer = there.bulk.openStream(former);
    const reading = here.bulk.accept(former)[Symbol.asyncIterator]();
    await writer.write(new Uint8Array(1000));
    await reading.next();
    here.release();
    if (first !== undefined) here = first.linkTo(two.peerId);
    const id = here.bulk.newStreamId();
    expect(id).not.toBe(former);
    await until(() => here.bulk.connections > 0);
    const found = read(here.bulk.accept(id));
    const next = there.bulk.openStream(id);
    await next.write(bytesOf(MIB));
    await next.end();
    expect(await found).toBe(digest(bytesOf(MIB)));
  });

  it("waits for a consumer that takes nothing (I3)", async () => {
    await connect();
    const id = here.bulk.newStreamId();
    const stream = there.bulk.accept(id)[Symbol.asyncIterator]();
    const writer = here.bulk.openStream(id);
    let written = 0;
    const writing = (async () => {
      for (; written < 64; written++) await writer.write(new Uint8Array(MIB));
      await writer.end();
    })();
    await stream.next();
    await until(() => written > 0);
    await untilStill(() => written);
    expect(written).toBeLessThan(24);
    while ((await stream.next()).done !== true);
    await writing;
  });

  it("fails on both sides when either gives it up", async () => {
    await connect();
    const aborted = here.bulk.newStreamId();
    const reading = read(there.bulk.accept(aborted));
    const writer = here.bulk.openStream(aborted);
    await writer.write(new Uint8Array(1000));
    writer.abort("no space");
    await expect(reading).rejects.toMatchObject({ code: "unreachable", message: /no space/ });
    await expect(writer.end()).rejects.toMatchObject({ code: "unreachable" });

    const stopped = here.bulk.newStreamId();
    const second = here.bulk.openStream(stopped);
    const ending = second.write(new Uint8Array(4 * MIB)).then(() => second.end());
    for await (const _ of there.bulk.accept(stopped)) break;
    await expect(ending).rejects.toMatchObject({ code: "unreachable", message: /not wanted/ });

    const abort = new AbortController();
    const third = here.bulk.openStream(here.bulk.newStreamId(), { signal: abort.signal });
    abort.abort();
    await expect(third.write(new Uint8Array(MIB))).rejects.toMatchObject({ name: "AbortError" });
  });

  it("goes on over another connection when its own is replaced, and no message is lost", async () => {
    await connect();
    await until(() => here.path.kind === "webrtc" && there.path.kind === "webrtc");
    const kinds: string[] = [];
    here.onPath(({ kind }) => kinds.push(kind));
    const heard: string[] = [];
    there.onMessage((message) => {
      if (message.type === "unsubscribe") heard.push(message.id);
    });
    const id = here.bulk.newStreamId();
    const bytes = bytesOf(48 * MIB);
    let replaced = false;
    const found = read(there.bulk.accept(id), (count) => {
      if (count < 4 * MIB || replaced) return;
      replaced = true;
      networkChanged();
    });
    const writer = here.bulk.openStream(id);
    const ids: string[] = [];
    for (let at = 0; at < bytes.length; at += MIB) {
      const name = randomText(8, cryptoRandom);
      ids.push(name);
      here.send({ type: "unsubscribe", id: name });
      await writer.write(bytes.subarray(at, at + MIB));
    }
    await writer.end();
    expect(await found).toBe(digest(bytes));
    await until(() => heard.length === ids.length);
    expect(heard.toSorted()).toEqual(ids.toSorted());
    const offers = hub.passed.flatMap(({ data }) => {
      const { kind, replaces } = data as { kind?: string; replaces?: string };
      return kind === "description" && replaces !== undefined ? [replaces] : [];
    });
    expect(offers.length).toBeGreaterThan(0);
    // The hub's relay was never the path in between.
    expect(kinds).not.toContain("relay");
  });

  it("arrives whole and in order when one of its connections breaks half-way", async () => {
    const { made, Watched } = watched();
    await connect({ RTCPeerConnection: Watched });
    await until(() => here.path.kind === "webrtc" && there.path.kind === "webrtc");
    const id = here.bulk.newStreamId();
    const bytes = bytesOf(48 * MIB);
    let broken = 0;
    const found = read(there.bulk.accept(id), (count) => {
      // A further one, if the path has been found worth it by then, else the only one.
      if (broken > 0 || count < (here.bulk.connections > 1 ? 4 : 24) * MIB) return;
      broken = here.bulk.connections;
      made.findLast(({ connectionState }) => connectionState === "connected")?.close();
    });
    const writer = here.bulk.openStream(id);
    await writer.write(bytes);
    await writer.end();
    expect(await found).toBe(digest(bytes));
    expect(broken).toBeGreaterThan(0);
  });

  it("fails when the peer's process is another one", async () => {
    await connect();
    const id = here.bulk.newStreamId();
    const writer = here.bulk.openStream(id);
    const waiting = writer.write(new Uint8Array(4 * MIB));
    const [again] = await makePeers(1);
    const shown = { publicKey: two.shown.publicKey, agreement: again?.shown.agreement };
    hub.join(two.peerId, "worker", shown);
    await expect(waiting).rejects.toMatchObject({ code: "unreachable" });
  });
});

describe("a peer that may only be relayed", () => {
  it("signals no address of its own, takes none of the peer's, and stays on the hub's relay without TURN", async () => {
    hub.icePolicy = "relay";
    const { made, Watched } = watched();
    await connect({ RTCPeerConnection: Watched });
    const offered = () =>
      hub.passed.filter(({ data }) => (data as { sdpType?: string }).sdpType === "offer");
    await until(() => offered().length > 0);
    await until(() => made.every(({ iceGatheringState }) => iceGatheringState === "complete"));
    const signaled = hub.passed.flatMap(({ type, data }) => (type === "signal" ? [data] : []));
    expect(JSON.stringify(signaled)).not.toMatch(/typ (host|srflx|prflx)/);
    expect(JSON.stringify(signaled)).not.toMatch(/c=IN IP4 (?!0\.0\.0\.0)/);
    expect(here.path.kind).toBe("relay");
  });

  it("closes a direct channel at once when the room's policy becomes relay", async () => {
    await connect();
    await until(() => here.path.kind === "webrtc");
    hub.tell(one.peerId, { type: "ice.policy", policy: "relay" });
    await until(() => here.path.kind === "relay");
    expect(here.bulk.connections).toBe(0);
  });

  it("closes a connection that another one is replacing as well when the policy becomes relay", async () => {
    const { made, Watched } = watched();
    await connect({ RTCPeerConnection: Watched });
    await until(() => here.path.kind === "webrtc" && there.path.kind === "webrtc");
    networkChanged();
    const open = () => made.filter(({ connectionState }) => connectionState === "connected");
    await until(() => open().length === 4);
    for (const { peerId } of [one, two]) hub.tell(peerId, { type: "ice.policy", policy: "relay" });
    expect(open()).toEqual([]);
  });
});
