// docs/protocol/signaling.md, `relay.usage`: counters are cumulative, and no byte counts twice.
import { PeerId } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { RelayUsage } from "./relay-usage.ts";

const peer = (i: number) => v.parse(PeerId, `p_${String(i).padStart(16, "0")}_1`);
const report = (peerId: PeerId, connection: string, bytes: number) => ({
  peerId,
  name: "somebody",
  connection,
  sent: bytes,
  received: bytes,
});

describe("what a room has relayed", () => {
  it("is counted once for a peer with 17 connections to each of a hundred others", () => {
    const usage = new RelayUsage("hub", "2026-01-01");
    for (let round = 1; round <= 3; round++) {
      for (let i = 0; i < 1700; i++) usage.count(report(peer(1), `c${i}`, round * 1000));
    }
    expect(usage.usedBytes).toBe(1700 * 3000);
  });

  it("never counts a connection twice that was forgotten among more than can be remembered", () => {
    const usage = new RelayUsage("hub", "2026-01-01");
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 3000; i++) usage.count(report(peer(1), `c${i}`, 1000));
    }
    expect(usage.usedBytes).toBe(2048 * 1000);
  });

  it("never counts a connection twice of a peer that is one too many to be remembered", () => {
    const usage = new RelayUsage("hub", "2026-01-01");
    const all = Array.from({ length: 1024 }, (_, i) => report(peer(i), "c", 10));
    for (const one of all) usage.count(one);
    // The next day the peers of the day before are still known.
    usage.roll("2026-01-02", () => true);
    for (let i = 0; i < 3; i++) usage.count(report(peer(5000), "c", 10));
    expect(usage.usedBytes).toBe(0);
  });
});
