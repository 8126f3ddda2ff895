// A regional cache: what a cluster wants crosses its uplink once (docs/protocol/data-server.md §4).
import { createHash } from "node:crypto";
import { chmod, mkdir, open, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Holder } from "@waybill/sdk/protocol";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { getFrom, holdersOf } from "../support/holders.ts";
import { Lab } from "../support/lab.ts";
import { digestOf, writeRandomFile } from "../support/random-file.ts";
import type { Line } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;
const BYTES = 32 * MIB;

describe("a regional cache", () => {
  let lab: Lab;
  let digest: string;
  let artifact: string;
  let copies = 0;
  beforeEach(async () => {
    lab = await Lab.open({ counted: true });
    await mkdir(lab.path("model"));
    digest = await writeRandomFile(lab.path("model", "weights.bin"), BYTES);
    await lab.write("model/config.json", '{"layers": 3}');
    artifact = String((await lab.ask(["push", lab.path("model"), "--name", "model"]))["artifact"]);
    lab.counts.down = 0;
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  async function holder(): Promise<Holder> {
    const [one] = await holdersOf(lab, artifact);
    if (one === undefined) throw new Error("nobody serves it");
    return one;
  }

  /** Pulls into folders of their own, all at once; where each got its bytes from. */
  function pulls(count: number): Promise<Record<string, number>[]> {
    return Promise.all(
      Array.from({ length: count }, async () => {
        copies += 1;
        const copy = `copy-${copies}`;
        const done = await lab.ask(["pull", "model", lab.path(copy)]);
        expect(await digestOf(lab.path(copy, "weights.bin"))).toBe(digest);
        return done["sources"] as Record<string, number>;
      }),
    );
  }

  it("fetches an artifact once however many pull it, and again not at all", async () => {
    await lab.startCacheProxy("region");
    lab.counts.downBytesPerS = 16 * MIB;
    const first = await pulls(5);
    const second = await pulls(2);
    for (const sources of [...first, ...second]) {
      expect(sources).toEqual({ peer: BYTES + 13 });
    }
    expect(lab.counts.down).toBeLessThan(1.02 * BYTES);
    const stats = (await (await getFrom(await holder(), "/v1/stats")).json()) as Line;
    expect(stats).toMatchObject({ fills: 1, failedFills: 0, misses: 1 });
    expect(stats["servedBytes"]).toBe(7 * (BYTES + 13));
    expect(stats["originBytes"]).toBe(BYTES + 13);
  });

  it("tells what it did when it is stopped, and serves from its disk when it is back", async () => {
    const { proxy } = await lab.startCacheProxy("region");
    await pulls(1);
    const whole = (await proxy.until(({ type }) => type === "fill.whole")).at(-1);
    expect(whole).toMatchObject({ artifact, bytes: BYTES + 13 });
    proxy.child.kill("SIGTERM");
    const lines = await Array.fromAsync(proxy.rest());
    expect(await proxy.exit()).toBe(0);
    expect(lines.at(-1)).toMatchObject({ type: "summary", fills: 1, originBytes: BYTES + 13 });
    expect(await holdersOf(lab, artifact)).toEqual([]);
    lab.counts.down = 0;
    await lab.startCacheProxy("region");
    expect(await pulls(1)).toEqual([{ peer: BYTES + 13 }]);
    expect(lab.counts.down).toBeLessThan(MIB);
  });

  it("heals what a reader found damaged, and serves all of it to the next", async () => {
    await lab.startCacheProxy("region");
    await pulls(1);
    const cached = lab.path("region", "cache-proxy");
    const names = await readdir(cached, { recursive: true });
    const file = join(cached, names.find((name) => name.endsWith("/weights.bin")) ?? "");
    await chmod(file, 0o600);
    const damaged = await open(file, "r+");
    await damaged.write("damaged", 20 * MIB);
    await damaged.close();
    const [first] = await pulls(1);
    expect(first?.["s3"]).toBeGreaterThan(0);
    lab.counts.down = 0;
    expect(await pulls(1)).toEqual([{ peer: BYTES + 13 }]);
    expect(lab.counts.down).toBeLessThan(4 * MIB);
  });

  it("serves curl with a token from a file, in ranges, and nothing without one", async () => {
    await lab.startCacheProxy("region");
    const one = await holder();
    const object = `/v1/artifacts/${artifact}/objects`;
    const range = await getFrom(one, `${object}/weights.bin`, { range: "bytes=30000000-30000099" });
    expect(range.status).toBe(206);
    const weights = await readFile(lab.path("model", "weights.bin"));
    const bytes = Buffer.from(await range.arrayBuffer());
    expect(bytes.equals(weights.subarray(30_000_000, 30_000_100))).toBe(true);
    const whole = await getFrom(one, `${object}/weights.bin`);
    const hash = createHash("sha256").update(Buffer.from(await whole.arrayBuffer()));
    expect(hash.digest("hex")).toBe(digest);
    expect(await (await getFrom(one, `${object}/config.json`)).text()).toBe('{"layers": 3}');
    expect((await getFrom(one, `${object}/none`)).status).toBe(404);
    expect((await getFrom(one, `/v1/artifacts/${"0".repeat(64)}/artifact.json`)).status).toBe(404);
    const url = one.addresses[0]?.url ?? "";
    const wrong = { addresses: [{ url, token: "0".repeat(64) }] };
    for (const path of [`${object}/config.json`, "/v1/artifacts", "/v1/stats"]) {
      expect((await getFrom(wrong, path)).status).toBe(401);
    }
  });

  it("refuses what is larger than it may be, and its readers go to the store", async () => {
    await lab.startCacheProxy("region", ["--cache-size", "8M"]);
    const path = `/v1/artifacts/${artifact}/objects/config.json`;
    expect((await getFrom(await holder(), path)).status).toBe(507);
    lab.counts.down = 0;
    expect(await pulls(1)).toEqual([{ s3: BYTES + 13 }]);
    expect(lab.counts.down).toBeLessThan(1.02 * BYTES);
  });

  it("gives its oldest artifact up for a new one", async () => {
    await lab.startCacheProxy("region", ["--cache-size", "40M"]);
    await pulls(1);
    await mkdir(lab.path("other"));
    await writeRandomFile(lab.path("other", "weights.bin"), BYTES);
    await lab.ask(["push", lab.path("other"), "--name", "other"]);
    const done = await lab.ask(["pull", "other", lab.path("other-copy")]);
    expect(done["sources"]).toEqual({ peer: BYTES });
    const one = await holder();
    // What was read a moment ago is still held then, and goes at the next look.
    await vi.waitFor(
      async () => {
        const { artifacts } = (await (await getFrom(one, "/v1/artifacts")).json()) as {
          artifacts: { artifact: string }[];
        };
        expect(artifacts.map((each) => each.artifact)).toEqual([done["artifact"]]);
      },
      { timeout: 30_000, interval: 500 },
    );
  });

  it("asks another cache before the store where regions are chained", async () => {
    const { url } = await lab.startCacheProxy("far");
    const [far] = await holdersOf(lab, artifact);
    const token = far?.addresses[0]?.token ?? "";
    await lab.startCacheProxy("near", ["--upstream", url], { WAYBILL_UPSTREAM_TOKEN: token });
    await lab.startCacheProxy("here", ["--upstream", url]);
    for (const name of ["near", "here"]) {
      const one = (await holdersOf(lab, artifact)).find((each) => each.name === name);
      const got = await getFrom(
        one ?? { addresses: [] },
        `/v1/artifacts/${artifact}/objects/weights.bin`,
      );
      const hash = createHash("sha256").update(Buffer.from(await got.arrayBuffer()));
      expect(hash.digest("hex")).toBe(digest);
    }
    expect(lab.counts.down).toBeLessThan(1.02 * BYTES);
  });
});
