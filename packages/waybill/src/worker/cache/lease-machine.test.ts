import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EVICT, FILL, type Fact, HOLD, type Machine, type Step } from "./lease-machine.ts";
import {
  type Cast,
  MACHINES,
  type Machines,
  type Role,
  type World,
  faultOf,
  isOver,
  openWorld,
  remainsOf,
  successors,
} from "./lease-model.fixture.ts";

const none = { readers: false, fillers: false, evictors: false };
const leases = (others: Partial<typeof none> = {}): Fact => ({
  is: "leases",
  others: { ...none, ...others },
});
const place = (found: "absent" | "sound" | "spoilt"): Fact => ({ is: "place", place: found });
const done: Fact = { is: "done" };

/** What a machine does, in turn, when it is told these facts. */
function script<S>(machine: Machine<S>, facts: readonly Fact[]): string[] {
  const said: string[] = [];
  let step: Step<S> = machine.first;
  for (const fact of facts) {
    if ("outcome" in step) throw new Error(`it ended after ${said.join(", ")}`);
    said.push(step.effect.do);
    step = machine.next(step.state, fact);
  }
  said.push("outcome" in step ? `= ${step.outcome}` : step.effect.do);
  return said;
}

describe("a reader", () => {
  it("announces itself, waits for evictors, and only then looks", () => {
    expect(
      script(HOLD, [
        done,
        leases({ evictors: true }),
        done,
        leases({ readers: true }),
        place("sound"),
      ]),
    ).toEqual(["lease", "leases", "pause", "leases", "look", "= held"]);
  });

  it("takes nothing that is spoilt, or not there", () => {
    for (const found of ["spoilt", "absent"] as const) {
      expect(script(HOLD, [done, leases(), place(found), done]).at(-1)).toBe("= missed");
    }
  });
});

describe("a filler", () => {
  it("fills in private, renames, and turns its lease into a reader's", () => {
    expect(
      script(FILL, [
        done,
        leases({ readers: true }),
        place("absent"),
        done,
        done,
        done,
        done,
        done,
      ]),
    ).toEqual([
      "lease",
      "leases",
      "look",
      "fill",
      "publish",
      "condemn",
      "settle",
      "delete",
      "= filled",
    ]);
  });

  it("steps aside for one that came before", () => {
    expect(script(FILL, [done, leases({ fillers: true }), done])).toEqual([
      "lease",
      "leases",
      "unlease",
      "= later",
    ]);
  });

  it("replaces what is spoilt when the new one is complete, not before", () => {
    const upToPublish = [done, leases(), place("spoilt"), done];
    expect(
      script(FILL, [
        ...upToPublish,
        { is: "taken" },
        place("spoilt"),
        done,
        done,
        done,
        done,
        done,
      ]).slice(3),
    ).toEqual([
      "fill",
      "publish",
      "look",
      "move",
      "publish",
      "condemn",
      "settle",
      "delete",
      "= filled",
    ]);
  });

  it("takes what another has published meanwhile", () => {
    const upToPublish = [done, leases(), place("absent"), done];
    expect(
      script(FILL, [...upToPublish, { is: "taken" }, place("sound"), done, done, done, done]).slice(
        4,
      ),
    ).toEqual(["publish", "look", "discard", "condemn", "settle", "delete", "= filled"]);
  });

  it("gives its lease back when it fails", () => {
    expect(
      script(FILL, [done, leases(), place("absent"), { is: "failed" }, done, done, done]).slice(3),
    ).toEqual(["fill", "put back", "unlease", "delete", "= failed"]);
  });
});

describe("an evictor", () => {
  it("moves, asks again, condemns, and makes nobody wait for the deleting", () => {
    expect(script(EVICT, [done, leases(), done, leases(), done, done, done])).toEqual([
      "lease",
      "leases",
      "move",
      "leases",
      "condemn",
      "unlease",
      "delete",
      "= evicted",
    ]);
  });

  it("leaves what somebody reads or fills", () => {
    for (const others of [{ readers: true }, { fillers: true }]) {
      expect(script(EVICT, [done, leases(others), done])).toEqual([
        "lease",
        "leases",
        "unlease",
        "= kept",
      ]);
    }
  });

  it("puts back what somebody has begun to read meanwhile", () => {
    expect(
      script(EVICT, [done, leases(), done, leases({ readers: true }), done, done]).slice(2),
    ).toEqual(["move", "leases", "put back", "unlease", "= kept"]);
  });
});

