// One peer of `bench/peers.ts`: node peer.ts WAY SIDE MIB SECONDS. Sends or takes a stream over Waybill's links, or over
// one data channel of node-datachannel as it is, until everything or the time is over. The taker prints what it found.
import * as native from "node-datachannel";
import { RTCPeerConnection } from "node-datachannel/polyfill";
import { createLinkKeys, generateIdentityKey, loadIdentity } from "@waybill/sdk/hub-client";
import { type Negotiation, PeerId, type PeerInfo, decodeValue } from "@waybill/sdk/protocol";
import { type SignalingPort, createPeerLinks } from "@waybill/sdk/swarm";
import { stdioSignaling } from "./stdio-signaling.ts";

const [way = "", side = "", mib = "0", seconds = "0"] = process.argv.slice(2);
const MIB = 1024 * 1024;
const totalBytes = Number(mib) * MIB;
const endsAt = () => performance.now() + Number(seconds) * 1000;
const STREAM = 1;
/** As Waybill's frames. */
const MESSAGE_BYTES = 64 * 1024;
const HIGH_BYTES = 1024 * 1024;

class Taken {
  bytes = 0;
  #begun = 0;
  readonly #rates: number[] = [];
  #second = 0;
  #rss = 0;

  take(bytes: number): void {
    const now = performance.now();
    if (this.bytes === 0) this.#begun = now;
    this.bytes += bytes;
    const second = Math.floor((now - this.#begun) / 1000);
    this.#rates[second] = (this.#rates[second] ?? 0) + bytes;
    if (second === this.#second) return;
    this.#second = second;
    this.#rss = Math.max(this.#rss, process.memoryUsage().rss);
  }

  tell(connections: number): void {
    const found = {
      type: "found",
      bytes: this.bytes,
      seconds: (performance.now() - this.#begun) / 1000,
      perSecond: Array.from(this.#rates, (one) => one ?? 0),
      rssBytes: Math.max(this.#rss, process.memoryUsage().rss),
      connections,
    };
    process.stdout.write(`${JSON.stringify(found)}\n`);
  }
}

async function ours(
  port: SignalingPort,
  other: PeerId,
  keys: Parameters<typeof createPeerLinks>[0]["keys"],
) {
  const links = createPeerLinks({ signaling: port, keys, RTCPeerConnection });
  links.onProblem((error) => console.error(error));
  const link = links.linkTo(other);
  while (link.path.kind !== "webrtc") await new Promise((resolve) => link.onPath(resolve));
  if (side === "take") {
    const taken = new Taken();
    for await (const bytes of link.bulk.accept(STREAM)) taken.take(bytes.length);
    taken.tell(link.bulk.connections);
    return;
  }
  const writer = link.bulk.openStream(STREAM);
  const chunk = new Uint8Array(MIB).fill(7);
  const until = endsAt();
  for (let sent = 0; sent < totalBytes && performance.now() < until; sent += MIB) {
    await writer.write(chunk);
  }
  await writer.end();
  process.stdout.write(
    `${JSON.stringify({ type: "sent", rssBytes: process.memoryUsage().rss })}\n`,
  );
}

async function bare(port: SignalingPort, other: PeerId) {
  const pc = new native.PeerConnection(side, { iceServers: [] });
  const signal = (data: Negotiation) => port.send({ type: "signal", to: other, data });
  const connection = "bare";
  pc.onLocalDescription((sdp, type) => {
    const sdpType = type === "offer" ? "offer" : "answer";
    signal({ kind: "description", sdpType, sdp, connection });
  });
  pc.onLocalCandidate((candidate, mid) =>
    signal({ kind: "candidate", candidate, mid, connection }),
  );
  port.on("signal", ({ data }) => {
    if (data.kind === "description" && data.sdpType !== "rollback") {
      pc.setRemoteDescription(data.sdp, data.sdpType);
    } else if (data.kind === "candidate") pc.addRemoteCandidate(data.candidate, data.mid ?? "0");
  });
  if (side === "take") {
    const taken = new Taken();
    // A channel that nobody holds is collected, and hears nothing more.
    let held: native.DataChannel | undefined;
    await new Promise<void>((resolve) => {
      pc.onDataChannel((channel) => {
        held = channel;
        channel.onMessage((message) => {
          if (typeof message === "string") resolve();
          else taken.take(message.byteLength);
        });
      });
    });
    taken.tell(held === undefined ? 0 : 1);
    return;
  }
  const channel = pc.createDataChannel("bare", { unordered: true });
  channel.setBufferedAmountLowThreshold(HIGH_BYTES / 4);
  await new Promise<void>((resolve) => channel.onOpen(resolve));
  const chunk = new Uint8Array(MESSAGE_BYTES).fill(7);
  const until = endsAt();
  let low = () => {};
  channel.onBufferedAmountLow(() => low());
  for (let sent = 0; sent < totalBytes && performance.now() < until; sent += chunk.length) {
    if (channel.bufferedAmount() >= HIGH_BYTES) {
      await new Promise<void>((resolve) => (low = resolve));
    }
    channel.sendMessageBinary(chunk);
  }
  // Unordered: the end may overtake nothing that is still buffered here.
  while (channel.bufferedAmount() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  channel.sendMessage("end");
  process.stdout.write(
    `${JSON.stringify({ type: "sent", rssBytes: process.memoryUsage().rss })}\n`,
  );
}

const identity = await loadIdentity(await generateIdentityKey());
const keys = await createLinkKeys(identity);
const { publicKey, thumbprint } = identity;
const id = `p_${thumbprint.slice(0, 16).replaceAll("_", "-")}_${side}`;
const me: PeerInfo = {
  peerId: decodeValue(PeerId, id, "peer id"),
  name: side,
  role: "member",
  joinedAt: new Date().toISOString(),
  publicKey,
  agreement: keys.agreement,
};
const { port, other } = await stdioSignaling(me);
await (way === "ours" ? ours(port, other, keys) : bare(port, other));
