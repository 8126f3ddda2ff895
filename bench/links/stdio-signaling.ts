// Signaling of a benchmark's peer: lines of JSON on standard input and output, carried by the process that started it.
import { createInterface } from "node:readline";
import type { HubToPeer, PeerId, PeerInfo } from "@waybill/sdk/protocol";
import type { SignalingPort } from "@waybill/sdk/swarm";

type Handler = (message: never) => void;

/** Says who it is, and resolves when the other one is there. */
export async function stdioSignaling(me: PeerInfo): Promise<{
  readonly port: SignalingPort;
  readonly other: PeerId;
}> {
  const handlers = new Map<string, Handler[]>();
  const peers: PeerInfo[] = [];
  const present = Promise.withResolvers<PeerId>();
  const say = (message: unknown) => process.stdout.write(`${JSON.stringify(message)}\n`);
  createInterface({ input: process.stdin }).on("line", (line) => {
    const message = JSON.parse(line) as HubToPeer;
    if (message.type === "presence") {
      peers.push(message.peer);
      present.resolve(message.peer.peerId);
    }
    for (const handler of handlers.get(message.type) ?? []) handler(message as never);
  });
  say({ type: "here", peer: me });
  const other = await present.promise;
  const port: SignalingPort = {
    online: true,
    bufferedBytes: 0,
    welcome: { peerId: me.peerId, peers, iceServers: [] },
    send: say,
    on: (event: string, handler: Handler) => {
      handlers.set(event, [...(handlers.get(event) ?? []), handler]);
      return () => undefined;
    },
  };
  return { port, other };
}