/** Visits every world that can come of a cast; gives how many there are. Throws with the way to a world that is wrong. */
function checkAll(cast: Cast, machines: Machines = MACHINES): number {
  const first = openWorld(cast, machines);
  const seen = new Map<string, { readonly world: World; readonly from: string | undefined }>();
  const into = new Map<string, string[]>();
  const keyOf = (world: World) => JSON.stringify(normal(world));
  seen.set(keyOf(first), { world: first, from: undefined });
  const queue = [keyOf(first)];
  const over: string[] = [];
  const fail = (why: string, key: string): never => {
    const way: string[] = [];
    for (let at: string | undefined = key; at !== undefined; at = seen.get(at)?.from)
      way.unshift(at);
    throw new Error(`${why}: ${JSON.stringify(cast)}\n${way.join("\n")}`);
  };
  for (const key of queue) {
    const world = seen.get(key)?.world ?? first;
    const fault = faultOf(world, cast) ?? (isOver(world) ? remainsOf(world) : undefined);
    if (fault !== undefined) fail(fault, key);
    if (isOver(world)) over.push(key);
    for (const next of successors(world, machines)) {
      const to = keyOf(next);
      into.set(to, [...(into.get(to) ?? []), key]);
      if (seen.has(to)) continue;
      seen.set(to, { world: next, from: key });
      queue.push(to);
    }
  }
  // Nobody waits for ever: from every world there is a way to the end.
  const canEnd = new Set(over);
  for (const key of canEnd) for (const from of into.get(key) ?? []) canEnd.add(from);
  for (const key of seen.keys()) if (!canEnd.has(key)) fail("there is no way to the end", key);
  return seen.size;
}

/** The clock only orders the fillers, two by two. */
function normal(world: World): unknown {
  const order = world.actors.map(({ since }) => since).sort((a, b) => a - b);
  const actors = world.actors.map((actor) => ({ ...actor, since: order.indexOf(actor.since) }));
  return { ...world, actors, clock: world.clock % 2 };
}

describe("processes on one cache, in every order of what they do", () => {
  const roles: Role[] = ["holder", "filler", "evictor", "recoverer"];
  const pairs = roles.flatMap((a) => roles.map((b) => [a, b] as const));
  const places = ["absent", "sound", "spoilt"] as const;

  it("never lose what one of two holds, whoever dies or is taken for dead", () => {
    let worlds = 0;
    for (const cast of pairs) {
      for (const found of places) {
        for (const leftInTrash of [false, true]) {
          for (const expiries of [0, 1]) {
            worlds += checkAll({ roles: cast, place: found, leftInTrash, crashes: 1, expiries });
          }
        }
      }
    }
    expect(worlds).toBeGreaterThan(10_000);
  });

  it("nor of three", () => {
    const cast = fc.record({
      roles: fc.array(fc.constantFrom(...roles), { minLength: 3, maxLength: 3 }),
      place: fc.constantFrom(...places),
      leftInTrash: fc.boolean(),
      crashes: fc.nat(1),
      expiries: fc.nat(1),
    });
    let worlds = 0;
    const count = (one: Cast) => {
      worlds += checkAll(one);
    };
    fc.assert(fc.property(cast, count), {
      numRuns: 8,
      examples: [
        [
          {
            roles: ["holder", "evictor", "filler"],
            place: "sound",
            leftInTrash: false,
            crashes: 1,
            expiries: 1,
          },
        ],
        [
          {
            roles: ["holder", "filler", "filler"],
            place: "spoilt",
            leftInTrash: false,
            crashes: 0,
            expiries: 0,
          },
        ],
        [
          {
            roles: ["holder", "evictor", "recoverer"],
            place: "sound",
            leftInTrash: false,
            crashes: 1,
            expiries: 1,
          },
        ],
      ],
    });
    expect(worlds).toBeGreaterThan(10_000);
  });

  it("would be caught when an evictor did not look a second time, or a reader did not wait", () => {
    const base = { place: "sound", leftInTrash: false, crashes: 0 } as const;
    const { evictor, holder } = MACHINES;
    const blind: Machine<string> = {
      first: evictor.first,
      next: (state, fact) => evictor.next(state, state === "asking again" ? leases() : fact),
    };
    const cast: Cast = { ...base, roles: ["holder", "evictor"], expiries: 1 };
    expect(() => checkAll(cast, { ...MACHINES, evictor: blind })).toThrow("what is held is lost");
    const hasty: Machine<string> = {
      first: holder.first,
      next: (state, fact) => holder.next(state, state === "asking" ? leases() : fact),
    };
    expect(() => checkAll({ ...cast, expiries: 0 }, { ...MACHINES, holder: hasty })).toThrow(
      "what is held is not in its place",
    );
  });
});
