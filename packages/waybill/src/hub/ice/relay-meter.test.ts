import { type HubToPeer, PeerId, RoomId } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { Documents } from "../bucket/documents.ts";
import { MemoryBucket } from "../bucket/memory-bucket.ts";
import { RelayMeter } from "./relay-meter.ts";

const lab = v.parse(RoomId, "lab");
const peer = (name: string) => v.parse(PeerId, `p_${"k".repeat(16)}_${name}`);
const START_MS = Date.UTC(2026, 0, 1, 12);
const DAY_MS = 86_400_000;

class Setup {
  nowMs = START_MS;
  budgetBytes: number | undefined = 1000;
  here = true;
  storeIsAway = false;
  readonly bucket = new MemoryBucket({
    before: () => {
      if (this.storeIsAway) throw new Error("gone");
    },
  });
  readonly told: Extract<HubToPeer, { type: "relay.budget" }>["budget"][] = [];
  readonly warnings: string[] = [];
  #hubs = 0;

  hub(): RelayMeter {
    this.#hubs += 1;
    return new RelayMeter({
      documents: new Documents({ bucket: this.bucket, now: () => this.nowMs }),
      policies: {
        of: async () => ({
          icePolicy: "all",
          ...(this.budgetBytes === undefined ? {} : { relayBudgetBytes: this.budgetBytes }),
        }),
      },
      hub: `hub${this.#hubs}`,
      isHere: () => this.here,
      hasPeers: () => this.here,
      broadcast: (_, message) => {
        if (message.type === "relay.budget") this.told.push(message.budget);
      },
      clock: () => this.nowMs,
      log: (level, message) => {
        if (level === "warn") this.warnings.push(message);
      },
    });
  }
}

const says = (
  meter: RelayMeter,
  name: string,
  sentBytes: number,
  receivedBytes: number,
  connection = "c1",
) =>
  meter.report(
    { room: lab, peerId: peer(name), name },
    { type: "relay.usage", connection, peer: peer("other"), sentBytes, receivedBytes },
  );

describe("relayed bytes", () => {
  it("count once for a room, however many ends tell of them, and grow only", async () => {
    const meter = new Setup().hub();
    says(meter, "a", 100, 10);
    says(meter, "b", 10, 100);
    await meter.usage(lab);
    says(meter, "a", 300, 10);
    says(meter, "a", 200, 5);
    says(meter, "b", 0, 50, "c2");
    expect(await meter.usage(lab)).toEqual({
      budget: { day: "2026-01-01", usedBytes: 310, budgetBytes: 1000, exhausted: false },
      peers: [
        { peerId: peer("a"), name: "a", sentBytes: 300, receivedBytes: 10 },
        { peerId: peer("b"), name: "b", sentBytes: 10, receivedBytes: 150 },
      ],
    });
  });

  it("add up over hubs, and connections go on at another hub and after a restart", async () => {
    const setup = new Setup();
    const [first, second] = [setup.hub(), setup.hub()];
    await Promise.all([first.usage(lab), second.usage(lab)]);
    says(first, "a", 100, 0);
    says(second, "b", 50, 0);
    await Promise.all([first.stop(), second.stop()]);
    const third = setup.hub();
    says(third, "a", 120, 0);
    expect((await third.usage(lab)).budget.usedBytes).toBe(170);
    await third.tick();
    await first.tick();
    expect((await setup.hub().usage(lab)).budget.usedBytes).toBe(170);
  });

  it("survive that a hub forgets a room nobody is in", async () => {
    const setup = new Setup();
    const meter = setup.hub();
    says(meter, "a", 100, 0);
    await meter.usage(lab);
    setup.here = false;
    await meter.tick();
    says(meter, "a", 150, 0);
    expect((await meter.usage(lab)).budget.usedBytes).toBe(150);
    await meter.tick();
    expect((await setup.hub().usage(lab)).budget.usedBytes).toBe(150);
  });

  it("of a day stay to be read, and the next day counts what comes then", async () => {
    const setup = new Setup();
    const meter = setup.hub();
    says(meter, "a", 100, 0);
    await meter.usage(lab);
    setup.nowMs += DAY_MS;
    says(meter, "a", 130, 0);
    const used = async (day?: string) => (await meter.usage(lab, day)).budget.usedBytes;
    expect([await used(), await used("2026-01-01")]).toEqual([30, 100]);
    await meter.tick();
    expect([await used(), await used("2026-01-01")]).toEqual([30, 100]);
    const restarted = setup.hub();
    says(restarted, "a", 140, 0);
    expect((await restarted.usage(lab)).budget.usedBytes).toBe(40);
  });

  it("are told when they reach the budget, once, and when there is one again", async () => {
    const setup = new Setup();
    const meter = setup.hub();
    expect(await meter.budgetOf(lab)).toMatchObject({ usedBytes: 0, exhausted: false });
    says(meter, "a", 999, 0);
    expect(setup.told).toEqual([]);
    says(meter, "a", 1001, 0);
    says(meter, "a", 1002, 0);
    const day = "2026-01-01";
    expect(setup.told).toEqual([{ day, usedBytes: 1001, budgetBytes: 1000, exhausted: true }]);
    expect(setup.warnings).toHaveLength(1);
    expect(await setup.hub().budgetOf(lab)).toMatchObject({ exhausted: false });
    await meter.tick();
    expect(await setup.hub().budgetOf(lab)).toMatchObject({ usedBytes: 1002, exhausted: true });
    meter.onPolicy(lab, { icePolicy: "all", relayBudgetBytes: 2000 });
    meter.onPolicy(lab, { icePolicy: "all", relayBudgetBytes: 500 });
    setup.nowMs += DAY_MS;
    await meter.tick();
    expect(setup.told.map((one) => one.exhausted).slice(-3)).toEqual([false, true, false]);
    expect(setup.told.at(-1)).toMatchObject({ day: "2026-01-02", usedBytes: 0 });
  });

  it("of a store that is away are written later", async () => {
    const setup = new Setup();
    const meter = setup.hub();
    await meter.usage(lab);
    says(meter, "a", 100, 0);
    setup.storeIsAway = true;
    await meter.tick();
    expect(setup.warnings).toHaveLength(1);
    setup.storeIsAway = false;
    await meter.stop();
    expect((await setup.hub().usage(lab)).budget.usedBytes).toBe(100);
  });

  it("are remembered for a bounded number of peers and connections, and stay numbers", async () => {
    const setup = new Setup();
    const meter = setup.hub();
    await meter.usage(lab);
    for (let i = 0; i < 1100; i++) says(meter, `n${i}`, 1, 0);
    for (let i = 0; i < 1000; i++) says(meter, "n0", 1, 0, `c${i + 2}`);
    const { budget, peers } = await meter.usage(lab);
    expect([budget.usedBytes, peers.length]).toEqual([2024, 1024]);
    for (let i = 0; i < 3; i++) says(meter, "n1", Number.MAX_SAFE_INTEGER, 0, `big${i}`);
    await meter.tick();
    expect((await setup.hub().usage(lab)).budget.usedBytes).toBe(Number.MAX_SAFE_INTEGER);
  });
});
