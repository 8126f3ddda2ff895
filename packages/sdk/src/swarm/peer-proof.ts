// Who is at the other end of a connection (peer-channel.md §4): each description carries a signature, by the key
// its sender's peer id is made of, over the DTLS fingerprint. Whoever carries the description can read it, but
// not put a fingerprint of its own into it.
import { type PeerId, type PeerSignature, WaybillError } from "../protocol/index.ts";
import type { LinkKeysPort } from "./link-keys-port.ts";
import { fingerprintsOf } from "./sdp.ts";

const PROOF_TYP = "waybill-peer+jws";

export type Described = {
  readonly connection: string;
  readonly sdpType: "offer" | "answer";
  readonly from: PeerId;
  readonly to: PeerId;
  readonly sdp: string;
  readonly replaces?: string | undefined;
  readonly bulk?: boolean | undefined;
};

/** Signs a description of ours. */
export async function proveDescription(
  keys: LinkKeysPort,
  described: Described,
): Promise<PeerSignature> {
  return keys.sign(proofPayload(described), PROOF_TYP);
}

/** Throws `unauthorized` unless the description is its sender's own. */
export async function checkDescription(
  keys: LinkKeysPort,
  described: Described & { readonly proof: PeerSignature | undefined },
): Promise<void> {
  const { from, sdpType, proof } = described;
  if (proof === undefined) {
    throw new WaybillError("unauthorized", `the ${sdpType} of peer ${from} has no proof`);
  }
  const payload = proofPayload(described);
  if (await keys.verify({ peer: from, payload, typ: PROOF_TYP, signature: proof })) return;
  throw new WaybillError(
    "unauthorized",
    `the ${sdpType} of peer ${from} is not its own: somebody between has changed it`,
  );
}

/** The bytes that are signed: eight lines, each fingerprint in its own form, sorted. */
function proofPayload(described: Described): Uint8Array {
  const { connection, sdpType, from, to, sdp, replaces = "", bulk = false } = described;
  const fingerprints = fingerprintsOf(sdp);
  if (fingerprints.length === 0) {
    throw new WaybillError("unauthorized", `the ${sdpType} of peer ${from} has no fingerprint`);
  }
  const what = [replaces, bulk ? "bulk" : ""];
  const lines = ["waybill-peer.1", connection, sdpType, from, to, fingerprints.join(","), ...what];
  return new TextEncoder().encode(lines.join("\n"));
}
