import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { ratesBetween, readIoBytes } from "./machine-io.ts";

const roots: string[] = [];

afterEach(async () => {
  for (const root of roots.splice(0)) await rm(root, { recursive: true });
});

/** A machine's /proc and /sys as far as they are read. */
async function machine(
  files: Readonly<Record<string, string>>,
  links: Readonly<Record<string, string>>,
): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "waybill-machine-"));
  roots.push(root);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  for (const [name, target] of Object.entries(links)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await symlink(target, join(root, name));
  }
  return root;
}

const DISKS = `   7       0 loop0 9 0 99999 0 9 0 99999 0 0 0 0
 259       0 nvme0n1 100 0 2000 5 200 0 4000 9 0 0 0 0 0 0 0 0 0
 259       1 nvme0n1p1 90 0 1500 5 190 0 3500 9 0 0 0
   8       0 sda 10 0 20 5 20 0 40 9 0 0 0
 253       0 dm-0 90 0 1500 5 190 0 3500 9 0 0 0
`;
const DISK_LINKS = {
  "sys/block/loop0": "../devices/virtual/block/loop0",
  "sys/block/nvme0n1": "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
  "sys/block/sda": "../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda",
  "sys/block/dm-0": "../devices/virtual/block/dm-0",
};
const NETS = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 5000 1 0 0 0 0 0 0 5000 1 0 0 0 0 0 0
  eth0: 100 1 0 0 0 0 0 0 30 1 0 0 0 0 0 0
docker0:90 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0
`;

describe("bytes of a machine's devices", () => {
  it("are those of whole disks, no partition and nothing mapped on them counted again", async () => {
    const root = await machine({ "proc/diskstats": DISKS }, DISK_LINKS);
    expect(await readIoBytes(root)).toEqual({ diskRead: 2020 * 512, diskWrite: 4040 * 512 });
  });

  it("leave out the loopback and devices without hardware", async () => {
    const root = await machine(
      { "proc/net/dev": NETS },
      {
        "sys/class/net/lo": "../../devices/virtual/net/lo",
        "sys/class/net/eth0": "../../devices/pci0000:00/0000:00:03.0/virtio2/net/eth0",
        "sys/class/net/docker0": "../../devices/virtual/net/docker0",
      },
    );
    expect(await readIoBytes(root)).toEqual({ networkIn: 100, networkOut: 30 });
  });

  it("count a container's own interfaces, which have no hardware", async () => {
    const root = await machine(
      { "proc/net/dev": NETS },
      { "sys/class/net/eth0": "../../devices/virtual/net/eth0" },
    );
    expect(await readIoBytes(root)).toEqual({ networkIn: 190, networkOut: 50 });
  });

  it("say nothing where nothing is counted", async () => {
    expect(await readIoBytes(await machine({}, {}))).toEqual({});
  });
});

describe("rates", () => {
  it("are bytes a second, and 0 when a counter went back", () => {
    const before = { diskRead: 1000, diskWrite: 10, networkIn: 0 };
    const now = { diskRead: 2001, diskWrite: 5, networkIn: 100, networkOut: 7 };
    expect(ratesBetween(before, now, 2)).toEqual({
      diskReadBytesPerSecond: 501,
      diskWriteBytesPerSecond: 0,
      networkInBytesPerSecond: 50,
    });
    expect(ratesBetween(before, now, 0)).toEqual({});
  });
});
