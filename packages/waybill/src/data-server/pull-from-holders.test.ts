// docs/protocol/data-server.md §3: a pull draws from the peers that serve before it draws from the store. Real servers, real sockets.
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { scanTree } from "@waybill/sdk/artifact";
import type { PullOptions, SourceReport } from "@waybill/sdk/client";
import { type Holder, type PeerId, WaybillError } from "@waybill/sdk/protocol";
import { TransferFixture, digestsOf, noise } from "@waybill/sdk/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startDataServer } from "./data-server.ts";
import { pushedTree } from "./pushed-tree.ts";
import { TreeObjects } from "./tree-objects.ts";

const MIB = 1024 * 1024;
const endings: (() => Promise<unknown>)[] = [];
let fixture: TransferFixture;

beforeEach(async () => {
  fixture = await TransferFixture.open();
});

afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end();
  await fixture.close();
});

/** Pushes a tree, and serves it as a peer of the room would that has it cached. */
async function setup(files: Readonly<Record<string, Uint8Array | string>>) {
  const root = fixture.tree("data", files);
  const { artifact } = await fixture.push(root);
  const { manifest } = await fixture.pull("reference");
  let count = 0;
  const holder = async (dir = root, more: Partial<Holder> = {}) => {
    const { files: scanned } = await scanTree(dir);
    const objects = new TreeObjects({ scan: { root: dir, files: scanned }, manifest });
    const complaints: string[] = [];
    const trees = {
      ...pushedTree(artifact, { manifest, objects }),
      damaged: (what: string) => complaints.push(what),
    };
    const server = await startDataServer({ trees, listen: { host: "127.0.0.1" } });
    endings.push(() => server.stop());
    count += 1;
    const addresses = [...server.addresses];
    const own: Holder = { peer: peerOf(count), name: `desk ${count}`, addresses, ...more };
    fixture.hub.holders = [...fixture.hub.holders, own];
    return { server, holder: own, complaints };
  };
  const pull = async (more: Partial<PullOptions> = {}) => {
    const before = fixture.hub.store.servedBytes;
    const result = await fixture.pull("out", more);
    expect(fixture.out("out")).toEqual(digestsOf(root));
    return { ...result, storeBytes: fixture.hub.store.servedBytes - before };
  };
  return { root, artifact, holder, pull };
}

const peerOf = (at: number) => `p_${String(at).padStart(16, "0")}_w` as PeerId;

function of(report: readonly SourceReport[], part: string): SourceReport {
  const found = report.find(({ source }) => source.includes(part));
  if (found === undefined) throw new Error(`no source ${part}`);
  return found;
}

