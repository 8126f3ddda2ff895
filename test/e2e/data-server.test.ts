// What a worker has cached is not downloaded again by the others: it serves it to them, and to members who pull
// (docs/protocol/data-server.md).
import type { Holder } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { digestOf } from "../support/random-file.ts";
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
