// Addresses under which other machines may reach this one.
import os from "node:os";

/** More help nobody; docs/protocol/arriving.md allows 16. */
const MAX_ADDRESSES = 8;

/** Hosts that stand for every address. */
const ANY_HOST = new Set(["0.0.0.0", "::"]);

/**
 * Base URLs of a port on this machine: loopback for workers on the same machine, then what its network cards have. Not
 * link-local IPv6 addresses, which mean something on this machine only. A server that listens at one address alone has
 * that one; `host` is an IP address.
 */
export function addressesOf(
  port: number,
  host?: string,
  interfaces: NodeJS.Dict<os.NetworkInterfaceInfo[]> = os.networkInterfaces(),
): string[] {
  if (host !== undefined && !ANY_HOST.has(host)) return [urlOf(host, port)];
  const cards = Object.values(interfaces)
    .flatMap((infos) => infos ?? [])
    .filter(({ internal, address }) => !internal && !/^fe80:/i.test(address))
    .filter(({ family }) => host !== "0.0.0.0" || family === "IPv4")
    .map(({ address }) => address);
  const hosts = [...new Set(["127.0.0.1", ...cards])].slice(0, MAX_ADDRESSES);
  return hosts.map((one) => urlOf(one, port));
}

function urlOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
