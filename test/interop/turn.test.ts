// Relay-only peers over a real TURN server (coturn), in Node.
import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PeerLinks, createPeerLinks } from "@waybill/sdk/swarm";
import { MemoryHub } from "../../packages/sdk/src/swarm/memory-signaling.ts";
import { type TestPeer, makePeers } from "../../packages/sdk/src/testing/test-peers.ts";
import { closeWebRtc, loadWebRtc } from "../../packages/waybill/src/webrtc.ts";

const found = (process.env["PATH"] ?? "")
  .split(path.delimiter)
  .some((folder) => existsSync(path.join(folder, "turnserver")));
if (!found) console.log("skipped: tests over TURN need turnserver (apt-get install coturn)");

const SECRET = "of this test alone";

/** TURN REST: the name says until when, its HMAC is the password. */
function credentials(): { username: string; credential: string } {
  const username = `${Math.floor(Date.now() / 1000) + 600}:test`;
  const credential = createHmac("sha1", SECRET).update(username).digest("base64");
  return { username, credential };
}

async function freePort(): Promise<number> {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  return port;
}

describe.skipIf(!found)("peers that may only be relayed", () => {
  let turn: ChildProcess;
  let port: number;
  let folder: string;
  beforeAll(async () => {
    port = await freePort();
    folder = await mkdtemp(path.join(tmpdir(), "waybill-turn-"));
    const flags = [
      "-n",
      "--listening-ip=127.0.0.1",
      `--listening-port=${port}`,
      // Another address than the peers', or they could reach each other's relayed ports without their own.
      "--relay-ip=127.0.0.2",
      "--use-auth-secret",
      `--static-auth-secret=${SECRET}`,
      "--realm=waybill.test",
      "--allow-loopback-peers",
      "--no-cli",
      "--no-tls",
      "--no-dtls",
      "--log-file=stdout",
      "--simple-log",
      "--pidfile=/dev/null",
      `--userdb=${path.join(folder, "none")}`,
    ];
    turn = spawn("turnserver", flags, { stdio: ["ignore", "pipe", "inherit"] });
    turn.stdout?.resume();
    await sleep(1000);
  });
  afterAll(async () => {
    turn.kill("SIGKILL");
    closeWebRtc();
    await rm(folder, { recursive: true, force: true });
  });

  it("connect through the server alone, signal nothing but relayed candidates, and meter what they move", async () => {
    const RTCPeerConnection = await loadWebRtc();
    const [one, two] = (await makePeers(2)) as [TestPeer, TestPeer];
    const hub = new MemoryHub();
    hub.icePolicy = "relay";
    hub.iceServers = [{ urls: [`turn:127.0.0.1:${port}`], ...credentials() }];
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
});
