// A year of work: when which room needs which of its models, and where. The same for every scenario.
import type { Assumptions } from "./assumptions.ts";
import type { Random } from "./random.ts";

const HOURS_PER_WEEK = 168;
/** Of 365 days, in hours. */
const HOURS_PER_MONTH = 8760 / 12;

export type Place = "desktop" | "volume" | "pod";

/** Somebody needs a model now. */
export type Need = {
  /** From 0. */
  readonly month: number;
  readonly office: boolean;
  readonly room: number;
  /** Counted through all rooms. */
  readonly model: number;
  readonly place: Place;
  /** Models the room has by now: its numbers are `firstModel` and the following ones. */
  readonly known: number;
  readonly firstModel: number;
};

/** More models than any room has: numbers of one room's models are not another's. */
const MODELS_OF_ROOM = 1_000_000_000;

/** Rooms there are. */
export function roomsOf({ workload }: Assumptions): number {
  return Math.ceil(workload.users / workload.usersPerRoom);
}

/** Every need, in order of time. */
export function* needs(assumptions: Assumptions, random: Random): Generator<Need> {
  const { workload, workers, months } = assumptions;
  const rooms = roomsOf(assumptions);
  const atStart = Math.max(1, Math.round(workload.modelsPerUserAtStart * workload.usersPerRoom));
  const perMonth = workload.trainingsPerUserMonth * workload.usersPerRoom;
  const popularity = new Popularity(
    workload.popularityExponent,
    atStart + Math.ceil(perMonth * months),
  );
  for (const hour of times(assumptions, random)) {
    const room = Math.floor(random() * rooms);
    const known = atStart + Math.floor((perMonth * hour) / HOURS_PER_MONTH);
    const newestFirst = popularity.draw(known, random());
    const firstModel = room * MODELS_OF_ROOM;
    yield {
      month: Math.min(months - 1, Math.floor(hour / HOURS_PER_MONTH)),
      office: isOfficeHour(hour),
      room,
      model: firstModel + known - 1 - newestFirst,
      place: placeOf(workers, random()),
      known,
      firstModel,
    };
  }
}

/** Where work happens, by chance. */
export function placeOf(
  { desktopShare, sharedVolumeShare }: Assumptions["workers"],
  chance: number,
): Place {
  if (chance < desktopShare) return "desktop";
  return chance < desktopShare + sharedVolumeShare ? "volume" : "pod";
}

/** Hours since the beginning, a Monday's midnight, in order. */
function times({ workload, months }: Assumptions, random: Random): Float64Array {
  const { users, fetchesPerUserMonth, officeHoursShare } = workload;
  const hours = new Float64Array(Math.round(users * fetchesPerUserMonth * months));
  const end = months * HOURS_PER_MONTH;
  for (let i = 0; i < hours.length; i++) {
    const wantsOffice = random() < officeHoursShare;
    let hour = random() * end;
    while (isOfficeHour(hour) !== wantsOffice) hour = random() * end;
    hours[i] = hour;
  }
  return hours.sort();
}

/** From Monday to Friday, 8 to 19 o'clock. */
function isOfficeHour(hour: number): boolean {
  const inWeek = hour % HOURS_PER_WEEK;
  return inWeek < 120 && inWeek % 24 >= 8 && inWeek % 24 < 19;
}

/** Ranks with Zipf's chances, 0 the most likely. */
class Popularity {
  readonly #upTo: Float64Array;

  constructor(exponent: number, most: number) {
    this.#upTo = new Float64Array(most);
    let sum = 0;
    for (let rank = 0; rank < most; rank++) {
      sum += (rank + 1) ** -exponent;
      this.#upTo[rank] = sum;
    }
  }

  /** The rank among the first `count` that the chance stands for. */
  draw(count: number, chance: number): number {
    const wanted = chance * (this.#upTo[count - 1] ?? 0);
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#upTo[middle] ?? 0) > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
