// How a job's metrics went, from its events: for each key a line of points, kept small however long the training was.
import type { HubClient } from "../hub-client/index.ts";
import type { JobEvent, JobId, RoomId } from "../protocol/index.ts";

/** What points are counted by: the first of these that a metric line has, or else their number. */
const COUNTERS = ["epoch", "step", "global_step", "iteration", "iter", "batch"] as const;
export type CurveAxis = (typeof COUNTERS)[number] | "line";

export type MetricCurve = {
  readonly axis: CurveAxis;
  readonly points: readonly (readonly [x: number, y: number])[];
};

/** Many times what a screen is wide; points of a longer curve are means of more and more. */
const MAX_POINTS = 4096;
/** Trainers print a few; a trainer that makes names up must not fill the memory. */
const MAX_CURVES = 256;

type Point = readonly [x: number, y: number];

/** Collects curves from a job's events, in order. */
export class MetricCurves {
  readonly #curves = new Map<string, GrowingCurve>();
  /** Lines with each key, for those that have no counter. */
  #lines = 0;

  add(event: JobEvent): void {
    if (event.type !== "metric") return;
    this.#lines += 1;
    const axis: CurveAxis = COUNTERS.find((key) => isNumber(event.data[key])) ?? "line";
    const counter = axis === "line" ? undefined : event.data[axis];
    const x = isNumber(counter) ? counter : this.#lines;
    for (const [key, y] of Object.entries(event.data)) {
      if (isCounter(key) || !isNumber(y)) continue;
      this.#point(key, axis, [x, y], event.attempt);
    }
  }

  result(): Map<string, MetricCurve> {
    return new Map(
      [...this.#curves].map(([key, curve]) => {
        return [key, { axis: curve.axis, points: curve.points() }] as const;
      }),
    );
  }

  #point(key: string, axis: CurveAxis, point: Point, attempt: number): void {
    let curve = this.#curves.get(key);
    if (curve === undefined && this.#curves.size >= MAX_CURVES) return;
    // A trainer that counts otherwise from now on begins again.
    if (curve?.axis !== axis) {
      curve = new GrowingCurve(axis);
      this.#curves.set(key, curve);
    }
    curve.add(point, attempt);
  }
}

/** A curve of any length in a few thousand means of equally many points, and its ends as they were. */
class GrowingCurve {
  readonly axis: CurveAxis;
  #means: Point[] = [];
  #perMean = 1;
  /** Points of the next mean. */
  #open: Point[] = [];
  #first: Point | undefined;
  #last: Point | undefined;
  #attempt: number | undefined;

  constructor(axis: CurveAxis) {
    this.axis = axis;
  }

  add(point: Point, attempt: number): void {
    // An attempt that begins at a checkpoint goes over some epochs again: what it says of them counts.
    if (attempt !== this.#attempt) this.#cutFrom(point[0]);
    this.#attempt = attempt;
    this.#first ??= point;
    this.#last = point;
    this.#open.push(point);
    if (this.#open.length < this.#perMean) return;
    this.#means.push(meanOf(this.#open));
    this.#open = [];
    if (this.#means.length < MAX_POINTS) return;
    this.#means = Array.from({ length: MAX_POINTS / 2 }, (_, i) =>
      meanOf(this.#means.slice(2 * i, 2 * i + 2)),
    );
    this.#perMean *= 2;
  }

  points(): Point[] {
    if (this.#perMean === 1 || this.#first === undefined || this.#last === undefined)
      return this.#means;
    const inner = this.#open.length === 0 ? this.#means : [...this.#means, meanOf(this.#open)];
    return [this.#first, ...inner, this.#last];
  }

  #cutFrom(x: number): void {
    const before = (point: Point) => point[0] < x;
    this.#means = this.#means.filter(before);
    this.#open = this.#open.filter(before);
    if (this.#first !== undefined && !before(this.#first)) this.#first = undefined;
  }
}

function meanOf(points: readonly Point[]): Point {
  const sum = points.reduce(([x, y], point) => [x + point[0], y + point[1]] as const, [
    0, 0,
  ] as const);
  return [sum[0] / points.length, sum[1] / points.length];
}

/** Reads all stored events of a job; one that has none, or is not known any more, has no curves. */
export async function readCurves(
  hub: Pick<HubClient, "call">,
  { room, job, signal }: { room: RoomId; job: JobId; signal?: AbortSignal },
): Promise<Map<string, MetricCurve>> {
  const curves = new MetricCurves();
  for (let since = 0; ;) {
    const input = { params: { room, job }, query: { since: String(since) } };
    const page = await hub.call("readEvents", input, signal === undefined ? {} : { signal });
    for (const event of page.events) curves.add(event);
    const last = page.events.at(-1)?.seq;
    if (!page.more || last === undefined) return curves.result();
    since = last;
  }
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** `epochs` and `steps` are how many there will be, and no metric. */
function isCounter(key: string): boolean {
  return COUNTERS.some((counter) => key === counter || key === `${counter}s`);
}
