// What a worker has cached is not downloaded again by the others: it serves it to them, and to members who pull
// (docs/protocol/data-server.md).
import { mkdir } from "node:fs/promises";
import type { Holder } from "@waybill/sdk/protocol";
import { describe, expect, it, vi } from "vitest";
import { Lab } from "../support/lab.ts";
import { digestOf } from "../support/random-file.ts";
import { QUICK_TRAINER } from "../support/scripts.ts";
import { DATASET_BYTES, ServedCache, isUnderWay } from "../support/served-cache.ts";
import { runWaybill } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;

describe("a dataset that a worker has cached", () => {
  it("comes to another worker, and to a member who pulls, from that worker, and nothing of it from the store", async () => {
    await using room = await ServedCache.open();
    const { lab, digest } = room;
    await lab.startWorker("two");
    const before = lab.counts.down;
    expect(await room.outcome(room.train("two"))).toEqual({
      exit: 0,
      state: "completed",
      digest,
      sources: { peer: DATASET_BYTES },
    });
    // The manifest, and the model that was pushed.
    expect(lab.counts.down - before).toBeLessThan(MIB);
    await room.untilCached(2);
    const workers = await room.workers();
    expect(workers.map(({ serves }) => serves)).toEqual([true, true]);
    expect(JSON.stringify(workers)).not.toMatch(/token|:8780/);

    const holders = async (...words: string[]) => {
      const ask = ["artifact", "holders", room.artifact, ...words];
      return (await runWaybill(ask, lab.machine("owner"))).lines;
    };
    expect(new Set((await holders()).map(({ name }) => name))).toEqual(new Set(["one", "two"]));
    expect(JSON.stringify(await holders())).not.toContain("token");
    const [holder] = (await holders("--tokens")) as unknown as Holder[];
    const [address] = holder?.addresses ?? [];
    const list = await fetch(`${address?.url}/v1/artifacts`, {
      headers: { authorization: `Bearer ${address?.token}` },
    });
    expect(await list.json()).toEqual({
      artifacts: expect.arrayContaining([{ artifact: room.artifact, bytes: DATASET_BYTES }]),
    });

    const out = lab.path("out");
    const pull = ["pull", room.artifact, out, "--explain"];
    const { lines, errors } = await runWaybill(pull, lab.machine("owner"));
    const done = lines.find(({ type }) => type === "done");
    expect(done?.["sources"], errors).toEqual({ peer: DATASET_BYTES });
    expect(await digestOf(lab.path("out", "big.bin"))).toBe(digest);
    const explained = lines.find(({ type }) => type === "explain");
    expect(JSON.stringify(explained)).toMatch(/"source":"peer (one|two) \(p_/);
    expect(lab.counts.down - before).toBeLessThan(MIB);

    const alone = await lab.ask(["pull", room.artifact, lab.path("alone"), "--no-peers"]);
    expect(alone["sources"]).toEqual({ s3: DATASET_BYTES });
  });

  it("comes from the store when that worker is killed in the middle", async () => {
    await using room = await ServedCache.open(["--data-limit", "6M"]);
    await room.lab.startWorker("two");
    const client = room.train("two");
    await client.until(isUnderWay);
    await room.first.kill();
    const { sources, ...outcome } = await room.outcome(client);
    expect(outcome).toEqual({ exit: 0, state: "completed", digest: room.digest });
    expect(Number(sources["peer"])).toBeGreaterThan(0);
    expect(Number(sources["s3"])).toBeGreaterThan(0);
  });

  it("stays with a worker that serves nothing", async () => {
    await using room = await ServedCache.open(["--data-port", "off"]);
    await room.lab.startWorker("two");
    const { sources } = await room.outcome(room.train("two"));
    expect(sources).toEqual({ s3: DATASET_BYTES });
  });
});

describe("a model", () => {
  it("comes from the worker that trained it, which has it from then on", async () => {
    await using lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", QUICK_TRAINER);
    await mkdir(lab.path("data"));
    await lab.write("data/a.txt", "a");
    const named = ["--code", lab.path("code"), "--alias", "quick", "-d", lab.path("data")];
    await runWaybill(["train", ...named, "--", "node", "train.mjs"], lab.machine("owner"));
    await vi.waitFor(
      async () => {
        const { availability } = await lab.ask(["model", "show", "quick"]);
        expect(availability).toMatchObject({ cached_on_workers: [{ can_serve_p2p: true }] });
      },
      { timeout: 30_000, interval: 250 },
    );
    const { bytes, sources } = await lab.ask(["model", "pull", "quick", lab.path("out")]);
    expect(sources).toEqual({ peer: bytes });
  });
});