describe("a pull in a room with peers that serve", () => {
  it("takes all of it from them and nothing but the manifest from the store", async () => {
    const { holder, pull } = await setup({ "big.bin": noise(24 * MIB, 1), "dir/a b+ü.txt": "x" });
    const { server } = await holder();
    const { sources, report, storeBytes } = await pull();
    expect(sources).toEqual({ peer: 24 * MIB + 1 });
    expect(storeBytes).toBeLessThan(64 * 1024);
    expect(server.servedBytes).toBe(24 * MIB + 1);
    expect(of(report, "desk 1")).toMatchObject({ use: "used", cost: "free" });
    expect(of(report, "s3").why).toMatch(/not needed/);
  });

  it("takes plain bytes of what is stored encoded", async () => {
    const root = fixture.tree("data", { "a.csv": "1,2,3\n".repeat(900_000) });
    const { artifact } = await fixture.push(root, { compress: "auto" });
    const { manifest } = await fixture.pull("reference");
    expect(Object.keys(manifest.stored ?? {})).toHaveLength(1);
    const { files } = await scanTree(root);
    const objects = new TreeObjects({ scan: { root, files }, manifest });
    const trees = pushedTree(artifact, { manifest, objects });
    await using server = await startDataServer({ trees, listen: { host: "127.0.0.1" } });
    const addresses = [...server.addresses];
    fixture.hub.holders = [{ peer: peerOf(1), name: "desk", addresses }];
    const { sources } = await fixture.pull("out");
    expect(sources).toEqual({ peer: 5_400_000 });
    expect(fixture.out("out")).toEqual(digestsOf(root));
  });

  it("shares the work among them", async () => {
    const { holder, pull } = await setup({ "big.bin": noise(48 * MIB, 2) });
    const [one, two] = [await holder(), await holder()];
    await pull();
    expect(one.server.servedBytes).toBeGreaterThan(MIB);
    expect(two.server.servedBytes).toBeGreaterThan(MIB);
  });

  it("asks nobody when it shall not, and nobody that fills when only whole copies are wanted", async () => {
    const { holder, pull } = await setup({ "big.bin": noise(2 * MIB, 3) });
    const { server } = await holder(undefined, { fills: true });
    const before = fixture.hub.calls.length;
    expect((await pull({ holders: { which: "none" } })).sources).toEqual({ s3: 2 * MIB });
    expect(fixture.hub.calls.slice(before)).not.toContain("showHolders");
    await fixture.pull("whole", { holders: { which: "whole" } });
    expect(server.servedBytes).toBe(0);
    await fixture.pull("all");
    expect(server.servedBytes).toBe(2 * MIB);
  });

  it("goes on without a hub that does not know who serves", async () => {
    const { holder, pull } = await setup({ "big.bin": noise(MIB, 4) });
    await holder();
    fixture.hub.fault = (route) =>
      route === "showHolders" ? new WaybillError("not_found", "no such route") : undefined;
    expect((await pull()).sources).toEqual({ s3: MIB });
  });

  it.each(["cheap", "fast"] as const)(
    "is not held up by addresses that do not answer or are another machine's (%s)",
    async (prefer) => {
      const { holder, pull } = await setup({ "big.bin": noise(4 * MIB, 5) });
      const { holder: own } = await holder();
      const heard: (string | undefined)[] = [];
      // Somebody else's server at an address of the reader's network: it must not see the token.
      const stranger = createServer((request, response) => {
        heard.push(request.headers.authorization);
        response.end(JSON.stringify({ proof: "0".repeat(64) }));
      }).listen(0, "127.0.0.1");
      endings.push(async () => stranger.close());
      const silent = createServer(() => undefined).listen(0, "127.0.0.1");
      endings.push(async () => {
        silent.closeAllConnections();
        silent.close();
      });
      await new Promise((resolve) => setTimeout(resolve, 20));
      const [token] = own.addresses.map((one) => one.token);
      const at = (port: number) => ({ url: `http://127.0.0.1:${port}`, token: token ?? "" });
      const portOf = (server: typeof silent) => (server.address() as AddressInfo).port;
      fixture.hub.holders = [
        { peer: peerOf(7), name: "afar", addresses: [{ ...at(9), url: "http://192.0.2.1:8780" }] },
        { peer: peerOf(8), name: "silent", addresses: [at(portOf(silent))] },
        { peer: peerOf(9), name: "stranger", addresses: [at(portOf(stranger))] },
      ];
      const startMs = performance.now();
      const { sources, report } = await pull({ prefer });
      expect(performance.now() - startMs).toBeLessThan(1900);
      expect(sources).toEqual({ s3: 4 * MIB });
      expect(of(report, "stranger").why).toMatch(/none of its addresses answers/);
      expect(heard).toEqual([undefined]);
    },
  );

  it("I7: blames and bans a peer that gives bad shards, tells it so, and no other", async () => {
    const { root, artifact, holder, pull } = await setup({ "big.bin": noise(16 * MIB, 6) });
    const bytes = await readFile(join(root, "big.bin"));
    const bad = fixture.tree("bad", {});
    await writeFile(join(bad, "big.bin"), bytes.fill(7, 0, 12 * MIB));
    const wrong = await holder(bad);
    const right = await holder();
    const { report, sources } = await pull();
    expect(of(report, "desk 1")).toMatchObject({ use: "dropped", badShards: 1 });
    expect([wrong.complaints, right.complaints]).toEqual([[artifact], []]);
    expect(of(report, "desk 1").why).toMatch(/failed its hash/);
    expect(of(report, "desk 2")).toMatchObject({ use: "used", badShards: 0 });
    expect(sources.s3 ?? 0).toBe(0);
  });

  it("I8: ends with the store when the peer goes, and asks that peer no more", async () => {
    const { holder, pull } = await setup({ "big.bin": noise(48 * MIB, 7) });
    const { server } = await holder();
    let stopping: Promise<void> | undefined;
    const { sources, report } = await pull({
      onProgress: ({ bytes, total }) => {
        if (bytes > total / 4) stopping ??= server.stop();
      },
    });
    await stopping;
    expect(sources.peer).toBeGreaterThan(0);
    expect(sources.s3).toBeGreaterThan(0);
    expect(of(report, "desk 1").use).toBe("dropped");
  });

  it("I10: tokens are in no report and no error", async () => {
    const { holder, pull } = await setup({ "big.bin": noise(MIB, 8) });
    const { holder: own } = await holder();
    const { report } = await pull();
    for (const { token } of own.addresses) expect(JSON.stringify(report)).not.toContain(token);
  });
});
