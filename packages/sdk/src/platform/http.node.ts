// Bulk HTTP in Node. PUT is `node:http` (1.3–1.8 GiB/s on loopback against 0.5 of `fetch`); GET is a small
// reader of our own on the socket (docs/decisions/0002-blake3.md, "The wire"): 3 GiB/s at 60 MiB of RSS
// where `node:http` gives 0.9 at 190, because it makes a new buffer for every 64 KiB.
import * as http from "node:http";
import * as https from "node:https";
import { WaybillError, messageOf } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import {
  type ByteTransport,
  DEFAULT_IDLE_MS,
  MAX_TEXT_BYTES,
  type PutAnswer,
  type PutRequest,
} from "./byte-transport.ts";
import { ConnectionPool } from "./http-get.node.ts";

/** Bodies go to the socket in slices of this size, so that progress is seen and counted as it happens. */
const SLICE_BYTES = 1024 * 1024;

/** Bulk HTTP with kept-alive connections; `https:` uses Node's certificates. */
export function createByteTransport(): ByteTransport {
  const agents = {
    plain: new http.Agent({ keepAlive: true, scheduling: "lifo" }),
    secure: new https.Agent({ keepAlive: true, scheduling: "lifo" }),
  };
  const pool = new ConnectionPool();
  return {
    put: (request) => put(request, agents),
    get: (request) => pool.get(request),
    close: () => {
      agents.plain.destroy();
      agents.secure.destroy();
      pool.close();
    },
  };
}

type Agents = { readonly plain: http.Agent; readonly secure: https.Agent };

function put(request: PutRequest, agents: Agents): Promise<PutAnswer> {
  const { url, body, signal, idleMs = DEFAULT_IDLE_MS } = request;
  const target = new URL(url);
  const secure = target.protocol === "https:";
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(abortReason(signal));
      return;
    }
    const options: http.RequestOptions = {
      method: "PUT",
      agent: secure ? agents.secure : agents.plain,
      headers: { ...request.headers, "content-length": body.length },
    };
    const outgoing = secure ? https.request(target, options) : http.request(target, options);
    let answered = false;
    const onAbort = () => {
      if (signal !== undefined) outgoing.destroy(abortReason(signal));
    };
    const settle = () => signal?.removeEventListener("abort", onAbort);
    signal?.addEventListener("abort", onAbort, { once: true });
    outgoing.setTimeout(idleMs, () => {
      outgoing.destroy(
        new WaybillError("timeout", `${target.host} moved no byte for ${idleMs / 1000} s`),
      );
    });
    outgoing.on("response", (incoming) => {
      answered = true;
      const { statusCode: status = 0 } = incoming;
      readText(incoming)
        .then((text) => resolve({ status, header: headerOf(incoming), text }))
        .catch((cause: unknown) => reject(connectionError(target.host, cause, signal)))
        .finally(settle);
    });
    outgoing.on("error", (cause) => {
      // A server may refuse early and close; its answer, when there is one, says more than the reset.
      if (answered) return;
      settle();
      reject(connectionError(target.host, cause, signal));
    });
    writeSlices(outgoing, body, request.onSent);
  });
}

function writeSlices(
  outgoing: http.ClientRequest,
  body: Uint8Array,
  onSent: PutRequest["onSent"],
): void {
  let at = 0;
  const writeNext = () => {
    if (outgoing.destroyed) return;
    if (at >= body.length) {
      outgoing.end();
      return;
    }
    const slice = body.subarray(at, at + SLICE_BYTES);
    at += slice.length;
    outgoing.write(slice, (error) => {
      if (error !== null && error !== undefined) return;
      onSent?.(slice.length);
      writeNext();
    });
  };
  writeNext();
}

async function readText(incoming: http.IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of incoming) {
    if (!Buffer.isBuffer(piece)) continue;
    bytes += piece.length;
    if (bytes <= MAX_TEXT_BYTES) pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

function headerOf(incoming: http.IncomingMessage): (name: string) => string | undefined {
  return (name) => {
    const value = incoming.headers[name.toLowerCase()];
    return Array.isArray(value) ? value.join(", ") : value;
  };
}

function connectionError(host: string, cause: unknown, signal: AbortSignal | undefined): Error {
  if (signal?.aborted === true) return abortReason(signal);
  if (cause instanceof WaybillError) return cause;
  return new WaybillError("unreachable", `connection to ${host} failed (${messageOf(cause)})`, {
    cause,
  });
}
