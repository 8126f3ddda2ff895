// What `waybill verify` found: one verdict, everything that speaks against it, and who vouches for what.
import type { ArtifactRecord } from "@waybill/sdk/protocol";
import type { ReceiptVerdict, SignerFacts, TreeComparison } from "@waybill/sdk/receipt";
import type { HubTrust } from "../receipt-trust.ts";
import { formatBytes, formatTime } from "./format.ts";
import type { Output } from "./output.ts";
import { plural } from "./progress-lines.ts";

export type Verification = {
  readonly path: string;
  /** The hub's signature is wanted, by a known key. */
  readonly strict: boolean;
  /** What the room holds, when it was asked. */
  readonly record?: ArtifactRecord;
  readonly receipt?: {
    readonly file: string;
    readonly verdict: ReceiptVerdict;
    readonly trust: HubTrust;
  };
  /** Absent when there was nothing to trust to compare with. */
  readonly comparison?: TreeComparison;
};

/** `differs` is about the bytes, `not genuine` about the receipt, which then says nothing of the bytes. */
export type Verdict = "ok" | "differs" | "not genuine";

/** Differences that are named; the rest is counted. */
const MAX_NAMED = 20;

/** The verdict alone. */
export function verdictOf({ receipt, comparison, strict }: Verification): Verdict {
  const state = receipt?.trust.state;
  if ((receipt?.verdict.faults.length ?? 0) > 0 || state === "foreign") return "not genuine";
  if (strict && receipt !== undefined && state !== "known") return "not genuine";
  return comparison?.differences.length === 0 ? "ok" : "differs";
}

/** Prints everything, as one JSON line or as text; gives the verdict. */
export function printVerification(output: Output, verification: Verification): Verdict {
  const verdict = verdictOf(verification);
  output.record(verificationRecord(verification, verdict));
  for (const line of verificationLines(verification, verdict)) output.line(line);
  for (const warning of verification.comparison?.warnings ?? []) output.note(`note: ${warning}`);
  return verdict;
}

function verificationRecord(
  { path, record, receipt, comparison }: Verification,
  verdict: Verdict,
): object {
  const payload = receipt?.verdict.payload;
  const { artifact, name, files, bytes } = record ?? payload ?? {};
  const differences = comparison?.differences ?? [];
  return {
    type: "verify",
    ok: verdict === "ok",
    verdict: verdict.replace(" ", "_"),
    path,
    artifact,
    name,
    files,
    bytes,
    differences: differences.slice(0, MAX_NAMED),
    differenceCount: differences.length,
    ...(receipt === undefined ? {} : { receipt: receiptRecord(receipt) }),
  };
}

function receiptRecord({ file, verdict, trust }: NonNullable<Verification["receipt"]>): object {
  const { payload, signers, faults } = verdict;
  return {
    file,
    faults,
    ...(payload === undefined
      ? {}
      : {
          direction: payload.direction,
          hub: payload.hub,
          room: payload.room,
          startedAt: payload.startedAt,
          endedAt: payload.endedAt,
        }),
    signatures: signers.map((signer) => ({
      by: signer.by,
      thumbprint: signer.kid,
      ok: signer.ok,
      ...(signer.by === "hub"
        ? { signedAt: timeOf(signer.iat), role: signer.role, subject: signer.sub }
        : {}),
    })),
    hubKey: trust,
  };
}

function* verificationLines(verification: Verification, verdict: Verdict): Generator<string> {
  const { path, record, receipt, comparison } = verification;
  const known = record ?? receipt?.verdict.payload;
  const what = known === undefined ? "" : `${known.name} ${known.artifact.slice(0, 8)}`;
  switch (verdict) {
    case "ok":
      yield `ok: ${path} is ${what} (${plural(known?.files ?? 0, "file", "files")}, ${formatBytes(known?.bytes ?? 0)}, every byte checked)`;
      break;
    case "differs":
      yield `NOT ok: ${path} is not ${what}: ${plural(comparison?.differences.length ?? 0, "difference", "differences")}`;
      break;
    case "not genuine":
      yield `NOT ok: the receipt ${receipt?.file ?? ""} proves nothing`;
      break;
  }
  const differences = comparison?.differences ?? [];
  for (const { kind, path: name, detail } of differences.slice(0, MAX_NAMED)) {
    yield `  ${kind.padEnd(7)}  ${name}${detail === undefined ? "" : ` (${detail})`}`;
  }
  if (differences.length > MAX_NAMED) yield `  … and ${differences.length - MAX_NAMED} more`;
  if (receipt !== undefined) yield* receiptLines(receipt);
}

function* receiptLines({
  verdict: { payload, faults, signers },
  trust,
}: NonNullable<Verification["receipt"]>): Generator<string> {
  for (const fault of faults) yield `  wrong    ${fault}`;
  if (payload !== undefined && faults.length === 0) {
    const way = payload.direction === "push" ? "pushed to" : "pulled from";
    yield `receipt: ${way} room ${payload.room} of ${payload.hub}, ${formatTime(payload.endedAt)} UTC`;
  }
  for (const signer of signers) {
    if (signer.ok) yield signerLine(signer);
  }
  if (faults.length === 0) yield `  ${trustText(trust)}`;
}

function signerLine(signer: SignerFacts): string {
  if (signer.by === "client") return `  client   signed with key ${signer.kid}`;
  const asked = signer.sub === "owner" ? "the owner" : `a ${signer.role}, key ${signer.sub}`;
  return `  hub      signed with key ${signer.kid}, ${formatTime(timeOf(signer.iat))} UTC, asked by ${asked}`;
}

function trustText(trust: HubTrust): string {
  switch (trust.state) {
    case "known":
      return `hub key  is one of ${trust.hub}`;
    case "foreign":
      return `hub key  is NOT one of ${trust.hub}`;
    case "unchecked":
      return `hub key  not checked: ${trust.why}`;
    case "unsigned":
      return "hub      has not signed: the client's word alone";
  }
}

function timeOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
