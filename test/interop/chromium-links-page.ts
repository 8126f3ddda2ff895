// What the page of chromium-links.test.ts runs: one end of a link in the browser, its findings on `window`.
import type { PeerId } from "@waybill/sdk/protocol";
import type { LinkPath } from "@waybill/sdk/swarm";
import { type EndInit, converse, openEnd, pathOf, stream } from "./link-exchange.ts";

export type LinksTask = EndInit & {
  readonly peer: PeerId;
  /** Over WebRTC with bulk, or over the hub's relay alone. */
  readonly kind: LinkPath["kind"];
};
export type LinksReport = {
  self: string;
  came: string[];
  digest: string;
  path: LinkPath | undefined;
  signaled: unknown[];
  problems: string[];
  error: string;
  done: boolean;
};

const report: LinksReport = {
  self: "",
  came: [],
  digest: "",
  path: undefined,
  signaled: [],
  problems: [],
  error: "",
  done: false,
};
Object.assign(globalThis, { report });

async function run({ peer, kind, ...init }: LinksTask): Promise<void> {
  const end = await openEnd(init, kind === "webrtc" ? RTCPeerConnection : undefined);
  report.self = end.peerId;
  report.signaled = end.signaled;
  report.problems = end.problems;
  const link = end.links.linkTo(peer);
  await pathOf(link, kind);
  report.came = await converse(link);
  if (kind === "webrtc") report.digest = await stream(link, end.peerId);
  report.path = link.path;
  // The other end may still read.
  Object.assign(globalThis, { finish: () => end.stop() });
  report.done = true;
}

run(JSON.parse(decodeURIComponent(location.hash.slice(1))) as LinksTask).catch((error: unknown) => {
  report.error = String(error);
});
