// Opens a socket to a URL's host: directly or through a proxy, with TLS or without. IPv6 and IPv4 addresses of
// a name are tried one after the other (RFC 8305).
import * as net from "node:net";
import * as tls from "node:tls";
import { WaybillError } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import { connectionError, proxyError, proxyRefusal } from "./connection-errors.node.ts";
import { firstConnected } from "./first-connected.node.ts";
import { type Proxy, hostOf, portOf } from "./proxy.node.ts";

export type DialInit = {
  readonly url: URL;
  readonly proxy: Proxy | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Where the socket puts what it receives; not used for TLS inside a proxy's tunnel. */
  readonly onread: net.OnReadOpts;
  readonly lookup: net.LookupFunction | undefined;
};

/** Node's 250 ms would give up addresses behind a satellite or a lost SYN. */
const NEXT_ADDRESS_MS = 600;
/** Answers to CONNECT are short. */
const MAX_REPLY_BYTES = 16 * 1024;

/** A connected socket, and whether it delivers by `onread` (else by `data` events). */
export type Dialled = { readonly socket: net.Socket; readonly byOnread: boolean };

/**
 * Connects. Throws `unreachable` (retryable), `timeout`, `forbidden` for a server that cannot prove who it is
 * and for a proxy that refuses, or the signal's reason.
 */
export async function dial(init: DialInit): Promise<Dialled> {
  const { url, proxy, onread } = init;
  const host = hostOf(url);
  const secure = url.protocol === "https:";
  if (proxy === undefined) {
    const to = { ...init, host, port: portOf(url), secure, onread };
    const socket = await open(to, init, (cause) => connectionError(url.host, cause));
    return { socket, byOnread: true };
  }
  const { port } = proxy;
  const plain = { host: proxy.host, port, secure: proxy.secure };
  const to = { ...init, ...plain, onread: secure ? undefined : onread };
  const toProxy = await open(to, init, (cause) => proxyError(proxy.name, url.host, cause));
  if (!secure) return { socket: toProxy, byOnread: true };
  await openTunnel(toProxy, url, proxy, init);
  const socket = tls.connect({ socket: toProxy, ALPNProtocols: ["http/1.1"], ...serverName(host) });
  await secured(socket, init, (cause) => connectionError(url.host, cause));
  return { socket, byOnread: false };
}

type Target = {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  readonly onread: net.OnReadOpts | undefined;
  readonly lookup: net.LookupFunction | undefined;
};

/** A socket that leads there, with TLS when it is `secure`. */
async function open(
  target: Target,
  waiting: Waiting,
  inWords: (cause: unknown) => Error,
): Promise<net.Socket> {
  const { url, timeoutMs, signal } = waiting;
  const socket = await firstConnected({
    open: () => newSocket(target),
    timeoutMs,
    signal,
    inWords: (cause) => inWords(cause ?? tooLate(url, timeoutMs)),
  });
  if (target.secure) await secured(socket, waiting, inWords);
  return socket;
}

function newSocket({ host, port, secure, onread, lookup }: Target): net.Socket {
  const options = {
    host,
    port,
    noDelay: true,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
    ...(onread === undefined ? {} : { onread }),
    ...(lookup === undefined ? {} : { lookup }),
  };
  return secure
    ? tls.connect({ ...options, ALPNProtocols: ["http/1.1"], ...serverName(host) })
    : net.connect(options);
}

/** The name to be certified; addresses are sent none (RFC 6066 §3). */
function serverName(host: string): { servername?: string } {
  return net.isIP(host) === 0 ? { servername: host } : {};
}

type Waiting = Pick<DialInit, "timeoutMs" | "signal" | "url">;
type Settle = (error?: Error) => void;

/** Waits until a connected socket has its TLS; destroys it and throws otherwise. */
function secured(
  socket: net.Socket,
  waiting: Waiting,
  inWords: (cause: unknown) => Error,
): Promise<void> {
  return settled(socket, waiting, inWords, (settle) => {
    const onSecure = () => settle();
    socket.on("secureConnect", onSecure);
    return () => socket.off("secureConnect", onSecure);
  });
}

/** CONNECT (RFC 9110 §9.3.6); afterwards the socket leads to the URL's host. */
function openTunnel(socket: net.Socket, url: URL, proxy: Proxy, waiting: Waiting): Promise<void> {
  const authority = `${url.hostname}:${portOf(url)}`;
  const lines = [`CONNECT ${authority} HTTP/1.1`, `host: ${authority}`];
  if (proxy.authorization !== undefined) lines.push(`proxy-authorization: ${proxy.authorization}`);
  const inWords = (cause: unknown) => proxyError(proxy.name, url.host, cause);
  return settled(socket, waiting, inWords, (settle) => {
    let reply = "";
    const onData = (data: Buffer) => {
      reply += data.toString("latin1");
      const whole = reply.includes("\r\n\r\n");
      if (!whole && reply.length <= MAX_REPLY_BYTES) return;
      const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(reply)?.[1] ?? 0);
      if (!whole || status < 200 || status > 299) {
        settle(proxyRefusal(proxy.name, url.host, status));
        return;
      }
      socket.pause();
      settle();
    };
    socket.on("data", onData);
    socket.write(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
    return () => socket.off("data", onData);
  });
}

function tooLate({ host }: URL, timeoutMs: number): WaybillError {
  return new WaybillError("timeout", `${host} accepted no connection within ${timeoutMs / 1000} s`);
}

/** Runs one step of opening; a socket on which it fails, or takes too long, is destroyed. */
function settled(
  socket: net.Socket,
  { url, timeoutMs, signal }: Waiting,
  inWords: (cause: unknown) => Error,
  begin: (settle: Settle) => () => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle: Settle = (error) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      socket.off("close", onClose);
      end();
      if (error === undefined) {
        resolve();
        return;
      }
      // What the socket still has to say interests nobody, and must not count as unhandled.
      socket.on("error", () => undefined);
      socket.destroy();
      reject(error);
    };
    const onError = (cause: Error) => settle(inWords(cause));
    const onClose = () => settle(inWords(new Error("closed by the other side")));
    const onAbort = () => {
      if (signal !== undefined) settle(abortReason(signal));
    };
    const timer = setTimeout(() => settle(inWords(tooLate(url, timeoutMs))), timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.on("error", onError);
    socket.on("close", onClose);
    const end = begin(settle);
    if (signal?.aborted === true) onAbort();
  });
}
