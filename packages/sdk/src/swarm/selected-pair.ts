// The candidate pair a connection uses, as its statistics tell (W3C WebRTC statistics; node-datachannel has the same fields).
import type { CandidateType } from "./sdp.ts";

export type SelectedPair = {
  readonly local: CandidateType | undefined;
  readonly remote: CandidateType | undefined;
  /** Since the connection began; what each end's stack counts. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
};

type Stats = {
  readonly id?: string;
  readonly type: string;
  readonly state?: string;
  readonly nominated?: boolean;
  readonly localCandidateId?: string;
  readonly remoteCandidateId?: string;
  readonly candidateType?: CandidateType;
  readonly bytesSent?: number;
  readonly bytesReceived?: number;
  readonly selectedCandidatePairId?: string;
};

/** Undefined while there is none. */
export async function readSelectedPair(
  pc: Pick<RTCPeerConnection, "getStats">,
): Promise<SelectedPair | undefined> {
  const report = new Map<string, Stats>();
  (await pc.getStats()).forEach((value: Stats, key: string) => report.set(key, value));
  const all = [...report.values()];
  const selected = all.find(({ selectedCandidatePairId }) => selectedCandidatePairId !== undefined);
  const pairs = all.filter(({ type, state }) => type === "candidate-pair" && state === "succeeded");
  const pair =
    report.get(selected?.selectedCandidatePairId ?? "") ??
    pairs.find(({ nominated }) => nominated === true) ??
    pairs[0];
  if (pair === undefined) return undefined;
  return {
    local: report.get(pair.localCandidateId ?? "")?.candidateType,
    remote: report.get(pair.remoteCandidateId ?? "")?.candidateType,
    sentBytes: whole(pair.bytesSent),
    receivedBytes: whole(pair.bytesReceived),
  };
}

/** Whether either end goes through a TURN server. */
export function isRelayed(pair: SelectedPair | undefined): boolean {
  return pair?.local === "relay" || pair?.remote === "relay";
}

/** `relay` when either end of the pair is relayed, else how our own end was found (peer-channel.md §4). */
export function pathTypeOf(pair: SelectedPair | undefined): CandidateType | undefined {
  return isRelayed(pair) ? "relay" : pair?.local;
}

function whole(bytes: number | undefined): number {
  return Math.max(0, Math.round(bytes ?? 0));
}
