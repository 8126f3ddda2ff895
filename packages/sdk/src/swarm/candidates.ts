// Candidates of one connection on their way: ours wait until our description is under way, the peer's until they can
// be used, and those that the policy does not allow go neither way (peer-channel.md §4, §8).
import type { IcePolicy, Negotiation } from "../protocol/index.ts";
import { allowedCandidate } from "./sdp.ts";

export type Candidate = Extract<Negotiation, { kind: "candidate" }>;

/** More than any host has; a peer that trickles on for ever is not collected. */
const MAX_CANDIDATES = 128;

export class CandidateGate {
  readonly #policy: IcePolicy;
  readonly #pass: (candidate: Candidate) => void;
  #held: Candidate[] | undefined = [];

  constructor(policy: IcePolicy, pass: (candidate: Candidate) => void) {
    this.#policy = policy;
    this.#pass = pass;
  }

  /** Passes a candidate on, now or when the gate opens, if the policy allows it. */
  take(candidate: Candidate): void {
    const text = allowedCandidate(candidate.candidate, this.#policy);
    if (text === undefined || text === "") return;
    const allowed = { ...candidate, candidate: text };
    if (this.#held === undefined) this.#pass(allowed);
    else if (this.#held.length < MAX_CANDIDATES) this.#held.push(allowed);
  }

  open(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const candidate of held) this.#pass(candidate);
  }
}
