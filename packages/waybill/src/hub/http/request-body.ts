// Reading a request's body with a bound: a flood is refused after the bound, not after it has filled memory.
import { type RouteName, LIMITS, WaybillError } from "@waybill/sdk/protocol";

/**
 * Plans of 1,000 objects with paths of 900 bytes, and completions that name 200,000 parts, do not fit into the
 * usual bound.
 */
const PLAN_BYTES = 8 * LIMITS.httpBodyBytes;

const BODY_BYTES: Partial<Record<RouteName, number>> = {
  beginUpload: PLAN_BYTES,
  completeUpload: PLAN_BYTES,
  putSample: LIMITS.sampleBytes,
};

/** Largest body of a route in bytes. */
export function maxBodyBytes(name: RouteName): number {
  return BODY_BYTES[name] ?? LIMITS.httpBodyBytes;
}

/** The whole body; throws `too_large` as soon as it is known to be. */
export async function readBody(request: Request, maxBytes: number): Promise<Uint8Array> {
  const announced = Number(request.headers.get("content-length") ?? 0);
  if (announced > maxBytes) throw tooLarge(maxBytes);
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  const first = chunks[0];
  return chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
}

function tooLarge(maxBytes: number): WaybillError {
  return new WaybillError("too_large", `the request's body has more than ${maxBytes} bytes`);
}
