// Typed client of the hub's HTTP API: one `call` over the route table of `protocol/`.
import * as v from "valibot";
import {
  ErrorBody,
  LIMITS,
  ROUTES,
  type RouteInput,
  type RouteName,
  type RouteOutput,
  WaybillError,
  decodeJson,
  messageOf,
  routeOf,
} from "../protocol/index.ts";
import { abortReason, retry } from "../timing/index.ts";
import type { Identity } from "./identity.ts";

/** What a caller proves itself with. */
export type Credential = { readonly token: string; readonly identity: Identity };

/** How long a call has been tried, and how much longer it will be. */
export type Patience = { readonly elapsedMs: number; readonly leftMs: number };

export type HubClientInit = {
  /** Base URL, such as `http://127.0.0.1:8700`. */
  readonly url: string;
  readonly credential?: Credential;
  /** How long calls are tried again while the hub is unreachable; every route is idempotent. Default 30 s. */
  readonly retryForMs?: number;
  /**
   * The same for a hub that was never heard of and whose address nobody answers at: the host's name does not exist, or
   * it refuses connections. The address is probably wrong, then. Default: no less than otherwise.
   */
  readonly firstAnswerForMs?: number;
  readonly fetch?: typeof globalThis.fetch;
  /** Told before each wait. */
  readonly onRetry?: (error: unknown, waitMs: number, patience: Patience) => void;
  /** Told of each call that the hub has answered, with a refusal too. */
  readonly onAnswer?: () => void;
};

export type CallOptions = {
  readonly signal?: AbortSignal | undefined;
  /** Overrides the client's. */
  readonly retryForMs?: number;
  /** Binary body of the routes that take one. */
  readonly bytes?: Uint8Array<ArrayBuffer>;
};

/** An answer larger than this is not one of a hub; event pages and registries stay far below. */
const MAX_ANSWER_BYTES = 64 * LIMITS.httpBodyBytes;
/** One request without an answer for this long is given up and tried again. */
const REQUEST_TIMEOUT_MS = 30_000;
/** What the system says of an address with nobody there. `EAI_AGAIN` is not among them: this machine is offline, then. */
const NOBODY_THERE: ReadonlySet<string> = new Set(["ECONNREFUSED", "ENOTFOUND"]);
const PORTAL_HINT =
  "a login page of the network may be in the way: open any page in a browser; else check that --hub names a Waybill hub";

/** Client of one hub; holds no state but its credential. */
export class HubClient {
  readonly url: string;
  readonly #init: HubClientInit;
  #credential: Credential | undefined;
  /** A hub has answered: the address is right. */
  #isHeard = false;
  /** Of the first call, which may have opened a connection, and the least of the others. */
  #firstTripMs: number | undefined;
  #tripMs: number | undefined;

  constructor(init: HubClientInit) {
    this.url = init.url.replace(/\/+$/, "");
    this.#init = init;
    this.#credential = init.credential;
  }

  get credential(): Credential | undefined {
    return this.#credential;
  }

  /**
   * Milliseconds of a round trip to the hub: the least so far of what calls took beyond the hub's own work; after only
   * one, which opened a connection, too, a guess. Undefined
   * before the first answer that told of it (`Server-Timing`).
   */
  get tripMs(): number | undefined {
    return this.#tripMs ?? this.#firstTripMs;
  }

  /** Uses another token from now on (after a renewal). */
  useCredential(credential: Credential): void {
    this.#credential = credential;
  }

