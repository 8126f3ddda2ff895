import { readFileSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RangeServer, TransferFixture, digestsOf, noise } from "../testing/index.ts";
import { RoomId, decodeValue } from "../protocol/index.ts";
import { type SourceReport, pullArtifact } from "./index.ts";

const MIB = 1024 * 1024;
const MBIT = 125_000;
const room = decodeValue(RoomId, "lab", "room");
let fixture: TransferFixture;
let servers: RangeServer[];

beforeEach(async () => {
  fixture = await TransferFixture.open();
  servers = [];
});

afterEach(async () => {
  for (const server of servers) await server.stop();
  await fixture.close();
});

/** A mirror of a folder, as a web server over it lays it out. */
async function mirror(dir: string, bytesPerS?: number): Promise<RangeServer> {
  const paths = readdirSync(dir, { recursive: true, encoding: "utf8" })
    .map((path) => join(dir, path))
    .filter((path) => statSync(path).isFile());
  const server = new RangeServer(paths.map((path) => [relative(dir, path), readFileSync(path)]));
  server.bytesPerS = bytesPerS;
  servers.push(await server.start());
  return server;
}

/** The report of the source whose name contains `part`. */
function of(report: readonly SourceReport[], part: string): SourceReport {
  const found = report.find(({ source }) => source.includes(part));
  if (found === undefined) throw new Error(`no source ${part}`);
  return found;
}

const hostOf = (server: RangeServer) => new URL(server.url).host;

