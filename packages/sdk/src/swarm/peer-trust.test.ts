// What a hub, or anybody else between two peers, cannot do (peer-channel.md §4, §7).
import * as polyfill from "node-datachannel/polyfill";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { JobId, type Negotiation, type WaybillError } from "../protocol/index.ts";
import { type TestPeer, makePeers } from "../testing/test-peers.ts";
import { MemoryHub, type MemoryPort } from "./memory-signaling.ts";
import type { LinkMessage } from "./peer-link.ts";
import { type PeerLinks, createPeerLinks } from "./peer-links.ts";
import { RelayBox, SealedMessage } from "./relay-box.ts";
import type { PeerConnectionConstructor } from "./rtc-types.ts";

const RTCPeerConnection: PeerConnectionConstructor = polyfill.RTCPeerConnection;
const [one, two, mallory] = (await makePeers(3)) as [TestPeer, TestPeer, TestPeer];
const job = v.parse(JobId, "j_0123456789abcdef");
const subscribe = (sinceSeq: number): LinkMessage => ({
  type: "subscribe",
  id: "s1",
  job,
  sinceSeq,
});

let hub: MemoryHub;
let ports: [MemoryPort, MemoryPort];
const all: PeerLinks[] = [];
const heard: LinkMessage[] = [];
const problems: WaybillError[] = [];

const open = (webrtc: boolean, Rtc = RTCPeerConnection): [PeerLinks, PeerLinks] => {
  ports = [hub.join(one.peerId, "member", one.shown), hub.join(two.peerId, "worker", two.shown)];
  const rtc = webrtc ? { RTCPeerConnection: Rtc } : {};
  const links: [PeerLinks, PeerLinks] = [
    createPeerLinks({ signaling: ports[0], keys: one.keys, ...rtc }),
    createPeerLinks({ signaling: ports[1], keys: two.keys, ...rtc }),
  ];
  all.push(...links);
  for (const each of links) each.onProblem((error) => problems.push(error));
  links[1].onMessage(({ message }) => heard.push(message));
  return links;
};
const until = (done: () => boolean) =>
  vi.waitFor(() => expect(done()).toBe(true), { timeout: 20_000, interval: 2 });
const relayed = () =>
  hub.passed.flatMap((m) => (m.type === "relay" && m.to === two.peerId ? [m.data] : []));

beforeEach(() => {
  hub = new MemoryHub();
  heard.length = 0;
  problems.length = 0;
});
afterEach(async () => {
  for (const links of all.splice(0)) await links.stop();
});

/** A description whose fingerprint is another connection's, as a man in the middle needs it. */
const otherFingerprint = (data: Negotiation): Negotiation =>
  data.kind === "description"
    ? { ...data, sdp: data.sdp.replace(/(?<=a=fingerprint:\S+ )../, "00") }
    : data;

describe("a direct channel", () => {
  it("is refused when somebody between the peers has put in another fingerprint", async () => {
    hub.tamper = otherFingerprint;
    const [links] = open(true);
    const link = links.linkTo(two.peerId);
    await until(() => problems.length > 0);
    expect(problems[0]).toMatchObject({ code: "unauthorized" });
    expect(problems[0]?.message).toContain("not its own");
    expect(link.path.kind).toBe("relay");
  });

  it("is refused when a third party proves itself in the peer's place", async () => {
    const proofs = new Map<string, Negotiation>();
    hub.tamper = (data) => {
      if (data.kind === "description") proofs.set(data.connection, data);
      return data;
    };
    const [links] = open(true);
    links.linkTo(two.peerId);
    await until(() => proofs.size > 0);
    const [genuine] = proofs.values();
    const port = hub.join(mallory.peerId, "member", mallory.shown);
    // What one peer proved for this connection proves nothing for another peer.
    if (genuine !== undefined) port.send({ type: "signal", to: two.peerId, data: genuine });
    await until(() => problems.length > 0);
    expect(problems[0]?.message).toContain(mallory.peerId);
  });

  it("is refused without a proof", async () => {
    hub.tamper = (data) => {
      if (data.kind !== "description") return data;
      const { kind, sdpType, sdp, connection } = data;
      return { kind, sdpType, sdp, connection };
    };
    const [links] = open(true);
    links.linkTo(two.peerId);
    await until(() => problems.length > 0);
    expect(problems[0]?.message).toContain("no proof");
  });
});