  /**
   * Calls a route of the table. Throws the hub's own error (`WaybillError` with its code), or
   * `unreachable` when no answer came within the retry time.
   */
  async call<N extends RouteName>(
    name: N,
    input: RouteInput<N>,
    options: CallOptions = {},
  ): Promise<RouteOutput<N>> {
    const { onRetry, firstAnswerForMs = Infinity } = this.#init;
    const patienceMs = options.retryForMs ?? this.#init.retryForMs ?? 30_000;
    const forMs = (error: unknown) => {
      // It takes its owner to make it good: who waits without end waits for that, too; others are told at once.
      if (isDamaged(error) && patienceMs !== Infinity) return 0;
      return !this.#isHeard && isNobodyThere(error)
        ? Math.min(patienceMs, firstAnswerForMs)
        : patienceMs;
    };
    const startMs = Date.now();
    return retry(() => this.#once(name, input, options), {
      forMs,
      signal: options.signal,
      capMs: 2000,
      onRetry: (error, waitMs) => {
        const elapsedMs = Date.now() - startMs;
        onRetry?.(error, waitMs, { elapsedMs, leftMs: Math.max(0, forMs(error) - elapsedMs) });
      },
    });
  }

  async #once<N extends RouteName>(
    name: N,
    input: RouteInput<N>,
    options: CallOptions,
  ): Promise<RouteOutput<N>> {
    const route = routeOf(name);
    const given: { params?: unknown; query?: unknown; body?: unknown } = input;
    const path = fillPath(route.path, Object(given.params ?? {}));
    const headers = new Headers({ accept: "application/json" });
    if (this.#credential !== undefined && route.roles !== "public") {
      const { token, identity } = this.#credential;
      headers.set("authorization", `DPoP ${token}`);
      headers.set("dpop", await identity.proof({ method: route.method, path, token }));
    }
    let body: BodyInit | undefined;
    if (options.bytes !== undefined) {
      headers.set("content-type", "application/octet-stream");
      body = options.bytes;
    } else if (given.body !== undefined) {
      headers.set("content-type", "application/json");
      body = JSON.stringify(given.body);
    }
    const text = await this.#exchange(`${path}${queryText(Object(given.query ?? {}))}`, {
      method: route.method,
      headers,
      ...(body === undefined ? {} : { body }),
      signal: options.signal,
    });
    const response = ROUTES[name].response as v.GenericSchema<unknown, RouteOutput<N>>;
    const answer = this.#decode(response, text, `the hub's answer to ${name}`);
    this.#heard();
    return answer;
  }

  /** What is no JSON came from somebody else; JSON of another shape from a hub of another version. */
  #decode<T>(schema: v.GenericSchema<unknown, T>, text: string, what: string): T {
    try {
      return decodeJson(schema, text, what, MAX_ANSWER_BYTES);
    } catch (error) {
      if (!(error instanceof WaybillError) || !(error.cause instanceof SyntaxError)) throw error;
      throw this.#unreached("what came is no answer of a hub", error);
    }
  }

  async #exchange(
    path: string,
    request: Omit<RequestInit, "signal"> & { signal: AbortSignal | undefined },
  ): Promise<string> {
    const { signal, ...rest } = request;
    const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    const send = this.#init.fetch ?? globalThis.fetch;
    let response: Response;
    let text: string;
    const startMs = performance.now();
    try {
      // A redirection is never a hub's; following one would take the call to a stranger.
      response = await send(`${this.url}${path}`, { ...rest, redirect: "manual", signal: either });
      this.#learnTrip(performance.now() - startMs, response);
      text = await response.text();
    } catch (cause) {
      if (signal?.aborted === true) throw abortReason(signal);
      const why = timeout.aborted
        ? "did not answer in time"
        : `could not be reached (${reasonOf(cause)})`;
      throw new WaybillError("unreachable", `hub ${this.url} ${why}`, {
        cause,
        hint: "start it with `waybill hub`, or name another with --hub or WAYBILL_HUB",
      });
    }
    const stranger = strangerOf(response);
    if (stranger !== undefined) throw this.#unreached(stranger);
    if (response.ok) return text;
    const error = errorOf(response, text, this.url);
    if (parseErrorBody(text) !== undefined) this.#heard();
    throw error;
  }

  /** A first call opens a connection, too: another round trip, and one for TLS; unless the process has one already. */
  #learnTrip(elapsedMs: number, { headers }: Response): void {
    const hubMs = /(?:^|,)\s*hub;dur=([\d.]+)/.exec(headers.get("server-timing") ?? "")?.[1];
    if (hubMs === undefined) return;
    const tripMs = Math.max(0, elapsedMs - Number(hubMs));
    if (this.#firstTripMs === undefined) {
      this.#firstTripMs = tripMs / (this.url.startsWith("https:") ? 3 : 2);
    } else {
      this.#tripMs = Math.min(tripMs, this.#tripMs ?? Infinity);
    }
  }

  #unreached(why: string, cause?: unknown): WaybillError {
    const message = `hub ${this.url} could not be reached: ${why}`;
    return new WaybillError("unreachable", message, {
      hint: PORTAL_HINT,
      ...(cause === undefined ? {} : { cause }),
    });
  }

  #heard(): void {
    this.#isHeard = true;
    this.#init.onAnswer?.();
  }
}

