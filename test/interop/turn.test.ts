// Relay-only peers over a real TURN server (coturn), in Node.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PeerLinks, createPeerLinks } from "@waybill/sdk/swarm";
import { MemoryHub } from "../../packages/sdk/src/swarm/memory-signaling.ts";
import { type TestPeer, makePeers } from "../../packages/sdk/src/testing/test-peers.ts";
import { closeWebRtc, loadWebRtc } from "../../packages/waybill/src/webrtc.ts";
import { TurnServer } from "../support/turn-server.ts";

const refusal = TurnServer.refusal();
if (refusal !== undefined) console.log(`skipped: ${refusal}`);

describe.skipIf(refusal !== undefined)("peers that may only be relayed", () => {
  let turn: TurnServer;
  beforeAll(async () => {
    turn = await TurnServer.open();
  });
  afterAll(async () => {
    closeWebRtc();
    await turn[Symbol.asyncDispose]();
  });

  it("connect through the server alone, signal nothing but relayed candidates, and meter what they move", async () => {
    const RTCPeerConnection = await loadWebRtc();
    const [one, two] = (await makePeers(2)) as [TestPeer, TestPeer];
    const hub = new MemoryHub();
    hub.icePolicy = "relay";
    hub.iceServers = [turn.serverUntil(Date.now() + 600_000)];
    const all: PeerLinks[] = [];
    try {
      const [a, b] = [one, two].map((peer) => {
        const signaling = hub.join(peer.peerId, "member", peer.shown);
        const links = createPeerLinks({ signaling, keys: peer.keys, RTCPeerConnection });
        links.onProblem((error) => console.error(error));
        all.push(links);
        return links;
      });
      if (a === undefined || b === undefined) throw new Error("two were made");
      const link = a.linkTo(two.peerId);
      const back = b.linkTo(one.peerId);
      for (let i = 0; i < 300 && link.path.kind !== "webrtc"; i++) await sleep(50);
      expect(link.path).toMatchObject({ kind: "webrtc", candidateType: "relay" });

      const id = link.bulk.newStreamId();
      const reading = Array.fromAsync(back.bulk.accept(id));
      const writer = link.bulk.openStream(id);
      const bytes = 2 * 1024 * 1024;
      await writer.write(new Uint8Array(bytes));
      await writer.end();
      expect((await reading).reduce((sum, one_) => sum + one_.length, 0)).toBe(bytes);

      const signaled = hub.passed.flatMap(({ type, data }) => (type === "signal" ? [data] : []));
      const text = JSON.stringify(signaled);
      expect(text).toContain("typ relay");
      expect(text).not.toMatch(/typ (host|srflx|prflx)/);
      expect(text).not.toMatch(/raddr (?!0\.0\.0\.0)/);

      for (const links of all) await links.stop();
      for (let i = 0; i < 100 && hub.usage.length < 2; i++) await sleep(20);
      const of = (peer: TestPeer) => hub.usage.filter(({ from }) => from === peer.peerId);
      const sent = of(one).reduce((sum, { sentBytes }) => Math.max(sum, sentBytes), 0);
      const received = of(two).reduce((sum, { receivedBytes }) => Math.max(sum, receivedBytes), 0);
      expect(sent).toBeGreaterThan(bytes / 2);
      expect(received).toBeGreaterThan(bytes / 2);
    } finally {
      for (const links of all) await links.stop();
    }
  });

  it("replace the connection before its credentials end, with fresh ones, and lose no message", async () => {
    const RTCPeerConnection = await loadWebRtc();
    const [one, two] = (await makePeers(2)) as [TestPeer, TestPeer];
    const hub = new MemoryHub();
    hub.icePolicy = "relay";
    const endsAtMs = Date.now() + 62_000;
    hub.iceServers = [turn.serverUntil(endsAtMs)];
    hub.iceExpiresAt = new Date(endsAtMs).toISOString();
    const all: PeerLinks[] = [];
    const asked: string[] = [];
    try {
      const [a, b] = [one, two].map((peer) => {
        const signaling = hub.join(peer.peerId, "member", peer.shown);
        const iceServers = async () => {
          asked.push(peer.peerId);
          const untilMs = Date.now() + 600_000;
          const expiresAt = new Date(untilMs).toISOString();
          return { iceServers: [turn.serverUntil(untilMs)], expiresAt };
        };
        const links = createPeerLinks({
          signaling,
          keys: peer.keys,
          RTCPeerConnection,
          iceServers,
        });
        all.push(links);
        return links;
      });
      if (a === undefined || b === undefined) throw new Error("two were made");
      const link = a.linkTo(two.peerId);
      while (link.path.kind !== "webrtc") await sleep(20);
      expect(asked).toEqual([]);
      const kinds: string[] = [];
      link.onPath(({ kind }) => kinds.push(kind));
      const heard: string[] = [];
      b.onMessage(({ message }) => {
        if (message.type === "unsubscribe") heard.push(message.id);
      });
      const sent: string[] = [];
      const replacing = () =>
        hub.passed.some(({ data }) => (data as { replaces?: string }).replaces !== undefined);
      // For a while after it, too: the old connection is given up when the new one has taken over.
      for (let after = 0; after < 100; after += replacing() ? 1 : 0) {
        sent.push(`m${sent.length}`);
        link.send({ type: "unsubscribe", id: sent.at(-1) ?? "" });
        await sleep(20);
      }
      while (heard.length < sent.length) await sleep(20);
      expect(heard.toSorted()).toEqual(sent.toSorted());
      expect(new Set(asked)).toEqual(new Set([one.peerId, two.peerId]));
      expect(kinds).not.toContain("relay");
      expect(Date.now()).toBeLessThan(endsAtMs - 30_000);
    } finally {
      for (const links of all) await links.stop();
    }
  });
});