// Which source brings how much how fast is shown in virtual time (download-pace.test.ts, source-lag.test.ts): here, on
// real sockets, a busy machine has no say in what passes.
describe("a pull from several sources", () => {
  it("draws from two mirrors by their rates and leaves the paid store alone", async () => {
    const root = fixture.tree("data", { "big.bin": noise(48 * MIB, 1), "dir/a b+ü.txt": "x" });
    await fixture.push(root);
    const [a, b] = [await mirror(root, 300 * MBIT), await mirror(root, 200 * MBIT)];
    const before = fixture.hub.store.servedBytes;
    const { report } = await fixture.pull("out", { mirrors: [a.url, b.url] });
    expect(fixture.out("out")).toEqual(digestsOf(root));
    // The manifest comes from the store; a busy machine may make mirrors look slow enough for a probe of it.
    expect(fixture.hub.store.servedBytes - before).toBeLessThan(12 * MIB);
    expect(of(report, hostOf(a)).bytes).toBeGreaterThan(0);
    expect(of(report, hostOf(b)).bytes).toBeGreaterThan(0);
  });

  it("goes on when the faster mirror dies half-way", async () => {
    const root = fixture.tree("data", { "big.bin": noise(32 * MIB, 2) });
    await fixture.push(root);
    const [fast, slow] = [await mirror(root, 160 * MBIT), await mirror(root, 80 * MBIT)];
    let stopping: Promise<void> | undefined;
    const { report } = await fixture.pull("out", {
      mirrors: [fast.url, slow.url],
      onProgress: ({ bytes, total }) => {
        if (bytes > total / 2) stopping ??= fast.stop();
      },
    });
    await stopping;
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(of(report, hostOf(slow)).bytes).toBeGreaterThan(0);
  });

  it("from a mirror that serves 1 % corrupted ranges gets the right bytes", async () => {
    const root = fixture.tree("data", { "big.bin": noise(128 * MIB, 3) });
    await fixture.push(root);
    const bad = await mirror(root);
    bad.fault = ({ number }) => (number % 100 === 50 ? { type: "flip", at: 12_345 } : undefined);
    const { report } = await fixture.pull("out", { mirrors: [bad.url] });
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(bad.servedBytes).toBeLessThan(1.3 * 128 * MIB);
    expect(of(report, hostOf(bad)).share).toBeGreaterThan(0.5);
  });

  it("does without mirrors that have nothing, have something else, are portals or are not there", async () => {
    const root = fixture.tree("data", { "big.bin": noise(9 * MIB, 4), small: "s" });
    await fixture.push(root);
    const other = fixture.tree("other", { "big.bin": noise(8 * MIB, 5), small: "z" });
    const [empty, wrong, portal, gone] = [
      await mirror(fixture.tree("empty", { nothing: "" })),
      await mirror(other),
      await mirror(root),
      await mirror(root),
    ];
    portal.fault = () => ({
      type: "answer",
      status: 200,
      headers: { "content-type": "text/html; charset=utf-8" },
      body: "<html>Log in</html>",
    });
    await gone.stop();
    const mirrors = [empty, wrong, portal, gone].map(({ url }) => url);
    const { sources, report } = await fixture.pull("out", { mirrors });
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(sources).toEqual({ s3: 9 * MIB + 1 });
    expect(of(report, hostOf(empty)).why).toMatch(/refused .* with 404/);
    expect(of(report, hostOf(wrong)).why).toMatch(/has another big.bin/);
    expect(of(report, hostOf(portal)).why).toMatch(/a web page/);
    expect(of(report, "s3").why).toMatch(/no cheaper source/);
  });

  it("uses a mirror without ranges for whole files", async () => {
    const root = fixture.tree("data", { "a.bin": noise(9 * MIB, 6), "b.bin": noise(3 * MIB, 7) });
    await fixture.push(root);
    const plain = await mirror(root);
    plain.ranges = false;
    fixture.hub.store.fault = ({ key }) =>
      key.endsWith(".bin") ? { type: "answer", status: 503 } : undefined;
    const { sources } = await fixture.pull("out", { mirrors: [plain.url] });
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(sources).toEqual({ http: 12 * MIB });
  });

  it("uses every endpoint of the store that the hub signs for", async () => {
    const root = fixture.tree("data", { "big.bin": noise(32 * MIB, 12) });
    await fixture.push(root);
    const second = await mirror(root);
    // As hubs do that sign only what is asked for.
    fixture.hub.givesReading = false;
    const hub = fixture.hub.client();
    const call: typeof hub.call = async (name, input, options) => {
      const answer = await hub.call(name, input, options);
      const { reads } = answer as { reads?: { key: string; url: string }[] };
      for (const { key } of name === "signReads" ? [...(reads ?? [])] : []) {
        reads?.push({ key, url: `${second.url}/${key}?signature=secret` });
      }
      return answer;
    };
    const { report } = await pullArtifact(
      { call },
      { room, ref: "data", dir: join(fixture.base, "out") },
    );
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(report.map(({ kind, use }) => [kind, use])).toEqual([
      ["s3", "used"],
      ["s3", "used"],
    ]);
    expect(JSON.stringify(report)).not.toContain("secret");
  });

  it("loses hardly a byte to a link that resets every connection after a second", async () => {
    const root = fixture.tree("data", { "big.bin": noise(16 * MIB, 13) });
    await fixture.push(root);
    const cut = await mirror(root, 48 * MBIT);
    cut.resetAgeMs = 1000;
    const { report } = await fixture.pull("out", { mirrors: [cut.url] });
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(cut.resets).toBeGreaterThan(0);
    expect(of(report, hostOf(cut)).share).toBeGreaterThan(0.5);
    expect(cut.servedBytes).toBeLessThan(2 * 16 * MIB);
  });

  it("asks all at once when speed is all that counts", async () => {
    const root = fixture.tree("data", { "big.bin": noise(32 * MIB, 8) });
    await fixture.push(root);
    const slow = await mirror(root, 40 * MBIT);
    const { report } = await fixture.pull("out", { mirrors: [slow.url], prefer: "fast" });
    expect(fixture.out("out")).toEqual(digestsOf(root));
    expect(of(report, "s3").bytes).toBeGreaterThan(0);
  });

  it("joins the paid store when the mirror would miss the deadline", async () => {
    const root = fixture.tree("data", { "big.bin": noise(32 * MIB, 9) });
    await fixture.push(root);
    const slow = await mirror(root, 8 * MBIT);
    const { report } = await fixture.pull("out", {
      mirrors: [slow.url],
      prefer: { deadlineMs: 8000 },
    });
    expect(of(report, "s3").why).toMatch(/deadline/);
  });

  it("I8: goes on over a store that is away for a while and refuses its old URLs after that", async () => {
    const root = fixture.tree("data", { "big.bin": noise(24 * MIB, 10) });
    await fixture.push(root);
    const { store } = fixture.hub;
    let noticed: (() => void) | undefined;
    const missed = new Promise<void>((resolve) => (noticed = resolve));
    let outage: Promise<void> | undefined;
    await fixture.pull("out", {
      onRetry: () => noticed?.(),
      onProgress: ({ bytes, total }) => {
        if (bytes < total / 2 || outage !== undefined) return;
        outage = (async () => {
          await store.stop();
          store.expireUrls();
          await missed;
          await store.start();
        })();
      },
    });
    await outage;
    expect(fixture.out("out")).toEqual(digestsOf(root));
  });

  it("gives up after `retryForMs` without a shard, naming every source and why", async () => {
    const root = fixture.tree("data", { "big.bin": noise(9 * MIB, 11) });
    await fixture.push(root);
    const dead = await mirror(root);
    await dead.stop();
    fixture.hub.store.fault = ({ key }) =>
      key.endsWith("big.bin") ? { type: "answer", status: 503 } : undefined;
    let report: readonly SourceReport[] = [];
    const pulling = fixture.pull("out", {
      mirrors: [dead.url],
      retryForMs: 500,
      onReport: (facts) => (report = facts),
    });
    await expect(pulling).rejects.toMatchObject({ code: "no_source_left" });
    await expect(pulling).rejects.toThrow(/s3: store .* refused .* 503.*/);
    expect(report.map(({ use }) => use)).toEqual(["dropped", "dropped"]);
  });

  it("refuses what is no mirror and no time before it asks for anything", async () => {
    await expect(fixture.pull("out", { mirrors: ["/tmp/x"] })).rejects.toMatchObject({
      code: "invalid_request",
    });
    await expect(fixture.pull("out", { prefer: { deadlineMs: -1 } })).rejects.toMatchObject({
      code: "invalid_request",
    });
  });
});