describe("an offer", () => {
  it("is refused when somebody between the peers makes it one that replaces another connection", async () => {
    hub.tamper = (data) =>
      data.kind === "description" && data.sdpType === "offer"
        ? { ...data, replaces: "another" }
        : data;
    open(true)[0].linkTo(two.peerId);
    await until(() => problems.length > 0);
    expect(problems[0]).toMatchObject({ code: "unauthorized", message: /not its own/ });
  });

  it("of a connection that exists is passed over, whatever it says", async () => {
    const made: Pick<RTCPeerConnection, "connectionState">[] = [];
    class Counted extends polyfill.RTCPeerConnection {
      constructor(...init: ConstructorParameters<typeof polyfill.RTCPeerConnection>) {
        super(...init);
        made.push(this);
      }
    }
    const offers: Negotiation[] = [];
    hub.tamper = (data) => {
      if (data.kind === "description" && data.sdpType === "offer") offers.push(data);
      return data;
    };
    const [links] = open(true, Counted);
    const link = links.linkTo(two.peerId);
    await until(() => link.path.kind === "webrtc");
    const [offer] = offers;
    if (offer?.kind !== "description") throw new Error("there is no offer");
    const data = { ...offer, replaces: offer.connection };
    ports[0].send({ type: "signal", to: two.peerId, data });
    // What came after it, from somebody else, has been looked at: the link's two connections, and that one.
    const port = hub.join(mallory.peerId, "member", mallory.shown);
    port.send({ type: "signal", to: two.peerId, data: offer });
    await until(() => problems.length > 0);
    expect(made).toHaveLength(3);
    expect(link.path.kind).toBe("webrtc");
    for (const each of all.splice(0)) await each.stop();
    await until(() => made.every(({ connectionState }) => connectionState === "closed"));
  });
});

describe("a relayed message", () => {
  it("cannot be read by the hub, and arrives in order", async () => {
    const [links] = open(false);
    const link = links.linkTo(two.peerId);
    for (let i = 0; i < 50; i++) link.send(subscribe(i));
    await until(() => heard.length === 50);
    expect(heard).toEqual(Array.from({ length: 50 }, (_, i) => subscribe(i)));
    for (const data of relayed()) expect(v.parse(SealedMessage, data).type).toBe("sealed");
    expect(JSON.stringify(relayed())).not.toContain("subscribe");
  });

  it("is dropped when it comes a second time, and when it was changed", async () => {
    const [links] = open(false);
    links.linkTo(two.peerId).send(subscribe(1));
    await until(() => heard.length === 1);
    const data = v.parse(SealedMessage, relayed().at(-1));
    ports[0].send({ type: "relay", to: two.peerId, data });
    await until(() => problems.some(({ message }) => message.includes("second time")));
    ports[0].send({ type: "relay", to: two.peerId, data: { ...data, n: data.n + 1000 } });
    await until(() => problems.some(({ message }) => message.includes("does not open")));
    ports[0].send({ type: "relay", to: two.peerId, data: subscribe(2) });
    await until(() => problems.some(({ code }) => code === "invalid_request"));
    expect(heard).toEqual([subscribe(1)]);
  });

  it("is not sent for a key that is not the peer's own, nor without one", async () => {
    // The hub shows its own key in the peer's place.
    hub.show = (peer) => ({ ...peer, ...mallory.shown });
    const [links] = open(false);
    const link = links.linkTo(two.peerId);
    const lost: string[] = [];
    link.onLost(({ code }) => lost.push(code));
    link.send(subscribe(1));
    await until(() => lost.length > 0);
    expect(problems.some(({ message }) => message.includes("not its own"))).toBe(true);
    hub.show = ({ publicKey: _, agreement: __, ...peer }) => peer;
    links.linkTo(mallory.peerId).send(subscribe(2));
    expect(relayed()).toEqual([]);
  });

  it("cannot be repeated after messages of more processes than can be remembered", async () => {
    const boxOf = ({ keys, peerId }: TestPeer, maxCounters?: number) =>
      new RelayBox({ keys, self: () => peerId, ...(maxCounters && { maxCounters }) });
    const infoOf = ({ peerId, shown }: TestPeer) =>
      ({
        peerId,
        name: "n",
        role: "member",
        joinedAt: "2026-01-01T00:00:00.000Z",
        ...shown,
      }) as const;
    const box = boxOf(one, 1);
    const others = [two, mallory].map((peer) => ({ peer, box: boxOf(peer) }));
    const messages = [];
    for (const other of others) {
      box.learn(infoOf(other.peer));
      other.box.learn(infoOf(one));
      messages.push(await other.box.seal(one.peerId, "hello"));
    }
    expect(await box.open(two.peerId, messages[0])).toBe("hello");
    await expect(box.open(mallory.peerId, messages[1])).rejects.toThrow(/can be remembered/);
    await expect(box.open(two.peerId, messages[0])).rejects.toThrow(/second time/);
  });

  it("cannot be repeated after the hub has shown another key in between", async () => {
    const [links] = open(false);
    links.linkTo(two.peerId).send(subscribe(1));
    await until(() => heard.length === 1);
    const data = relayed().at(-1);
    const genuine = hub.show;
    hub.show = (peer) => ({ ...peer, ...mallory.shown });
    ports[0].cut();
    ports[0].restore();
    hub.show = genuine;
    ports[0].cut();
    ports[0].restore();
    ports[0].send({ type: "relay", to: two.peerId, data });
    await until(() => problems.some(({ message }) => message.includes("second time")));
    expect(heard).toEqual([subscribe(1)]);
  });
});
