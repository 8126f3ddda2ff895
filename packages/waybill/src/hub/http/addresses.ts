// Which address others reach a listening host by.
import { networkInterfaces } from "node:os";

/** Hosts that mean "every interface of this machine". */
const EVERY = new Set(["0.0.0.0", "::", ""]);

/** `http://host:port` as this machine reaches it. */
export function urlOf(host: string, port: number): string {
  return `http://${EVERY.has(host) ? "127.0.0.1" : urlHost(host)}:${port}`;
}

/** IPv6 addresses stand in brackets in URLs. */
export function urlHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/**
 * What presigned URLs name by default: the hub's public name when it has one, else the address listened on,
 * else this machine's first address on a network.
 */
export function publicStoreEndpoint(
  host: string,
  port: number,
  publicUrl: string | undefined,
): string {
  if (publicUrl !== undefined) return `http://${new URL(publicUrl).hostname}:${port}`;
  if (!EVERY.has(host)) return urlOf(host, port);
  const outer = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find((address) => !address.internal && address.family === "IPv4");
  return `http://${outer?.address ?? "127.0.0.1"}:${port}`;
}
