import * as polyfill from "node-datachannel/polyfill";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { JobId } from "../protocol/index.ts";
import { type TestPeer, makePeers } from "../testing/test-peers.ts";
import { MemoryHub, type MemoryPort } from "./memory-signaling.ts";
import type { LinkMessage, LinkPath } from "./peer-link.ts";
import { type ControlLink, type PeerLinks, createPeerLinks } from "./peer-links.ts";
import type { PeerConnectionConstructor } from "./rtc-types.ts";

const RTCPeerConnection: PeerConnectionConstructor = polyfill.RTCPeerConnection;
const [viewerPeer, workerPeer] = (await makePeers(2)) as [TestPeer, TestPeer];
const viewerId = viewerPeer.peerId;
const workerId = workerPeer.peerId;
const job = v.parse(JobId, "j_0123456789abcdef");
const subscribe = (sinceSeq: number): LinkMessage => ({
  type: "subscribe",
  id: "s1",
  job,
  sinceSeq,
});

let hub: MemoryHub;
let ports: { viewer: MemoryPort; worker: MemoryPort };
let viewer: PeerLinks;
let worker: PeerLinks;
const heard: LinkMessage[] = [];

beforeEach(() => {
  hub = new MemoryHub();
  ports = {
    viewer: hub.join(viewerId, "member", viewerPeer.shown),
    worker: hub.join(workerId, "worker", workerPeer.shown),
  };
  heard.length = 0;
});
afterEach(async () => {
  await viewer.stop();
  await worker.stop();
});

const connect = (webrtc: { viewer: boolean; worker: boolean } = { viewer: true, worker: true }) => {
  const rtc = (on: boolean) => (on ? { RTCPeerConnection } : {});
  viewer = createPeerLinks({
    signaling: ports.viewer,
    keys: viewerPeer.keys,
    ...rtc(webrtc.viewer),
  });
  worker = createPeerLinks({
    signaling: ports.worker,
    keys: workerPeer.keys,
    ...rtc(webrtc.worker),
  });
  worker.onMessage(({ message }) => heard.push(message));
};
const pathOf = (link: ControlLink, kind: LinkPath["kind"]) =>
  until(
    (done) => link.onPath((path) => path.kind === kind && done(path)),
    () => (link.path.kind === kind ? link.path : undefined),
  );
async function until<T>(
  listen: (done: (value: T) => void) => () => void,
  now: () => T | undefined = () => undefined,
): Promise<T> {
  const already = now();
  if (already !== undefined) return already;
  return new Promise((resolve) => {
    const off = listen((value) => {
      off();
      resolve(value);
    });
  });
}
const nextHeard = () =>
  until<LinkMessage>((done) => worker.onMessage(({ message }) => done(message)));

