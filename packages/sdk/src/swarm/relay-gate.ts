// Which relayed candidates of a peer may be used where the WebRTC stack does not keep to a policy of `relay` itself
// (peer-channel.md 41.1): it checks every candidate from its own sockets, so whoever calls an address relayed would
// learn this machine's. Addresses of our TURN servers learn nothing new.
import type { IceServer } from "../protocol/index.ts";
import type { Candidate } from "./candidates.ts";
import { allowedCandidate } from "./sdp.ts";

/** As `candidates.ts` holds. */
const MAX_HELD = 128;

export class RelayGate {
  readonly #known: Set<string>;
  readonly #pass: (candidate: Candidate) => void;
  #held: Candidate[] = [];

  constructor(servers: readonly IceServer[], pass: (candidate: Candidate) => void) {
    this.#known = new Set(servers.flatMap(({ urls }) => urls.flatMap(addressOfServer)));
    this.#pass = pass;
  }

  /** A candidate of our own; of a relayed one, our TURN server has given the address. */
  learn(ours: string): void {
    const address = addressOf(ours);
    if (address === undefined || allowedCandidate(ours, "relay") === undefined) return;
    this.#known.add(address);
    for (const theirs of this.#held.splice(0)) this.take(theirs);
  }

  /** Passes a candidate of the peer on, now or when our TURN server turns out to have such an address. */
  take(theirs: Candidate): void {
    if (this.#known.has(addressOf(theirs.candidate) ?? "")) this.#pass(theirs);
    else if (this.#held.length < MAX_HELD) this.#held.push(theirs);
  }
}

/** RFC 8839 §5.1: foundation, component, transport, priority, address. */
function addressOf(candidate: string): string | undefined {
  return /^(?:a=)?candidate:(?:\S+ +){4}(\S+)/.exec(candidate)?.[1]?.toLowerCase();
}

/** The address in a TURN server's URL (RFC 7065); none of one that is named. */
function addressOfServer(url: string): string[] {
  const found = /^turns?:(?:\[([0-9a-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?:[:?]|$)/i.exec(url);
  const address = found?.[1] ?? found?.[2];
  return address === undefined ? [] : [address.toLowerCase()];
}
