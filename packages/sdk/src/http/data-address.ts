// Whether a machine really is where it says it can be reached, before it is told a token (docs/protocol/data-server.md §1).
import type { ByteTransport } from "../platform/index.ts";
import { type HttpAddress, WaybillError } from "../protocol/index.ts";

/** An address that has not answered by then is not counted on, unless more time is given. */
const PROVE_MS = 2000;
const MAX_HELLO_BYTES = 1024;

/**
 * The first of a machine's addresses that answers within `proveMs` (2 s) and proves to be it; undefined when none does. Others are given
 * up as soon as one has. Throws nothing.
 */
export async function reachableAddress(
  transport: Pick<ByteTransport, "get">,
  addresses: readonly HttpAddress[],
  stop: AbortSignal,
  proveMs = PROVE_MS,
): Promise<HttpAddress | undefined> {
  if (addresses.length === 0) return undefined;
  const over = new AbortController();
  const signal = AbortSignal.any([stop, over.signal, AbortSignal.timeout(proveMs)]);
  try {
    return await Promise.any(addresses.map(async (one) => prove(transport, one, signal, proveMs)));
  } catch {
    // None of them.
    return undefined;
  } finally {
    over.abort();
  }
}

/** Throws unless somebody at the address knows the token, which is not told to anybody else. */
async function prove(
  transport: Pick<ByteTransport, "get">,
  address: HttpAddress,
  signal: AbortSignal,
  idleMs: number,
): Promise<HttpAddress> {
  const nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
  const url = `${address.url}/hello?nonce=${nonce}`;
  const answer = await transport.get({ url, signal, idleMs });
  let text = "";
  const decoder = new TextDecoder();
  for await (const piece of answer.body) {
    text += decoder.decode(piece, { stream: true });
    if (text.length > MAX_HELLO_BYTES) break;
  }
  const proof: unknown = answer.status === 200 ? JSON.parse(text) : undefined;
  const expected = await helloProof(address.token, nonce);
  if (isProof(proof) && proof.proof === expected) return address;
  throw new WaybillError("unreachable", `${address.url} is not the machine it should be`);
}

/** Hex HMAC-SHA-256 by which a machine proves that it knows its address's token. */
export async function helloProof(token: string, nonce: string): Promise<string> {
  const bytes = Uint8Array.from(token.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bytes, algorithm, false, ["sign"]);
  const text = new TextEncoder().encode(`waybill-data 1 ${nonce}`);
  return hex(new Uint8Array(await crypto.subtle.sign("HMAC", key, text)));
}

function isProof(value: unknown): value is { readonly proof: string } {
  return (
    typeof value === "object" &&
    value !== null &&
    "proof" in value &&
    typeof value.proof === "string"
  );
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
