import { describe, expect, it } from "vitest";
import * as v from "valibot";
import { ArtifactId } from "@waybill/sdk/protocol";
import { type RoomEntry, type RoomFacts, planRoom } from "./room-plan.ts";

const entry = (digit: string, more: Partial<RoomEntry> = {}): RoomEntry => ({
  artifact: v.parse(ArtifactId, digit.repeat(64)),
  bytes: 100,
  usedMs: Number.parseInt(digit, 16),
  inUse: false,
  pinned: false,
  ...more,
});

const facts = (more: Partial<RoomFacts> = {}): RoomFacts => ({
  entries: [entry("3"), entry("1"), entry("2")],
  leftovers: [],
  announcedBytes: 0,
  unwrittenBytes: 0,
  freeBytes: 10_000,
  limits: { maxBytes: 300, minFreeBytes: 0 },
  ...more,
});

/** First digits of what goes, and the verdict. */
function planned(about: RoomFacts, bytes: number): string {
  const { evict, drop, verdict } = planRoom(about, bytes);
  const names = [...drop.map(({ name }) => name), ...evict.map(({ artifact }) => artifact[0])];
  return [...names, verdict].join(" ");
}

describe("the room in a cache", () => {
  it("evicts the least recently used, and no more than it must", () => {
    expect(planned(facts(), 0)).toBe("fits");
    expect(planned(facts(), 100)).toBe("1 fits");
    expect(planned(facts(), 101)).toBe("1 2 fits");
  });

  it("never evicts what is in use or pinned", () => {
    const entries = [entry("1", { inUse: true }), entry("2", { pinned: true }), entry("3")];
    expect(planned(facts({ entries }), 100)).toBe("3 fits");
  });

  it("lets one artifact over the cap when the rest cannot go, and makes a second one wait", () => {
    const entries = ["1", "2", "3"].map((digit) => entry(digit, { inUse: true }));
    expect(planned(facts({ entries }), 50)).toBe("over");
    expect(planned(facts({ entries, announcedBytes: 50 }), 50)).toBe("full");
  });

  it("lets an artifact in that is larger than the cap, once everything else is gone", () => {
    expect(planned(facts(), 1000)).toBe("1 2 3 over");
  });

  it("counts what other fillers have announced", () => {
    expect(planned(facts({ announcedBytes: 100 }), 100)).toBe("1 2 fits");
  });

  it("drops broken fillings before it evicts, the oldest first", () => {
    const leftovers = [
      { name: "new", bytes: 60, usedMs: 9 },
      { name: "old", bytes: 60, usedMs: 8 },
    ];
    expect(planned(facts({ leftovers }), 0)).toBe("old new fits");
    expect(planned(facts({ leftovers }), 100)).toBe("old new 1 fits");
  });

  it("keeps the floor free, counting what others have yet to write", () => {
    const limits = { maxBytes: 10_000, minFreeBytes: 500 };
    expect(planned(facts({ limits, freeBytes: 650 }), 100)).toBe("fits");
    expect(planned(facts({ limits, freeBytes: 550 }), 100)).toBe("1 fits");
    expect(planned(facts({ limits, freeBytes: 650, unwrittenBytes: 100 }), 100)).toBe("1 fits");
    expect(planned(facts({ limits, freeBytes: 100 }), 300)).toBe("1 2 3 no space");
  });
});
