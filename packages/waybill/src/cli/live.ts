// A live line into a room: the signaling session and the peer links on top of it, opened for one command.
import { hostname, userInfo } from "node:os";
import {
  type HubClient,
  type SignalingSession,
  createLinkKeys,
  createSession,
} from "@waybill/sdk/hub-client";
import { type RoomId, WaybillError, cryptoRandom, randomText } from "@waybill/sdk/protocol";
import { type PeerLinks, createPeerLinks } from "@waybill/sdk/swarm";
import { closeWebRtc, loadWebRtc } from "../webrtc.ts";
import type { Context } from "./context.ts";

export type LiveRoom = {
  readonly session: SignalingSession;
  readonly links: PeerLinks;
  /** Whether links can have a direct channel, and with it bulk streams. */
  readonly carriesBulk: boolean;
};

/** How this machine's user appears to the others. */
export function personName(): string {
  try {
    return `${userInfo().username}@${hostname()}`.slice(0, 64);
  } catch {
    // A container may have a user id without a name.
    return hostname().slice(0, 64);
  }
}

/** Connects in the background; `WAYBILL_WEBRTC=0` keeps everything on the hub's relay. */
export async function openLive(
  context: Context,
  room: RoomId,
  hub: HubClient,
): Promise<LiveRoom & AsyncDisposable> {
  if (hub.credential === undefined) {
    throw new WaybillError("unauthorized", `no token for room ${room}`);
  }
  const keys = await createLinkKeys(hub.credential.identity);
  const session = createSession({
    hub,
    room,
    name: personName(),
    instance: randomText(8, cryptoRandom),
    agreement: keys.agreement,
  });
  const RTCPeerConnection = context.webrtc ? await loadWebRtc() : undefined;
  const links = createPeerLinks({
    signaling: session,
    keys,
    RTCPeerConnection,
    iceServers: () => hub.call("iceServers", { params: { room } }),
  });
  session.start();
  return {
    session,
    links,
    carriesBulk: RTCPeerConnection !== undefined,
    [Symbol.asyncDispose]: async () => {
      await links.stop();
      await session.stop();
      closeWebRtc();
    },
  };
}
