// The little of SDP (RFC 8839, RFC 8122) that links look at: fingerprints, and addresses, which must not leave a peer
// whose policy is `relay`.
import type { IcePolicy } from "../protocol/index.ts";

export type CandidateType = "host" | "srflx" | "prflx" | "relay";

/** RFC 8841 §6.1: without the attribute a peer takes messages of 64 KiB. */
const DEFAULT_MESSAGE_BYTES = 64 * 1024;

/** `algorithm HEX`, each once, sorted: algorithm in lower case, digits in upper case. */
export function fingerprintsOf(sdp: string): string[] {
  const found = [...sdp.matchAll(/^a=fingerprint:(\S+) +(\S+)\s*$/gm)].map(
    ([, algorithm = "", digits = ""]) => `${algorithm.toLowerCase()} ${digits.toUpperCase()}`,
  );
  return [...new Set(found)].sort();
}

/** Largest message the SDP's sender takes; 0 means any (RFC 8841 §6). */
export function maxMessageBytes(sdp: string): number {
  const value = /^a=max-message-size:(\d+)\s*$/m.exec(sdp)?.[1];
  if (value === undefined) return DEFAULT_MESSAGE_BYTES;
  return Number(value) === 0 ? Number.POSITIVE_INFINITY : Number(value);
}

/** Type of a candidate line, with or without the `a=` that node-datachannel prints. */
function candidateTypeOf(candidate: string): CandidateType | undefined {
  return / typ (host|srflx|prflx|relay)(?: |$)/.exec(candidate.trim())?.[1] as
    | CandidateType
    | undefined;
}

/**
 * A candidate as it may cross between peers: without `a=`, and under `relay` only relayed ones, which keep their own
 * address but not the one they were mapped from (`raddr`, `rport`).
 */
export function allowedCandidate(candidate: string, policy: IcePolicy): string | undefined {
  const text = candidate.startsWith("a=") ? candidate.slice(2) : candidate;
  if (policy === "all") return text;
  if (candidateTypeOf(text) !== "relay") return undefined;
  return text.replace(/ raddr \S+/, " raddr 0.0.0.0").replace(/ rport \S+/, " rport 9");
}

/** A description without its candidates, and those, which are then given one by one. */
export function withoutCandidates(sdp: string): {
  readonly sdp: string;
  readonly candidates: readonly string[];
} {
  const lines = sdp.split(/\r?\n/);
  const isCandidate = (line: string) => line.startsWith("a=candidate:");
  return {
    sdp: lines.filter((line) => !isCandidate(line)).join("\r\n"),
    candidates: lines.filter(isCandidate).map((line) => line.slice(2)),
  };
}

/** A description as it may cross between peers: under `relay` it names no address but relayed candidates'. */
export function allowedSdp(sdp: string, policy: IcePolicy): string {
  if (policy === "all") return sdp;
  return sdp
    .split(/\r?\n/)
    .flatMap((line) => {
      if (line.startsWith("a=candidate:")) {
        const kept = allowedCandidate(line, policy);
        return kept === undefined ? [] : [`a=${kept}`];
      }
      if (line.startsWith("c=")) return ["c=IN IP4 0.0.0.0"];
      if (line.startsWith("a=rtcp:")) return [];
      // RFC 8866 §5.2 asks for an address; a fixed one tells nothing.
      if (line.startsWith("o=")) return [line.replace(/ IN IP[46] \S+$/, " IN IP4 127.0.0.1")];
      return [line.replace(/^(m=application) \d+ /, "$1 9 ")];
    })
    .join("\r\n");
}
