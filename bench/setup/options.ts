// Command-line options that every benchmark understands.
import { parseArgs } from "node:util";

export type Options = {
  /** Size of the file, in MiB; each benchmark has its own default. */
  readonly mib: number;
  /** Counted rounds; every contender runs once in each. */
  readonly rounds: number;
  /** Names, or parts of them, of the contenders to run; all when empty. Ours always runs. */
  readonly only: readonly string[];
  /** `versitygw`, `minio` or `embedded`. */
  readonly store: StoreKind;
  /** Tells runs of one benchmark apart in the page: what differs from its usual size and store. */
  readonly variant: string;
  readonly json: boolean;
  readonly write: boolean;
  /** Options of this benchmark alone. */
  readonly extra: (name: string, fallback: number) => number;
};

const STORE_KINDS = ["versitygw", "minio", "embedded"] as const;
export type StoreKind = (typeof STORE_KINDS)[number];

/** Reads `--mib --rounds --only a,b --store S --json --write` and numbers of the benchmark's own. Throws on anything else. */
export function readOptions(defaults: {
  readonly mib: number;
  readonly rounds: number;
  readonly extra?: readonly string[];
}): Options {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: {
      mib: text,
      rounds: text,
      only: text,
      store: text,
      json: { type: "boolean" },
      write: { type: "boolean" },
      ...Object.fromEntries((defaults.extra ?? []).map((name) => [name, text])),
    },
  });
  const given: Record<string, string | boolean | undefined> = values;
  const number = (name: string, fallback: number) => {
    const value = given[name];
    if (value === undefined) return fallback;
    const parsed = Number(value);
    if (!(parsed > 0)) throw new Error(`--${name} must be a positive number, not ${String(value)}`);
    return parsed;
  };
  const store = STORE_KINDS.find((kind) => kind === (given["store"] ?? "versitygw"));
  if (store === undefined) throw new Error(`--store is one of ${STORE_KINDS.join(", ")}`);
  const mib = number("mib", defaults.mib);
  const differs = [mib === defaults.mib ? "" : `-${mib}`, store === "versitygw" ? "" : `-${store}`];
  return {
    mib,
    variant: differs.join(""),
    rounds: number("rounds", defaults.rounds),
    only: typeof given["only"] === "string" ? given["only"].split(",") : [],
    store,
    json: given["json"] === true,
    write: given["write"] === true,
    extra: number,
  };
}
