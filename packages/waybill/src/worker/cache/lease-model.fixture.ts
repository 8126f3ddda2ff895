// A model of a cache's volume and of processes that use one artifact of it, for checking every interleaving of the
// machines in lease-machine.ts. Each effect happens at once; between two of them anybody else may act, a process may
// die, and the others may believe its leases to be over while it goes on.
import {
  EVICT,
  type Effect,
  FILL,
  type Fact,
  HOLD,
  type LeaseKind,
  type Machine,
  type Outcome,
  type Place,
  RECOVER,
  type Step,
} from "./lease-machine.ts";

export type Role = "holder" | "filler" | "evictor" | "recoverer";

export type Cast = {
  readonly roles: readonly Role[];
  readonly place: Place;
  /** What an evictor that is dead has left in the trash. */
  readonly leftInTrash: boolean;
  readonly crashes: number;
  /** Processes whose leases others may take for over although they live. */
  readonly expiries: number;
};

type Actor = {
  readonly role: Role;
  readonly step: Step<string>;
  readonly lease: LeaseKind | undefined;
  /** Order of the announcements. */
  readonly since: number;
  readonly alive: boolean;
  readonly expired: boolean;
  readonly released: boolean;
};

type TrashEntry = { readonly sound: boolean; readonly by: number; readonly back: boolean };

export type World = {
  readonly place: Place;
  readonly trash: readonly TrashEntry[];
  readonly actors: readonly Actor[];
  readonly clock: number;
  readonly crashes: number;
  readonly expiries: number;
};

export type Machines = Readonly<Record<Role, Machine<string>>>;

export const MACHINES: Machines = {
  holder: HOLD as Machine<string>,
  filler: FILL as Machine<string>,
  evictor: EVICT as Machine<string>,
  recoverer: RECOVER as Machine<string>,
};

/** A process that is dead from the beginning. */
const DEAD = -1;

export function openWorld(
  { roles, place, leftInTrash, crashes, expiries }: Cast,
  machines: Machines = MACHINES,
): World {
  const actors = roles.map((role) => ({
    role,
    step: machines[role].first,
    lease: undefined,
    since: 0,
    alive: true,
    expired: false,
    released: false,
  }));
  const trash = leftInTrash ? [{ sound: true, by: DEAD, back: true }] : [];
  return { place, trash, actors, clock: 1, crashes, expiries };
}

/** Every world that may come next. */
export function successors(world: World, machines: Machines = MACHINES): World[] {
  const next: World[] = [];
  for (const [index, actor] of world.actors.entries()) {
    if (!actor.alive) continue;
    if (!("outcome" in actor.step)) next.push(act(world, index, machines));
    else if (holds(actor)) next.push(change(world, index, { lease: undefined, released: true }));
    else continue;
    if (world.crashes > 0) {
      next.push({ ...change(world, index, { alive: false }), crashes: world.crashes - 1 });
    }
    if (world.expiries > 0 && !actor.expired) {
      next.push({ ...change(world, index, { expired: true }), expiries: world.expiries - 1 });
    }
  }
  return next;
}

/** Whether it was told that it has the artifact, and has not let it go. */
function holds({ step, released }: Actor): boolean {
  return "outcome" in step && !released && hasIt(step.outcome);
}

function hasIt(outcome: Outcome): boolean {
  return outcome === "held" || outcome === "filled";
}

export function isOver(world: World): boolean {
  return world.actors.every((actor) => !actor.alive || ("outcome" in actor.step && !holds(actor)));
}

function change(world: World, index: number, to: Partial<Actor>): World {
  const actors = world.actors.map((actor, i) => (i === index ? { ...actor, ...to } : actor));
  return { ...world, actors };
}

function act(world: World, index: number, machines: Machines): World {
  const actor = world.actors[index];
  if (actor === undefined || "outcome" in actor.step) throw new TypeError("it has ended");
  const { state } = actor.step;
  const done = perform(world, index, actor.step.effect);
  const step = machines[actor.role].next(state, done.fact);
  return change(done.world, index, { step });
}

