// Which proxy leads to a URL, from the environment as curl and Go read it: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY
// and NO_PROXY, lower case first. This machine itself is never reached through a proxy.
import * as http from "node:http";
import * as net from "node:net";
import { WaybillError } from "../protocol/index.ts";

export type Proxy = {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  /** Value of `Proxy-Authorization`; a secret. */
  readonly authorization: string | undefined;
  /** Host and port, for people. */
  readonly name: string;
};

export type ProxyEnvironment = Readonly<Record<string, string | undefined>>;

/** The proxy for a URL; undefined for a direct connection. Throws `invalid_request` for one that is not HTTP. */
export function proxyFor(target: URL, env: ProxyEnvironment): Proxy | undefined {
  const scheme = target.protocol === "https:" ? "https" : "http";
  const text = setting(env, `${scheme}_proxy`) ?? setting(env, "all_proxy");
  if (text === undefined || isExempt(target, setting(env, "no_proxy") ?? "")) return undefined;
  return parseProxy(text);
}

/**
 * Makes `fetch` and `WebSocket` of this process go through the environment's proxies, as bulk bytes do by
 * themselves; a program calls it once, when it starts. Gives whether it could: Node 24.14 or newer can, older ones
 * need NODE_USE_ENV_PROXY=1 from the start. True when no proxy is named. Throws `invalid_request` for one that is no URL.
 */
export function useProxiesOfEnvironment(env: ProxyEnvironment = process.env): boolean {
  const all = setting(env, "all_proxy");
  const plain = setting(env, "http_proxy") ?? all;
  const secure = setting(env, "https_proxy") ?? all;
  if (plain === undefined && secure === undefined) return true;
  const set: unknown = Reflect.get(http, "setGlobalProxyFromEnv");
  if (typeof set !== "function") return false;
  const exempt = ["localhost", ".localhost", "127.0.0.1", "[::1]", "::1", setting(env, "no_proxy")];
  set({
    ...(plain === undefined ? {} : { http_proxy: proxyUrl(plain).href }),
    ...(secure === undefined ? {} : { https_proxy: proxyUrl(secure).href }),
    no_proxy: exempt.filter((entry) => entry !== undefined).join(","),
  });
  return true;
}

/** Host of a URL without the brackets of IPv6. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

/** Port of a URL, the scheme's own when none is named. */
export function portOf(url: URL): number {
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}

function setting(env: ProxyEnvironment, name: string): string | undefined {
  const upper = name.toUpperCase();
  // A CGI program finds a request's `Proxy:` header under this name.
  const mayBeForged = upper === "HTTP_PROXY" && env["REQUEST_METHOD"] !== undefined;
  return [env[name], mayBeForged ? undefined : env[upper]].find(
    (value) => value !== undefined && value !== "",
  );
}

/** A proxy's URL; without a scheme it is `http:`. Throws `invalid_request`, and does not repeat what may hold a password. */
function proxyUrl(text: string): URL {
  const whole = text.includes("://") ? text : `http://${text}`;
  const url = URL.canParse(whole) ? new URL(whole) : undefined;
  if (url !== undefined && (url.protocol === "http:" || url.protocol === "https:")) return url;
  throw new WaybillError("invalid_request", "the proxy in the environment is not an HTTP proxy", {
    hint: "set HTTPS_PROXY to http://HOST:PORT, or unset HTTPS_PROXY, HTTP_PROXY and ALL_PROXY",
  });
}

function parseProxy(text: string): Proxy {
  const url = proxyUrl(text);
  const user = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  const host = hostOf(url);
  const secure = url.protocol === "https:";
  return {
    secure,
    host,
    port: portOf(url),
    authorization:
      user === ":" ? undefined : `Basic ${Buffer.from(user, "utf8").toString("base64")}`,
    name: url.host,
  };
}

/** Whether NO_PROXY, or being this machine, exempts a URL. */
function isExempt(target: URL, list: string): boolean {
  const host = hostOf(target).toLowerCase();
  const port = String(portOf(target));
  const address = net.isIP(host) !== 0;
  if (host === "localhost" || host.endsWith(".localhost")) return true;
  if (address && contains("127.0.0.0/8", host)) return true;
  if (address && contains("::1/128", host)) return true;
  return list
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .some((entry) => {
      if (entry === "*") return true;
      if (address && entry.includes("/")) return contains(entry, host);
      const [, name = "", onlyPort] = /^(\[[^\]]*\]|[^:]+|.*:.*:.*?)(?::(\d+))?$/.exec(entry) ?? [];
      if (onlyPort !== undefined && onlyPort !== port) return false;
      const wanted = name
        .toLowerCase()
        .replace(/^\[|\]$/g, "")
        .replace(/^\*?\./, "");
      return wanted !== "" && (host === wanted || (!address && host.endsWith(`.${wanted}`)));
    });
}

function contains(range: string, address: string): boolean {
  const [base = "", bits = ""] = range.split("/");
  const family = net.isIP(base);
  if (family === 0 || !/^\d{1,3}$/.test(bits)) return false;
  const list = new net.BlockList();
  try {
    list.addSubnet(base, Number(bits), family === 4 ? "ipv4" : "ipv6");
  } catch {
    return false;
  }
  return list.check(address, net.isIP(address) === 4 ? "ipv4" : "ipv6");
}
