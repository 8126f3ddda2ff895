// Issuing a receipt after a transfer: the client signs, and the hub countersigns when it can be asked.
import type { HubClient, Identity } from "../hub-client/index.ts";
import {
  type ArtifactManifest,
  type ReceiptPayload,
  ReceiptPayload as PayloadSchema,
  type ReceiptSignature,
  WaybillError,
  decodeValue,
  messageOf,
} from "../protocol/index.ts";
import type { Receipt } from "./receipt.ts";
import { checkSignature, encodePayload, signAsClient } from "./signature.ts";

/** What a push or pull knows of itself. */
export type TransferFacts = {
  readonly direction: "push" | "pull";
  readonly hub: string;
  readonly room: string;
  readonly artifact: string;
  readonly name: string;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly sentBytes?: number;
  readonly receivedBytes?: number;
  /** Bytes by reason; zeros are left out. */
  readonly saved?: Readonly<Record<string, number>>;
  /** Bytes by kind of source; zeros are left out. */
  readonly sources?: Readonly<Record<string, number>>;
};

export type IssueOptions = {
  readonly identity: Identity;
  readonly hub: Pick<HubClient, "call">;
  readonly signal?: AbortSignal | undefined;
  /** How long the hub may be away before the receipt goes without its signature. Default 10 s. */
  readonly retryForMs?: number;
};

export type IssuedReceipt = Receipt & {
  readonly payload: ReceiptPayload;
  /** Why the hub did not sign; absent when it did. */
  readonly unsigned?: string;
};

const DEFAULT_RETRY_MS = 10_000;

/**
 * Makes the receipt of a finished transfer. Never fails for the hub's sake: whatever it answers, the client's
 * signature stands. Throws `invalid_request` when the facts are none, and the signal's reason.
 */
export async function issueReceipt(
  facts: TransferFacts,
  manifest: ArtifactManifest,
  options: IssueOptions,
): Promise<IssuedReceipt> {
  const payload = payloadOf(facts, manifest);
  const encoded = encodePayload(payload);
  const own = await signAsClient(encoded, options.identity);
  const base = { payload, manifest };
  try {
    const signature = await countersign(payload, encoded, own, options);
    return { ...base, jws: { payload: encoded, signatures: [own, signature] } };
  } catch (error) {
    if (!(error instanceof WaybillError)) throw error;
    return { ...base, jws: { payload: encoded, signatures: [own] }, unsigned: messageOf(error) };
  }
}

function payloadOf(facts: TransferFacts, manifest: ArtifactManifest): ReceiptPayload {
  const { startedMs, endedMs, saved = {}, sources, ...rest } = facts;
  const bytes = manifest.files.reduce((sum, file) => sum + file.size, 0);
  const payload = {
    type: "waybill-receipt",
    version: 1,
    ...rest,
    files: manifest.files.length,
    bytes,
    startedAt: new Date(Math.min(startedMs, endedMs)).toISOString(),
    endedAt: new Date(endedMs).toISOString(),
    saved: nonZero(saved),
    ...(sources === undefined ? {} : { sources: nonZero(sources) }),
  };
  return decodeValue(PayloadSchema, payload, "the receipt");
}

function nonZero(table: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(table).filter(([, bytes]) => bytes > 0));
}

async function countersign(
  { room }: ReceiptPayload,
  payload: string,
  own: ReceiptSignature,
  { hub, signal, retryForMs = DEFAULT_RETRY_MS }: IssueOptions,
): Promise<ReceiptSignature> {
  const body = { payload, signatures: [own] };
  const options = { signal, retryForMs };
  const { signature } = await hub.call("signReceipt", { params: { room }, body }, options);
  const { header, fault } = await checkSignature(payload, signature);
  if (fault === undefined && header.by === "hub") return signature;
  throw new WaybillError("internal", `the hub's signature is wrong: ${fault ?? "it is no hub's"}`);
}
