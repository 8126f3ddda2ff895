// What the two ends of a link do to each other in tests of real browsers: messages that are answered, and a stream of
// bytes each way. Runs in Node and in a page.
import {
  HubClient,
  createLinkKeys,
  createSession,
  generateIdentityKey,
  loadIdentity,
} from "@waybill/sdk/hub-client";
import {
  type IcePolicy,
  type PeerId,
  type RoomId,
  cryptoRandom,
  randomText,
} from "@waybill/sdk/protocol";
import {
  type ControlLink,
  type HeldLink,
  type LinkPath,
  type PeerConnectionConstructor,
  createPeerLinks,
} from "@waybill/sdk/swarm";

export const MESSAGES = 200;
export const BULK_BYTES = 3 * 1024 * 1024 + 17;

export type EndInit = {
  readonly hub: string;
  readonly room: RoomId;
  readonly token: string;
  readonly name: string;
  readonly icePolicy: IcePolicy;
};

/** Joins the room. */
export async function openEnd(
  init: EndInit,
  RTCPeerConnection: PeerConnectionConstructor | undefined,
) {
  const { room, name, token, icePolicy } = init;
  const identity = await loadIdentity(await generateIdentityKey());
  const keys = await createLinkKeys(identity);
  const hub = new HubClient({ url: init.hub, credential: { token, identity } });
  const instance = randomText(8, cryptoRandom);
  const session = createSession({ hub, room, name, instance, agreement: keys.agreement });
  const signaling = session;
  const iceServers = () => hub.call("iceServers", { params: { room } });
  const links = createPeerLinks({ signaling, keys, RTCPeerConnection, icePolicy, iceServers });
  const problems: string[] = [];
  links.onProblem((error) => problems.push(error.message));
  /** Negotiation that came from the other end. */
  const signaled: unknown[] = [];
  session.on("signal", ({ data }) => signaled.push(data));
  session.start();
  const { peerId } = await session.waitUntilOpen();
  const stop = async () => {
    await links.stop();
    await session.stop();
  };
  return { peerId, links, problems, signaled, stop };
}

/** Answers each message with itself. */
export function answer(links: Awaited<ReturnType<typeof openEnd>>["links"]): void {
  links.onMessage(({ message, link }) => link.send(message));
}

/** Sends messages and waits for their answers; the ids that came, in order. */
export async function converse(link: ControlLink): Promise<string[]> {
  const came: string[] = [];
  const all = Promise.withResolvers<void>();
  link.onMessage((message) => {
    if (message.type !== "unsubscribe") return;
    came.push(message.id);
    if (came.length === MESSAGES) all.resolve();
  });
  for (let i = 0; i < MESSAGES; i++) link.send({ type: "unsubscribe", id: `m${i}` });
  await all.promise;
  return came;
}

/** Waits until the link has a path of this kind. */
export async function pathOf(link: HeldLink, kind: LinkPath["kind"]): Promise<LinkPath> {
  while (link.path.kind !== kind) await new Promise((resolve) => setTimeout(resolve, 20));
  return link.path;
}

/** Streams bytes there and reads what comes; its digest. Once for two processes: the ids are agreed beforehand. */
export async function stream(link: HeldLink, self: PeerId): Promise<string> {
  const [even, odd] = [2 ** 20, 2 ** 20 + 1];
  const [own, other] = self < link.peerId ? [even, odd] : [odd, even];
  const reading = Array.fromAsync(link.bulk.accept(other), (piece) => piece.slice());
  const writer = link.bulk.openStream(own);
  const bytes = bytesOf(self);
  for (let at = 0; at < bytes.length; at += 500_000) {
    await writer.write(bytes.subarray(at, at + 500_000));
  }
  await writer.end();
  return digest(await new Blob(await reading).bytes());
}

/** Digest of what a peer streams. */
export function digestOf(peer: PeerId): Promise<string> {
  return digest(bytesOf(peer));
}

function bytesOf(peer: PeerId): Uint8Array<ArrayBuffer> {
  const seed = peer.charCodeAt(3) + peer.charCodeAt(5) * 7;
  return Uint8Array.from({ length: BULK_BYTES }, (_, i) => (i * seed + (i >> 9)) & 255);
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
