// Addresses under which other machines may reach this one.
import os from "node:os";

/** More help nobody; docs/protocol/arriving.md allows 16. */
const MAX_ADDRESSES = 8;

/**
 * Base URLs of a port on this machine: loopback for workers on the same machine, then what its network cards have. Not
 * link-local IPv6 addresses, which mean something on this machine only.
 */
export function addressesOf(
  port: number,
  interfaces: NodeJS.Dict<os.NetworkInterfaceInfo[]> = os.networkInterfaces(),
): string[] {
  const cards = Object.values(interfaces)
    .flatMap((infos) => infos ?? [])
    .filter(({ internal, address }) => !internal && !/^fe80:/i.test(address))
    .map(({ family, address }) => (family === "IPv6" ? `[${address}]` : address));
  const hosts = [...new Set(["127.0.0.1", ...cards])].slice(0, MAX_ADDRESSES);
  return hosts.map((host) => `http://${host}:${port}`);
}
