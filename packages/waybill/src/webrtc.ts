// WebRTC for Node: node-datachannel's W3C layer, when its native addon loads on this machine.
// An open peer connection keeps the process alive, so whoever opens some must close them (`PeerLinks.stop`).
import type { PeerConnectionConfig, PeerConnectionConstructor } from "@waybill/sdk/swarm";
import { messageOf } from "@waybill/sdk/protocol";

let loading: Promise<PeerConnectionConstructor | undefined> | undefined;
let reason: string | undefined;
let cleanup: (() => void) | undefined;

/**
 * The peer connection class, or undefined where the addon does not load (then everything goes through the
 * hub's relay); `webRtcProblem()` says why. Loads once.
 */
export async function loadWebRtc(): Promise<PeerConnectionConstructor | undefined> {
  loading ??= load();
  return loading;
}

/** Why `loadWebRtc` gave undefined. */
export function webRtcProblem(): string | undefined {
  return reason;
}

/**
 * Ends the addon's threads; for the very end of a process, after all links were stopped. Idempotent. Loading again
 * afterwards is possible.
 */
export function closeWebRtc(): void {
  cleanup?.();
  cleanup = undefined;
  loading = undefined;
}

async function load(): Promise<PeerConnectionConstructor | undefined> {
  try {
    const [native, { RTCPeerConnection }] = await Promise.all([
      import("node-datachannel"),
      import("node-datachannel/polyfill"),
    ]);
    cleanup = () => native.cleanup();
    return class extends RTCPeerConnection {
      constructor(config: PeerConnectionConfig) {
        const { iceServers = [], ...rest } = config;
        super({ ...rest, iceServers: iceServers.map(inUrl) });
      }
    };
  } catch (error) {
    reason = `WebRTC is not available on this machine: ${messageOf(error)}`;
    return undefined;
  }
}

/** The W3C layer puts these into a URL as they are, and TURN's time-limited names contain a colon. */
function inUrl(server: RTCIceServer): RTCIceServer {
  const { username, credential } = server;
  if (username === undefined || credential === undefined) return server;
  return {
    ...server,
    username: encodeURIComponent(username),
    credential: encodeURIComponent(credential),
  };
}
