// The manifest of an artifact that a room holds, read from the store and checked against its id.
import { decodeManifest } from "../artifact/index.ts";
import type { HubClient } from "../hub-client/index.ts";
import { type ByteTransport, createByteTransport } from "../platform/index.ts";
import {
  type ArtifactManifest,
  type ArtifactRecord,
  LIMITS,
  MANIFEST_KEY,
  type RoomId,
  WaybillError,
} from "../protocol/index.ts";
import { retry } from "../timing/index.ts";

const DEFAULT_RETRY_MS = 10_000;

/**
 * Resolves `ref` (id, prefix or name) and reads its manifest. Throws `not_found`, `expired`, `conflict`,
 * `unreachable` (after `retryForMs`), `digest_mismatch` when the stored copy is damaged, or the signal's reason.
 */
export async function fetchManifest(
  hub: Pick<HubClient, "call">,
  { room, ref }: { readonly room: RoomId; readonly ref: string },
  options: { readonly signal?: AbortSignal | undefined; readonly retryForMs?: number } = {},
): Promise<{ readonly record: ArtifactRecord; readonly manifest: ArtifactManifest }> {
  const { signal, retryForMs = DEFAULT_RETRY_MS } = options;
  const input = { params: { room, ref } };
  const record = await hub.call("resolveArtifact", input, { signal, retryForMs });
  const params = { room, artifact: record.artifact };
  const transport = createByteTransport();
  try {
    const read = async () => {
      const body = { keys: [MANIFEST_KEY] };
      const { reads } = await hub.call("signReads", { params, body }, { signal, retryForMs });
      return readText(transport, reads[0]?.url ?? "", record.manifestBytes, signal);
    };
    const text = await retry(read, { forMs: retryForMs, signal });
    return { record, manifest: decodeManifest(text, record.artifact) };
  } finally {
    transport.close();
  }
}

async function readText(
  transport: ByteTransport,
  url: string,
  bytes: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  if (bytes > LIMITS.manifestBytes) {
    throw new WaybillError("too_large", `the manifest has ${bytes} bytes`);
  }
  const { status, body } = await transport.get({ url, signal });
  if (status !== 200) {
    throw new WaybillError("storage_failed", `the store answered ${status} for the manifest`);
  }
  const whole = new Uint8Array(bytes);
  let at = 0;
  for await (const piece of body) {
    if (at + piece.length > bytes) break;
    whole.set(piece, at);
    at += piece.length;
  }
  if (at === bytes) return new TextDecoder().decode(whole);
  throw new WaybillError("storage_failed", "the store's copy of the manifest has another length", {
    hint: "push the artifact again",
  });
}
