// A receipt as a file: written piece by piece (its manifest may have 30 MB), read whole, and judged without any
// trust in what it says (docs/protocol/receipt.md §1, §6).
import * as v from "valibot";
import { artifactId, canonicalPieces, checkManifest } from "../artifact/index.ts";
import {
  ArtifactFile,
  type ArtifactManifest,
  ArtifactManifest as ManifestSchema,
  LIMITS,
  ReceiptJws,
  type ReceiptPayload,
  WaybillError,
  decodeJson,
  decodeValue,
  messageOf,
} from "../protocol/index.ts";
import { type CheckedSignature, checkSignature, decodePayload } from "./signature.ts";

/** A signed receipt and the manifest of the artifact it is about. */
export type Receipt = { readonly jws: ReceiptJws; readonly manifest: ArtifactManifest };

/** The manifest's bound and room for the signed part. */
const MAX_RECEIPT_BYTES = LIMITS.manifestBytes + LIMITS.httpBodyBytes;

const { path, size, executable, shards } = ArtifactFile.entries;
const { format, shardBytes } = ManifestSchema.entries;

/** Of the manifest only what its id is made of: nothing else is signed. */
const SignedManifest = v.object({
  format,
  shardBytes,
  files: v.array(v.object({ path, size, executable, shards })),
});

/** Any JSON object with a JWS and a manifest; what they hold is judged later. */
const Envelope = v.object({
  payload: v.string(),
  signatures: v.array(v.unknown()),
  manifest: v.unknown(),
});

/** The file's bytes, in pieces. */
export function* receiptPieces({ jws, manifest }: Receipt): Generator<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  const { payload, signatures } = jws;
  const head = `{"payload":${JSON.stringify(payload)},\n"signatures":${JSON.stringify(signatures)},\n`;
  yield encoder.encode(`${head}"manifest":`);
  yield* canonicalPieces(manifest);
  yield encoder.encode("}\n");
}

/** Who signed, and whether the signature is right. */
export type SignerFacts = CheckedSignature["header"] & { readonly ok: boolean };

/** What a receipt is worth. `faults` is empty when it is genuine; otherwise nothing it says counts. */
export type ReceiptVerdict = {
  readonly faults: readonly string[];
  /** Absent when it cannot be read. */
  readonly payload?: ReceiptPayload;
  readonly manifest?: ArtifactManifest;
  /** The client's signature, then the hub's if there is one. */
  readonly signers: readonly SignerFacts[];
};

/**
 * Judges a receipt's text by itself: signatures against the keys it carries, manifest against the signed id.
 * Whether the hub's key is a known hub's is the caller's to ask. Throws `invalid_request` or `too_large` when
 * the text is no receipt at all; what is damaged or altered is among the faults.
 */
export async function judgeReceipt(text: string, what = "the receipt"): Promise<ReceiptVerdict> {
  const envelope = decodeJson(Envelope, text, what, MAX_RECEIPT_BYTES);
  const judge = new Judge();
  const jws = await judge.hold("signed part", () => decodeValue(ReceiptJws, envelope, "it"));
  if (jws === undefined) return { faults: judge.faults, signers: [] };
  const signers = await judgeSigners(judge, jws);
  const payload = await judge.hold("payload", () => decodePayload(jws.payload));
  const manifest = await judge.hold("manifest", () =>
    restoreManifest(envelope.manifest, payload?.name),
  );
  if (payload !== undefined && manifest !== undefined) {
    const bytes = manifest.files.reduce((sum, file) => sum + file.size, 0);
    if (artifactId(manifest) !== payload.artifact) {
      judge.faults.push("its manifest is not that of the artifact it names");
    } else if (manifest.files.length !== payload.files || bytes !== payload.bytes) {
      judge.faults.push("its manifest has other numbers than it says");
    }
  }
  return {
    faults: judge.faults,
    signers,
    ...(payload === undefined ? {} : { payload }),
    ...(manifest === undefined ? {} : { manifest }),
  };
}

async function judgeSigners(judge: Judge, { payload, signatures }: ReceiptJws) {
  const signers: SignerFacts[] = [];
  for (const [at, signature] of signatures.entries()) {
    const by = at === 0 ? "client" : "hub";
    const checked = await judge.hold(`${by}'s signature`, () => checkSignature(payload, signature));
    if (checked === undefined) continue;
    const { header, fault } = checked;
    const wrong = header.by === by ? fault : `it is made as the ${header.by}'s`;
    if (wrong !== undefined) judge.faults.push(`the ${by}'s signature is wrong: ${wrong}`);
    signers.push({ ...header, ok: wrong === undefined });
  }
  return signers;
}

/** Collects what is wrong instead of stopping at it. */
class Judge {
  readonly faults: string[] = [];

  async hold<T>(what: string, read: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof WaybillError)) throw error;
      this.faults.push(`its ${what} cannot be read: ${messageOf(error)}`);
      return undefined;
    }
  }
}

/** The manifest's own members that are not signed (name, layout) are filled in; they mean nothing here. */
function restoreManifest(value: unknown, name = "unknown"): ArtifactManifest {
  const signed = decodeValue(SignedManifest, value, "the manifest");
  const manifest = decodeValue(ManifestSchema, { ...signed, name, layout: "packed" }, "it");
  checkManifest(manifest);
  return manifest;
}