describe("links between two peers", () => {
  it("carry messages over the relay at once and over WebRTC when it is open", async () => {
    connect();
    const link = viewer.linkTo(workerId);
    const first = nextHeard();
    link.send(subscribe(1));
    expect(await first).toEqual(subscribe(1));
    expect(hub.passed.some(({ type }) => type === "relay")).toBe(true);
    expect(await pathOf(link, "webrtc")).toMatchObject({ kind: "webrtc", candidateType: "host" });
    hub.passed.length = 0;
    const second = nextHeard();
    link.send(subscribe(2));
    expect(await second).toEqual(subscribe(2));
    expect(hub.passed.filter(({ type }) => type === "relay")).toEqual([]);
  });

  it("measure the round trip of the path in use", async () => {
    connect();
    const link = viewer.linkTo(workerId);
    const measured = await until<LinkPath>((done) =>
      link.onPath((path) => path.kind === "webrtc" && path.rttMs !== undefined && done(path)),
    );
    expect(measured.rttMs).toBeLessThan(1000);
  });

  it("connect when both sides offer at once", async () => {
    connect();
    const there = viewer.linkTo(workerId);
    const back = worker.linkTo(viewerId);
    await Promise.all([pathOf(there, "webrtc"), pathOf(back, "webrtc")]);
    const arrived = nextHeard();
    there.send(subscribe(3));
    expect(await arrived).toEqual(subscribe(3));
  });

  it("answer a peer without WebRTC over the relay", async () => {
    connect({ viewer: true, worker: false });
    const link = viewer.linkTo(workerId);
    await until<LinkPath>((done) => link.onPath(done));
    expect(link.path).toMatchObject({ kind: "relay" });
    expect(link.path.rttMs).toBeDefined();
  });

  it("fall back to the relay when the direct channel breaks, and come back", async () => {
    connect();
    const link = viewer.linkTo(workerId);
    await pathOf(link, "webrtc");
    const fellBack = until<LinkPath>((done) => link.onPath((p) => p.kind === "relay" && done(p)));
    // The worker's process is replaced by another.
    await worker.stop();
    worker = createPeerLinks({ signaling: ports.worker, keys: workerPeer.keys, RTCPeerConnection });
    await fellBack;
    const relayed = nextHeard();
    link.send(subscribe(4));
    expect(await relayed).toEqual(subscribe(4));
    await pathOf(link, "webrtc");
  });

  it("keep a direct channel while the hub is away", async () => {
    connect();
    const link = viewer.linkTo(workerId);
    await pathOf(link, "webrtc");
    ports.viewer.cut();
    ports.worker.cut();
    const arrived = nextHeard();
    link.send(subscribe(5));
    expect(await arrived).toEqual(subscribe(5));
    ports.worker.restore();
    ports.viewer.restore();
    expect(link.path.kind).toBe("webrtc");
  });

  it("say that there is no path when the hub is away and no channel is open", async () => {
    connect({ viewer: false, worker: false });
    const link = viewer.linkTo(workerId);
    ports.viewer.cut();
    expect(() => link.send(subscribe(1))).toThrow(/no path/);
    await expect(link.drain()).rejects.toMatchObject({ code: "unreachable" });
  });

  it("hear when the hub could not deliver", async () => {
    connect({ viewer: false, worker: false });
    const link = viewer.linkTo(workerId);
    ports.worker.cut();
    const lost = until<{ readonly code: string }>((done) => link.onLost(done));
    link.send(subscribe(1));
    expect(await lost).toEqual({ code: "not_found" });
  });

  it("end on the other side when released", async () => {
    connect();
    const first = viewer.linkTo(workerId);
    const second = viewer.linkTo(workerId);
    await pathOf(first, "webrtc");
    const incoming = until<ControlLink>((done) => worker.onMessage(({ link }) => done(link)));
    first.send(subscribe(1));
    const answering = await incoming;
    await pathOf(answering, "webrtc");
    first.release();
    first.release();
    expect(second.closed).toBe(false);
    const gone = until<LinkPath>((done) =>
      answering.onPath((path) => path.kind === "relay" && done(path)),
    );
    second.release();
    expect(second.closed).toBe(true);
    await gone;
  });

  it("that the other side needs, too, stay open when they are released", async () => {
    connect();
    const watching = viewer.linkTo(workerId);
    await pathOf(watching, "webrtc");
    const paths: string[] = [];
    watching.onPath(({ kind }) => paths.push(kind));
    const pulling = worker.linkTo(viewerId);
    pulling.share();
    pulling.release();
    const echoed = until<LinkMessage>((done) => watching.onMessage(done));
    worker.onMessage(({ message, link }) => link.send(message));
    watching.send(subscribe(7));
    expect(await echoed).toEqual(subscribe(7));
    expect(paths).not.toContain("relay");
    watching.release();
    await pathOf(pulling, "relay");
  });

  it("report what they cannot understand and go on", async () => {
    connect({ viewer: false, worker: false });
    const problem = until((done) => worker.onProblem(done));
    ports.viewer.send({ type: "relay", to: workerId, data: { type: "nonsense" } });
    expect(await problem).toMatchObject({ code: "invalid_request" });
  });

  it("bring 10,000 messages over the relay, each once and in order", async () => {
    connect({ viewer: false, worker: false });
    const link = viewer.linkTo(workerId);
    const wanted = Array.from({ length: 10_000 }, (_, i) => i);
    const all = until<void>((done) =>
      worker.onMessage(() => {
        if (heard.length === wanted.length) done();
      }),
    );
    for (const i of wanted) {
      if (!link.writable) await link.drain();
      link.send(subscribe(i));
    }
    await all;
    expect(heard).toEqual(wanted.map(subscribe));
  });

  it("make paced senders wait while the relay is choked", async () => {
    connect({ viewer: false, worker: false });
    const link = viewer.linkTo(workerId);
    hub.bufferedBytes = 1024 * 1024;
    expect(link.writable).toBe(false);
    const drained = link.drain();
    link.send(subscribe(6));
    const arrived = nextHeard();
    hub.bufferedBytes = 0;
    await drained;
    expect(await arrived).toEqual(subscribe(6));
    expect(link.writable).toBe(true);
  });
});
