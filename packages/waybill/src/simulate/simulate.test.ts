import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_ASSUMPTIONS, assumptionsOf, withSettings } from "./assumptions.ts";
import { egressPrice } from "./costs.ts";
import { Lru } from "./lru.ts";
import { seededRandom } from "./random.ts";
import { simulate } from "./simulate.ts";
import { needs } from "./workload.ts";

/** A small year: 40 users for two months. */
const small = (...settings: string[]) =>
  withSettings(DEFAULT_ASSUMPTIONS, ["workload.users=40", "months=2", ...settings]);
const shareFromStore = (...settings: string[]) =>
  simulate(small(...settings)).map(({ metBy, fetches }) => metBy.store / fetches);

describe("a simulated year", () => {
  it("is the same for the same seed, and another for another one", () => {
    expect(simulate(small())).toEqual(simulate(small()));
    expect(simulate(small("seed=2"))).not.toEqual(simulate(small()));
  });

  it("meets every need of every scenario exactly once", () => {
    for (const { fetches, metBy } of simulate(small())) {
      expect(fetches).toBe(Math.round(40 * DEFAULT_ASSUMPTIONS.workload.fetchesPerUserMonth * 2));
      expect(metBy.cache + metBy.peer + metBy.proxy + metBy.store).toBe(fetches);
    }
  });

  it("reads everything from the store where there is nothing else", () => {
    const [store] = simulate(small());
    expect(store).toMatchObject({ scenario: "store", metBy: { cache: 0, peer: 0, proxy: 0 } });
    const users = 40 * DEFAULT_ASSUMPTIONS.workload.fetchesPerUserMonth;
    expect(store?.monthly.egressGigabytes).toBeCloseTo(users * 0.5, 0);
    expect(store?.monthly.egress).toBeCloseTo(users * 0.045, 0);
  });

  it("reads less from the store with every further means", () => {
    const shares = shareFromStore();
    expect(shares).toEqual(shares.toSorted((a, b) => b - a));
    expect(new Set(shares).size).toBe(4);
  });

  it("saves nothing with caches of no size, whatever else there is", () => {
    const none = ["desktop", "volume", "pod", "proxy"].map((kind) => `caches.${kind}Gigabytes=0`);
    expect(shareFromStore(...none)).toEqual([1, 1, 1, 1]);
  });

  it("reads a room's only model once for a desktop that is always on", () => {
    const [, caches] = simulate(
      small(
        "workload.users=1",
        "workload.usersPerRoom=1",
        "workload.modelsPerUserAtStart=1",
        "workload.trainingsPerUserMonth=0",
        "workers.desktopShare=1",
        "workers.sharedVolumeShare=0",
        "workers.desktopsPerRoom=1",
        "workers.alwaysOnShare=1",
      ),
    );
    expect(caches?.metBy.store).toBe(1);
  });

  it("asks nobody for a model that stays where it was trained and is needed", () => {
    const trained = (keep: boolean) => shareFromStore(`workers.trainersKeep=${keep}`)[1] ?? 0;
    expect(trained(true)).toBeLessThan(trained(false));
  });

  it("has its needs in order of time, most of them in office hours, for models that exist", () => {
    const assumptions = small();
    const all = [...needs(assumptions, seededRandom(1))];
    expect(all.map(({ month }) => month)).toEqual(
      all.map(({ month }) => month).toSorted((a, b) => a - b),
    );
    const inOffice = all.filter(({ office }) => office).length / all.length;
    expect(inOffice).toBeGreaterThan(0.7);
    expect(inOffice).toBeLessThan(0.8);
    for (const { model, firstModel, known } of all) {
      expect(model).toBeGreaterThanOrEqual(firstModel);
      expect(model).toBeLessThan(firstModel + known);
    }
  });
});

describe("the price of what leaves the store", () => {
  const tiers = [
    { upToGigabytes: 100, price: 0 },
    { upToGigabytes: 10_000, price: 0.09 },
    { price: 0.05 },
  ];

  it("goes up by tiers", () => {
    expect(egressPrice(tiers, 100)).toBe(0);
    expect(egressPrice(tiers, 1100)).toBeCloseTo(90);
    expect(egressPrice(tiers, 20_100)).toBeCloseTo(900 + 500);
  });
});

describe("a least-recently-used cache", () => {
  it("holds what was used last, as a list would (property)", () => {
    fc.assert(
      fc.property(fc.nat(5), fc.array(fc.nat(9)), (capacity, models) => {
        const lru = new Lru(capacity);
        let expected: number[] = [];
        for (const model of models) {
          expect(lru.use(model)).toBe(expected.includes(model));
          lru.add(model);
          expected = [...expected.filter((one) => one !== model), model].slice(-capacity);
          if (capacity === 0) expected = [];
        }
        for (let model = 0; model < 10; model++)
          expect(lru.has(model)).toBe(expected.includes(model));
      }),
    );
  });
});

describe("assumptions of a file", () => {
  it("are the defaults where it says nothing, and comments are passed over", () => {
    const text = `{"//": "ours", "workers": {"// why": "few desktops", "desktopShare": 0.1}}`;
    const expected = { ...DEFAULT_ASSUMPTIONS.workers, desktopShare: 0.1 };
    expect(assumptionsOf(text, "costs.json")).toEqual({
      ...DEFAULT_ASSUMPTIONS,
      workers: expected,
    });
  });

  it.each([
    ["a key that is none", `{"workers": {"desktopShar": 1}}`, /costs\.json: workers\.desktopShar/],
    ["a share above 1", `{"peers": {"reachableShare": 1.5}}`, /costs\.json: peers\.reachableShare/],
    ["shares that add up to more", `{"workers": {"desktopShare": 0.9}}`, /more than all/],
    [
      "a tier without an end in the middle",
      `{"prices": {"egressPerGigabyte": [{"price": 1}, {"price": 2}]}}`,
      /last tier/,
    ],
    ["what is no JSON", `{`, /costs\.json/],
  ])("are refused with %s, by name", (_, text, message) => {
    expect(() => assumptionsOf(text, "costs.json")).toThrow(message);
  });

  it("are changed one by one on the command line", () => {
    expect(small("claims.caches.bandwidth=0.5").claims.caches?.bandwidth).toBe(0.5);
    expect(() => small("workers.desktopShare")).toThrow(/KEY=VALUE/);
    expect(() => small("workers.desktopShare=many")).toThrow(/workers\.desktopShare/);
  });
});
