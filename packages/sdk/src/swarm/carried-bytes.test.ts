// docs/protocol/peer-channel.md 43: what is metered.
import { describe, expect, it } from "vitest";
import { CarriedBytes } from "./carried-bytes.ts";
import type { SelectedPair } from "./selected-pair.ts";

const pair = (local: "host" | "relay", sentBytes = 0, receivedBytes = 0): SelectedPair => ({
  local,
  remote: "host",
  sentBytes,
  receivedBytes,
});

describe("bytes of a relayed connection", () => {
  it("are those of the channels when the statistics say less", () => {
    const carried = new CarriedBytes();
    expect(carried.least(pair("relay", 10, 20), 1000, 5)).toEqual(pair("relay", 1000, 20));
  });

  it("count from when its pair became relayed", () => {
    const carried = new CarriedBytes();
    carried.least(pair("host"), 1e9, 2e9);
    const first = carried.least(pair("relay"), 1e9 + 7, 2e9 + 8);
    expect([first.sentBytes, first.receivedBytes]).toEqual([7, 8]);
    const next = carried.least(pair("relay"), 1e9 + 70, 2e9 + 80);
    expect([next.sentBytes, next.receivedBytes]).toEqual([70, 80]);
  });
});
