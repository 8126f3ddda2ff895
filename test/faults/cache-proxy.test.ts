// A regional cache that dies, whose readers are slow, and whose origin is away (docs/protocol/data-server.md §4).
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { once } from "node:events";
import { request } from "node:http";
import type { Holder } from "@waybill/sdk/protocol";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { getFrom, holdersOf } from "../support/holders.ts";
import { Lab } from "../support/lab.ts";
import { peakRssBytes } from "../support/memory.ts";
import { digestOf, writeRandomFile } from "../support/random-file.ts";

const MIB = 1024 * 1024;
const BYTES = 32 * MIB;

describe("a regional cache", () => {
  let lab: Lab;
  let digest: string;
  let object: string;
  let artifact: string;
  beforeEach(async () => {
    lab = await Lab.open({ counted: true });
    await mkdir(lab.path("model"));
    digest = await writeRandomFile(lab.path("model", "weights.bin"), BYTES);
    artifact = String((await lab.ask(["push", lab.path("model"), "--name", "model"]))["artifact"]);
    object = `/v1/artifacts/${artifact}/objects/weights.bin`;
    lab.counts.down = 0;
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  async function holder(): Promise<Holder> {
    const [one] = await holdersOf(lab, artifact);
    if (one === undefined) throw new Error("nobody serves it");
    return one;
  }

  /** Reads the object; what came of it, and its digest. */
  async function read(from: Holder): Promise<{ bytes: number; digest: string; isCut: boolean }> {
    const hash = createHash("sha256");
    let bytes = 0;
    let isCut = false;
    try {
      const { body } = await getFrom(from, object);
      for await (const piece of body ?? []) {
        hash.update(piece as Uint8Array);
        bytes += (piece as Uint8Array).length;
      }
    } catch {
      isCut = true;
    }
    return { bytes, digest: hash.digest("hex"), isCut };
  }

  it("I2: that is killed goes on where it was when it is back", async () => {
    const { proxy } = await lab.startCacheProxy("region");
    lab.counts.downBytesPerS = 24 * MIB;
    const cut = read(await holder());
    await vi.waitFor(() => expect(lab.counts.down).toBeGreaterThan(BYTES / 2), { timeout: 20_000 });
    await proxy.kill();
    expect((await cut).isCut).toBe(true);
    lab.counts.downBytesPerS = Infinity;
    await lab.startCacheProxy("region");
    expect(await read(await holder())).toMatchObject({ bytes: BYTES, digest, isCut: false });
    // What was under way when it was killed comes twice: a few requests.
    expect(lab.counts.down).toBeLessThan(1.25 * BYTES);
  });

  it("I8: that is killed sends its readers to the store, and none of them fails", async () => {
    const { proxy } = await lab.startCacheProxy("region");
    lab.counts.downBytesPerS = 16 * MIB;
    const pulls = [1, 2, 3].map(async (at) => {
      const done = await lab.ask(["pull", "model", lab.path(`copy-${at}`)]);
      expect(await digestOf(lab.path(`copy-${at}`, "weights.bin"))).toBe(digest);
      return done["sources"] as Record<string, number>;
    });
    await vi.waitFor(() => expect(lab.counts.down).toBeGreaterThan(BYTES / 2), { timeout: 20_000 });
    lab.counts.downBytesPerS = Infinity;
    await proxy.kill();
    for (const { peer = 0, s3 = 0 } of await Promise.all(pulls)) {
      expect(peer + s3).toBe(BYTES);
      expect(peer).toBeGreaterThan(0);
    }
  });

  it("I3: stays small with fifty readers, none of which a reader that takes nothing slows down", async () => {
    const { proxy } = await lab.startCacheProxy("region");
    const from = await holder();
    const { url = "", token = "" } = from.addresses[0] ?? {};
    const headers = { authorization: `Bearer ${token}` };
    const slow = Array.from({ length: 8 }, () => {
      const asked = request(`${url}${object}`, { headers });
      asked.on("error", () => undefined);
      asked.on("response", (response) => response.pause());
      return asked.end();
    });
    await Promise.all(slow.map((one) => once(one, "response")));
    const all = await Promise.all(Array.from({ length: 50 }, () => read(from)));
    expect(new Set(all.map((one) => one.digest))).toEqual(new Set([digest]));
    expect(lab.counts.down).toBeLessThan(1.02 * BYTES);
    expect(await peakRssBytes(proxy.child.pid)).toBeLessThan(320 * MIB);
    for (const one of slow) one.destroy();
  });

  it("serves what it has while its hub is away, says 503 of the rest, and fetches that when the hub is back", async () => {
    await lab.startCacheProxy("region");
    const from = await holder();
    expect(await read(from)).toMatchObject({ digest });
    await mkdir(lab.path("other"));
    await writeRandomFile(lab.path("other", "weights.bin"), MIB);
    const { artifact: other } = await lab.ask(["push", lab.path("other"), "--name", "other"]);
    const path = `/v1/artifacts/${String(other)}/objects/weights.bin`;
    await lab.hub.kill();
    const waiting = [getFrom(from, path), getFrom(from, path)];
    expect(await read(from)).toMatchObject({ digest });
    for (const one of await Promise.all(waiting)) {
      expect([one.status, one.headers.get("retry-after")]).toEqual([503, "1"]);
    }
    await lab.startHub();
    await vi.waitFor(async () => expect((await getFrom(from, path)).status).toBe(200), {
      timeout: 20_000,
      interval: 500,
    });
  });
});