const DONE: Fact = { is: "done" };

function perform(
  world: World,
  index: number,
  effect: Effect,
): { readonly world: World; readonly fact: Fact } {
  const told = (fact: Fact, to: Partial<World> = {}) => ({ world: { ...world, ...to }, fact });
  const mine = (entry: TrashEntry) => entry.by === index && entry.back;
  const own = world.trash.find(mine);
  switch (effect.do) {
    case "lease": {
      // The clock ticks slowly: two announcements may bear one time.
      const leased = change(world, index, { lease: effect.kind, since: world.clock >> 1 });
      return { world: { ...leased, clock: world.clock + 1 }, fact: DONE };
    }
    case "unlease":
      return { world: change(world, index, { lease: undefined }), fact: DONE };
    case "settle":
      return { world: change(world, index, { lease: "read" }), fact: DONE };
    case "leases":
      return told({ is: "leases", others: othersOf(world, index) });
    case "look":
      return told({ is: "place", place: world.place });
    case "pause":
    case "fill":
    case "discard":
      return told(DONE);
    case "publish":
      return world.place === "absent" ? told(DONE, { place: "sound" }) : told({ is: "taken" });
    case "move":
      return move(world, index);
    case "put back": {
      // Taken over by a recoverer that believed this one dead.
      if (own === undefined) return told(DONE);
      if (world.place !== "absent") return told({ is: "taken" });
      const trash = world.trash.filter((entry) => entry !== own);
      return told(DONE, { trash, place: own.sound ? "sound" : "spoilt" });
    }
    case "condemn":
      return told(DONE, {
        trash: world.trash.map((entry) => (mine(entry) ? { ...entry, back: false } : entry)),
      });
    case "delete":
      return told(DONE, {
        trash: world.trash.filter((entry) => entry.by !== index || entry.back),
      });
  }
}

function move(world: World, index: number): { readonly world: World; readonly fact: Fact } {
  if (world.actors[index]?.role === "recoverer") {
    const left = world.trash.find(({ by, back }) => back && !isLive(world, by) && by !== index);
    if (left === undefined) return { world, fact: { is: "absent" } };
    const trash = world.trash.map((entry) => (entry === left ? { ...entry, by: index } : entry));
    return { world: { ...world, trash }, fact: DONE };
  }
  if (world.place === "absent") return { world, fact: { is: "absent" } };
  const entry = { sound: world.place === "sound", by: index, back: true };
  return { world: { ...world, place: "absent", trash: [...world.trash, entry] }, fact: DONE };
}

function isLive(world: World, index: number): boolean {
  const actor = world.actors[index];
  return actor !== undefined && actor.alive && !actor.expired;
}

function othersOf(world: World, index: number) {
  const self = world.actors[index];
  const live = world.actors.filter((_, i) => i !== index && isLive(world, i));
  const before = (other: Actor) => self?.role !== "filler" || other.since <= self.since;
  return {
    readers: live.some(({ lease }) => lease === "read"),
    fillers: live.some((other) => other.lease === "fill" && before(other)),
    evictors: live.some(({ lease }) => lease === "evict"),
  };
}

/** What must hold in every world; names what does not. */
export function faultOf(world: World, { expiries }: Cast): string | undefined {
  const holders = world.actors.filter(
    (actor) => actor.alive && !actor.expired && holds(actor) && actor.lease === "read",
  );
  if (holders.length === 0) return undefined;
  if (world.place === "sound") return undefined;
  if (expiries === 0) return "what is held is not in its place";
  const canComeBack = world.trash.some(({ sound, back }) => sound && back);
  return canComeBack ? undefined : "what is held is lost";
}

/** What must hold once everybody has ended. */
export function remainsOf(world: World): string | undefined {
  const living = world.actors.flatMap(({ alive }, index) => (alive ? [index] : []));
  if (living.some((index) => world.actors[index]?.lease !== undefined)) return "a lease is left";
  if (world.trash.some(({ by }) => living.includes(by))) return "something is left in the trash";
  return undefined;
}
