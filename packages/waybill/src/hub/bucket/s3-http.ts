// The few S3 requests the hub makes all day (read, look, write, copy one object), straight over node:http.
// The AWS SDK spends 1.4 ms of processor time on a read of 500 bytes, this 0.6 ms, and publishing a model is
// a chain of such requests. Everything rarer stays with the SDK.
import { WaybillError } from "@waybill/sdk/protocol";
import { backoffMs, delay } from "@waybill/sdk/timing";
import * as http from "node:http";
import * as https from "node:https";
import type { Presigner } from "../storage/presign.ts";

export type S3Request = {
  readonly method: "GET" | "HEAD" | "PUT";
  readonly bucket: string;
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Lower-case names; all of them are signed. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Time without a byte before it is given up; 30 s when absent. */
  readonly idleMs?: number;
  /** Time for all tries together. */
  readonly withinMs?: number;
};

export type S3Answer = {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  /** S3's error code when the status is not 2xx and the answer says one. */
  readonly errorCode: string | undefined;
};

export type S3HttpInit = {
  /** Signs for the endpoint the hub reaches the store by. */
  readonly presigner: Presigner;
  /** Parallel requests; more wait in the agent. */
  readonly maxSockets: number;
  /** Told the `Date` of every answer; says whether what is signed from now on has another time. */
  readonly onDate?: (date: string) => boolean;
};

/** Signed requests are sent at once; this is for clocks that differ. */
const SIGNED_SECONDS = 900;
/** Time without a byte before a request is given up. */
const IDLE_MS = 30_000;
const TRIES = 4;

/** Sends requests, and sends them again when the store was unreachable or busy. */
export class S3Http {
  readonly #init: S3HttpInit;
  readonly #http: http.Agent;
  readonly #https: https.Agent;

  constructor(init: S3HttpInit) {
    this.#init = init;
    const options = { keepAlive: true, maxSockets: init.maxSockets };
    this.#http = new http.Agent(options);
    this.#https = new https.Agent(options);
  }

  /**
   * The store's answer, whatever its status below 500. Throws `storage_failed` or `storage_full` when it has
   * none or fails again and again. A write whose answer was lost is sent again: make it conditional.
   */
  async send(request: S3Request, what: string): Promise<S3Answer> {
    let failure: { readonly cause?: unknown; readonly why: string } | undefined;
    const { withinMs } = request;
    const signal = withinMs === undefined ? undefined : AbortSignal.timeout(Math.floor(withinMs));
    for (let attempt = 0; attempt < TRIES; attempt++) {
      if (signal?.aborted === true) break;
      if (attempt > 0) await delay(backoffMs(attempt - 1, { baseMs: 50, capMs: 1000 }));
      try {
        const answer = await this.#once(request, signal);
        const { date } = answer.headers;
        const signsAnew = date !== undefined && this.#init.onDate?.(date) === true;
        if (answer.status === 507) throw full(what);
        // Refused because the store's clock is another: now it is known.
        if (answer.status === 403 && signsAnew) continue;
        if (answer.status < 500 && answer.status !== 429) return answer;
        failure = { why: `${answer.errorCode ?? "no code"}, HTTP ${answer.status}` };
      } catch (error) {
        if (error instanceof WaybillError) throw error;
        failure = { cause: error, why: codeOf(error) };
      }
    }
    throw new WaybillError("storage_failed", `${what} failed (${failure?.why ?? "no answer"})`, {
      cause: failure?.cause,
      hint: "check that the object store is running and can be reached from the hub",
    });
  }

  destroy(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  async #once(request: S3Request, signal: AbortSignal | undefined): Promise<S3Answer> {
    const { method, bucket, key, query = {}, headers = {}, body } = request;
    const { urls } = await this.#init.presigner.sign(
      [{ method, bucket, key, query, headers }],
      SIGNED_SECONDS,
    );
    const url = new URL(urls[0] ?? "");
    const secure = url.protocol === "https:";
    const options: http.RequestOptions = {
      method,
      agent: secure ? this.#https : this.#http,
      headers: method === "PUT" ? { ...headers, "content-length": body?.length ?? 0 } : headers,
      timeout: request.idleMs ?? IDLE_MS,
      ...(signal === undefined ? {} : { signal }),
    };
    return new Promise((resolve, reject) => {
      const sent = (secure ? https : http).request(url, options, (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
        incoming.on("error", reject);
        incoming.on("end", () => resolve(answerOf(incoming, Buffer.concat(chunks))));
      });
      sent.on("timeout", () => sent.destroy(new Error("no answer in time")));
      sent.on("error", reject);
      sent.end(body);
    });
  }
}

function answerOf(incoming: http.IncomingMessage, body: Buffer): S3Answer {
  const status = incoming.statusCode ?? 0;
  const ok = status >= 200 && status < 300;
  return {
    status,
    headers: incoming.headers,
    body,
    errorCode: ok ? undefined : /<Code>(\w+)<\/Code>/.exec(body.toString("utf8", 0, 4096))?.[1],
  };
}

function full(what: string): WaybillError {
  return new WaybillError("storage_full", `${what} failed: the object store's disk is full`, {
    hint: "free space on the store's disk",
  });
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "Unknown";
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