/** Whether a hub answers a request now. Throws nothing. */
export async function answersHttp(
  url: string,
  fetch: typeof globalThis.fetch = globalThis.fetch,
): Promise<boolean> {
  try {
    await new HubClient({ url, fetch }).call("version", {}, { retryForMs: 0 });
    return true;
  } catch {
    return false;
  }
}

/** What says that somebody else has answered in the hub's place; undefined for what a hub may have said. */
function strangerOf({ ok, status, type, headers }: Response): string | undefined {
  if (type === "opaqueredirect" || (status >= 300 && status < 400)) {
    const location = headers.get("location");
    // The query may hold a session.
    const to = location === null ? "" : ` to ${location.replace(/[?#].*$/s, "").slice(0, 200)}`;
    return `something in between redirects${to}, which is not followed`;
  }
  const isPage = ok && /html/i.test(headers.get("content-type") ?? "");
  return isPage ? "a web page came in its place" : undefined;
}

function isDamaged(error: unknown): boolean {
  return error instanceof WaybillError && error.code === "registry_damaged";
}

function isNobodyThere(error: unknown): boolean {
  return (
    error instanceof WaybillError &&
    error.code === "unreachable" &&
    error.cause !== undefined &&
    NOBODY_THERE.has(reasonOf(error.cause))
  );
}

function fillPath(path: string, params: object): string {
  const values = new Map(Object.entries(params));
  return path.replaceAll(/:([a-zA-Z]+)/g, (_, key: string) => {
    const value: unknown = values.get(key);
    if (typeof value !== "string") throw new WaybillError("internal", `path ${path} lacks ${key}`);
    return encodeURIComponent(value);
  });
}

function queryText(query: object): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined);
  if (pairs.length === 0) return "";
  return `?${new URLSearchParams(pairs.map(([key, value]) => [key, String(value)])).toString()}`;
}

function errorOf(response: Response, text: string, url: string): WaybillError {
  const body = parseErrorBody(text);
  const retryAfter = Number(response.headers.get("retry-after"));
  const retryAfterMs =
    Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter * 1000 : undefined;
  const wait = retryAfterMs === undefined ? {} : { retryAfterMs };
  if (body !== undefined) {
    const hint = body.error.hint === undefined ? {} : { hint: body.error.hint };
    return new WaybillError(body.error.code, body.error.message, { ...hint, ...wait });
  }
  const code =
    response.status >= 500 || response.status === 429 ? "unreachable" : "invalid_request";
  return new WaybillError(code, `${url} answered ${response.status}, and not as a hub does`, {
    hint: "check that --hub names a Waybill hub",
    ...wait,
  });
}

function parseErrorBody(text: string): ErrorBody | undefined {
  try {
    const result = v.safeParse(ErrorBody, JSON.parse(text));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}

/** fetch hides the reason in `cause` (ECONNREFUSED and the like). */
function reasonOf(error: unknown): string {
  const inner = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (inner instanceof Error && "code" in inner && typeof inner.code === "string")
    return inner.code;
  return messageOf(inner);
}
