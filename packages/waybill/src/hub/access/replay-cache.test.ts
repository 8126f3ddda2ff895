import { LIMITS } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub, newIdentity } from "../hub.fixture.ts";
import { ReplayCache } from "./replay-cache.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const MINUTE_MS = 60_000;

describe("ReplayCache", () => {
  it("stays bounded under a flood and never accepts what it had to forget", () => {
    const cache = new ReplayCache({ perMaker: 100 });
    const old = NOW_MS - 5 * MINUTE_MS;
    expect(cache.admit("key", "first", old, NOW_MS)).toBe(true);
    for (let i = 0; i < 100; i++) expect(cache.admit("key", `n${i}`, NOW_MS, NOW_MS)).toBe(true);
    expect(cache.admit("key", "first", old, NOW_MS)).toBe(false);
    expect(cache.admit("key", "later", NOW_MS, NOW_MS)).toBe(true);
    expect(cache.admit("key", "later", NOW_MS, NOW_MS)).toBe(false);
    expect(cache.admit("key", "n7", NOW_MS, NOW_MS)).toBe(false);
    expect(cache.admit("key", "next", NOW_MS + MINUTE_MS, NOW_MS)).toBe(true);
  });

  it("lets a flooder block itself only", () => {
    const cache = new ReplayCache({ perMaker: 100, total: 250 });
    // Their clock is slow, and their proof is not forgotten for others' sake.
    const slow = NOW_MS - 10 * MINUTE_MS;
    expect(cache.admit("member", "one", slow, NOW_MS)).toBe(true);
    for (const flooder of ["a", "b", "c", "d"]) {
      for (let i = 0; i < 150; i++) cache.admit(flooder, `n${i}`, NOW_MS, NOW_MS);
      expect(cache.admit(flooder, "more", NOW_MS, NOW_MS)).toBe(false);
      expect(cache.size).toBeLessThanOrEqual(250);
    }
    expect(cache.admit("member", "one", slow, NOW_MS)).toBe(false);
    expect(cache.admit("member", "two", slow, NOW_MS)).toBe(true);
  });

  it("forgets the largest first when there are too many makers", () => {
    const cache = new ReplayCache({ total: 100 });
    const old = NOW_MS - 5 * MINUTE_MS;
    for (let i = 0; i < 60; i++) expect(cache.admit("large", `n${i}`, old, NOW_MS)).toBe(true);
    for (let i = 0; i < 60; i++) expect(cache.admit(`m${i}`, "one", old, NOW_MS)).toBe(true);
    for (let i = 0; i < 60; i++) expect(cache.admit(`m${i}`, "one", old, NOW_MS)).toBe(false);
    for (let i = 0; i < 60; i++) expect(cache.admit("large", `n${i}`, old, NOW_MS)).toBe(false);
    expect(cache.admit("m1", "two", old, NOW_MS)).toBe(true);
    expect(cache.admit("large", "new", NOW_MS, NOW_MS)).toBe(true);
    expect(cache.size).toBe(62);
  });

  it("forgets what is too old to be accepted", () => {
    const cache = new ReplayCache();
    for (let i = 0; i < 50; i++) cache.admit(`m${i}`, "one", NOW_MS, NOW_MS);
    const laterMs = NOW_MS + LIMITS.proofSkewMs + 3 * MINUTE_MS;
    cache.admit("late", "one", laterMs, laterMs);
    expect(cache.size).toBe(1);
  });
});

it("a proof by another key than the token's is refused for that, and not noted", async () => {
  const hub = new TestHub();
  const { client, room } = await hub.createRoom("lab");
  const { token, identity } = await hub.join(client, room, "member");
  const path = `/v1/rooms/${room}`;
  const twice = async (maker: typeof identity) => {
    const dpop = await maker.proof({ method: "GET", path, token });
    const headers = { authorization: `DPoP ${token}`, dpop };
    const send = async () => {
      const response = await hub.areas.app.request(`http://hub.test${path}`, { headers });
      return [response.status, await response.text()];
    };
    return [await send(), await send()];
  };
  const bound = [401, expect.stringContaining("bound to another key")];
  expect(await twice(await newIdentity())).toEqual([bound, bound]);
  const used = [401, expect.stringContaining("was used before")];
  expect(await twice(identity)).toEqual([[200, expect.any(String)], used]);
});
