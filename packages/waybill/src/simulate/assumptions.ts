// What the simulation of costs supposes. A file of the user's own overrides any of it: JSON, in which keys that begin
// with `//` are comments. docs/simulation.md says where the numbers come from.
import { WaybillError, decodeJson } from "@waybill/sdk/protocol";
import * as v from "valibot";

const Share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const Positive = v.pipe(v.number(), v.gtValue(0));
const NotNegative = v.pipe(v.number(), v.minValue(0));
const Whole = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(1_000_000));
const Saved = v.object({ bandwidth: v.optional(Share), total: v.optional(Share) });

export const Assumptions = v.strictObject({
  /** The same number, the same year. */
  seed: v.pipe(v.number(), v.safeInteger()),
  months: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(120)),
  workload: v.strictObject({
    users: Whole,
    usersPerRoom: Whole,
    /** How often a worker or a laptop needs a model, by user. */
    fetchesPerUserMonth: Positive,
    trainingsPerUserMonth: NotNegative,
    modelMegabytes: Positive,
    modelsPerUserAtStart: Positive,
    /** Zipf exponent over a room's models, newest first: 0 asks for all alike. */
    popularityExponent: v.pipe(v.number(), v.minValue(0), v.maxValue(5)),
    /** Of the fetches: those between 8 and 19 o'clock from Monday to Friday. */
    officeHoursShare: Share,
  }),
  workers: v.strictObject({
    /** Where fetches happen; what is left happens on pods whose scratch dies with them. */
    desktopShare: Share,
    sharedVolumeShare: Share,
    desktopsPerRoom: Whole,
    /** Of the desktops: those that run day and night; the others run in office hours. */
    alwaysOnShare: Share,
    /** Rooms that share a cluster volume, and clusters there are. */
    roomsPerVolume: Whole,
    clusters: Whole,
    /** Fetches that one pod with scratch of its own lives through. */
    fetchesPerPod: Whole,
    /** Whether the machine that trained a model has it in its cache from then on. */
    trainersKeep: v.boolean(),
  }),
  caches: v.strictObject({
    desktopGigabytes: NotNegative,
    volumeGigabytes: NotNegative,
    podGigabytes: NotNegative,
    proxyGigabytes: NotNegative,
  }),
  peers: v.strictObject({
    /** Chance that a desktop of the room that has a model and is on can be reached by the machine that needs it. */
    reachableShare: Share,
    /** Chance that some pod of the room's volume runs and can be reached from its cluster. */
    volumeServingShare: Share,
  }),
  prices: v.strictObject({
    currency: v.pipe(v.string(), v.maxLength(4)),
    /** For each month: the first so many gigabytes at that price, then the next; the last has no end. */
    egressPerGigabyte: v.pipe(
      v.array(v.strictObject({ upToGigabytes: v.optional(Positive), price: NotNegative })),
      v.minLength(1),
    ),
    per1000Gets: NotNegative,
    per1000Puts: NotNegative,
    storagePerGigabyteMonth: NotNegative,
    storedTerabytes: NotNegative,
    /** What the scenarios need besides, a month. */
    hubMonth: NotNegative,
    volumeMonth: NotNegative,
    proxyMonth: NotNegative,
  }),
  /** What others have said would be saved, shown beside what comes out. */
  claims: v.strictObject({
    caches: v.optional(Saved),
    peers: v.optional(Saved),
    proxies: v.optional(Saved),
  }),
});
export type Assumptions = v.InferOutput<typeof Assumptions>;

export const DEFAULT_ASSUMPTIONS: Assumptions = {
  seed: 1,
  months: 12,
  workload: {
    users: 2000,
    usersPerRoom: 8,
    fetchesPerUserMonth: 18.84,
    trainingsPerUserMonth: 2,
    modelMegabytes: 500,
    modelsPerUserAtStart: 30,
    popularityExponent: 1.5,
    officeHoursShare: 0.75,
  },
  workers: {
    desktopShare: 0.4,
    sharedVolumeShare: 0.4,
    desktopsPerRoom: 3,
    alwaysOnShare: 0.5,
    roomsPerVolume: 25,
    clusters: 4,
    fetchesPerPod: 4,
    trainersKeep: true,
  },
  caches: {
    desktopGigabytes: 50,
    volumeGigabytes: 100,
    podGigabytes: 20,
    proxyGigabytes: 2000,
  },
  peers: { reachableShare: 0.85, volumeServingShare: 0.5 },
  prices: {
    currency: "$",
    egressPerGigabyte: [{ price: 0.09 }],
    per1000Gets: 0.0004,
    per1000Puts: 0.005,
    storagePerGigabyteMonth: 0.01167,
    storedTerabytes: 30,
    hubMonth: 30,
    volumeMonth: 15,
    proxyMonth: 60,
  },
  claims: { caches: { bandwidth: 0.7 }, peers: { bandwidth: 0.9, total: 0.73 } },
};

/** Larger files are not assumptions. */
const MAX_BYTES = 1024 * 1024;

type Json = { readonly [key: string]: unknown };

/** Assumptions from a file's text: what it leaves out is as in the defaults. Throws `invalid_request` naming the key. */
export function assumptionsOf(text: string, name: string): Assumptions {
  const given = decodeJson(v.record(v.string(), v.unknown()), text, name, MAX_BYTES);
  return checked(merged(DEFAULT_ASSUMPTIONS, withoutComments(given)), name);
}

/** With `workers.desktopShare=0.2` and the like put in. Throws `invalid_request`. */
export function withSettings(base: Assumptions, settings: readonly string[]): Assumptions {
  let next: Json = base;
  for (const setting of settings) {
    const [, path = "", value = ""] = /^([\w.]+)=(.+)$/.exec(setting) ?? [];
    if (path === "") throw wrong(setting, "is not KEY=VALUE, such as workers.desktopShare=0.2");
    next = put(next, path.split("."), valueOf(value));
  }
  return checked(next, "--set");
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function put(into: Json, [key = "", ...rest]: readonly string[], value: unknown): Json {
  if (rest.length === 0) return { ...into, [key]: value };
  const inner = into[key];
  return { ...into, [key]: put(isObject(inner) ? inner : {}, rest, value) };
}

function merged(base: Json, given: Json): Json {
  const next: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(given)) {
    const former = base[key];
    // Claims are one thing: those of others are not mixed with these.
    next[key] =
      key !== "claims" && isObject(value) && isObject(former) ? merged(former, value) : value;
  }
  return next;
}

function withoutComments(value: Json): Json {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => !key.startsWith("//"))
      .map(([key, inner]) => [key, isObject(inner) ? withoutComments(inner) : inner]),
  );
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function checked(value: unknown, name: string): Assumptions {
  const result = v.safeParse(Assumptions, value);
  if (!result.success) {
    const [issue] = result.issues;
    const path = v.getDotPath(issue);
    throw wrong(`${name}${path === null ? "" : `: ${path}`}`, issue.message);
  }
  const { workers, prices } = result.output;
  if (workers.desktopShare + workers.sharedVolumeShare > 1) {
    throw wrong(`${name}: workers`, "desktopShare and sharedVolumeShare are more than all fetches");
  }
  const open = prices.egressPerGigabyte
    .slice(0, -1)
    .some((tier) => tier.upToGigabytes === undefined);
  if (open)
    throw wrong(`${name}: prices.egressPerGigabyte`, "only the last tier may be without an end");
  return result.output;
}

function wrong(what: string, problem: string): WaybillError {
  return new WaybillError("invalid_request", `${what}: ${problem}`, {
    hint: "write the defaults to a file with `waybill simulate --write FILE` and edit it",
  });
}
