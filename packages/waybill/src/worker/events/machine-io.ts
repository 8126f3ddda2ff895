// Bytes the whole machine reads, writes, receives and sends, as Linux counts them (proc(5)). Where there are no
// such files nothing is said.
import { readFile, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";

export type IoBytes = {
  readonly diskRead: number;
  readonly diskWrite: number;
  readonly networkIn: number;
  readonly networkOut: number;
};

export type IoRates = {
  readonly diskReadBytesPerSecond?: number;
  readonly diskWriteBytesPerSecond?: number;
  readonly networkInBytesPerSecond?: number;
  readonly networkOutBytesPerSecond?: number;
};

/** Sectors of `/proc/diskstats` have 512 bytes whatever the disk's own have (Documentation/block/stat.rst). */
const SECTOR_BYTES = 512;

/** Counters since the machine started; each pair is absent where it cannot be read. */
export async function readIoBytes(root = "/"): Promise<Partial<IoBytes>> {
  const [disks, nets] = await Promise.all([readDisks(root), readNets(root)]);
  return { ...disks, ...nets };
}

/** Rates between two readings; counters that went back (a device that was unplugged) say 0. */
export function ratesBetween(
  before: Partial<IoBytes>,
  now: Partial<IoBytes>,
  seconds: number,
): IoRates {
  if (seconds <= 0) return {};
  const rate = (key: keyof IoBytes): number | undefined => {
    const [first, last] = [before[key], now[key]];
    if (first === undefined || last === undefined) return undefined;
    return Math.round(Math.max(0, last - first) / seconds);
  };
  const [read, write] = [rate("diskRead"), rate("diskWrite")];
  const [received, sent] = [rate("networkIn"), rate("networkOut")];
  return {
    ...(read === undefined ? {} : { diskReadBytesPerSecond: read }),
    ...(write === undefined ? {} : { diskWriteBytesPerSecond: write }),
    ...(received === undefined ? {} : { networkInBytesPerSecond: received }),
    ...(sent === undefined ? {} : { networkOutBytesPerSecond: sent }),
  };
}

/** Only whole disks are in `/sys/block`; loop, RAM, RAID and mapped devices are others' bytes once more. */
async function readDisks(root: string): Promise<Partial<IoBytes>> {
  const [text, devices] = await Promise.all([
    readText(join(root, "proc/diskstats")),
    readLinks(join(root, "sys/block")),
  ]);
  if (text === undefined) return {};
  let diskRead = 0;
  let diskWrite = 0;
  for (const line of text.split("\n")) {
    const cells = line.trim().split(/\s+/);
    const target = devices.get(cells[2] ?? "");
    if (target === undefined || target.includes("/virtual/block/")) continue;
    diskRead += numberOf(cells[5]) * SECTOR_BYTES;
    diskWrite += numberOf(cells[9]) * SECTOR_BYTES;
  }
  return { diskRead, diskWrite };
}

/**
 * Interfaces with hardware behind them: what goes over a bridge or a tunnel goes over one of those, too. A container
 * has none; there, all but the loopback count.
 */
async function readNets(root: string): Promise<Partial<IoBytes>> {
  const [text, devices] = await Promise.all([
    readText(join(root, "proc/net/dev")),
    readLinks(join(root, "sys/class/net")),
  ]);
  if (text === undefined) return {};
  const all = text.split("\n").flatMap((line) => {
    const [, name, rest] = /^\s*([^:\s]+):\s*(.+)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined || name === "lo") return [];
    const cells = rest.trim().split(/\s+/);
    const target = devices.get(name);
    const real = target !== undefined && !target.includes("/virtual/net/");
    return [{ real, networkIn: numberOf(cells[0]), networkOut: numberOf(cells[8]) }];
  });
  const real = all.filter((one) => one.real);
  let networkIn = 0;
  let networkOut = 0;
  for (const one of real.length > 0 ? real : all) {
    networkIn += one.networkIn;
    networkOut += one.networkOut;
  }
  return { networkIn, networkOut };
}

/** Names of devices and where in the tree of devices they are. */
async function readLinks(dir: string): Promise<Map<string, string>> {
  const names = await readdir(dir).catch(() => []);
  const links = await Promise.all(
    names.map(async (name) => [name, await readlink(join(dir, name)).catch(() => "")] as const),
  );
  return new Map(links);
}

async function readText(path: string): Promise<string | undefined> {
  return readFile(path, "latin1").catch(() => undefined);
}

function numberOf(text: string | undefined): number {
  const value = Number(text);
  return Number.isFinite(value) ? value : 0;
}
