// Which snapshot and which records lead to a registry's newest revision, when the document itself cannot be asked
// (docs/protocol/registry-storage.md §5). Pure: told the names of what is there, it says what to apply.
import type { Registry } from "../protocol/index.ts";

/** A write of the registry: the one that made `revision`. */
export type WriteName = { readonly revision: number; readonly write: string };

export type RecordName = WriteName & { readonly parent: string };

export type Remains = {
  /** Readable records. */
  readonly records: readonly RecordName[];
  /** Whole snapshots. */
  readonly snapshots: readonly WriteName[];
  /** The write that the document, or what is left of it, says it is of. */
  readonly document?: WriteName | undefined;
};

export type RebuildPlan = {
  /** The newest write there is; `undefined` when there is nothing. */
  readonly head: WriteName | undefined;
  /** The snapshot to begin with; an empty registry when there is none. */
  readonly base: WriteName | undefined;
  /** Records to apply, oldest first. */
  readonly chain: readonly RecordName[];
  /** Revisions between them that nothing tells of, first and last. */
  readonly holes: readonly (readonly [number, number])[];
};

/** The way back from the newest write to a snapshot or to the beginning, over what is missing where something is. */
export function planRebuild(remains: Remains): RebuildPlan {
  const known = new Known(remains);
  const head = known.head();
  const chain: RecordName[] = [];
  const holes: [number, number][] = [];
  let base: WriteName | undefined;
  let at: WriteName | undefined = head;
  while (at !== undefined) {
    if (known.isSnapshot(at)) {
      base = at;
      break;
    }
    const record = known.record(at);
    if (record !== undefined) {
      chain.push(record);
      if (record.parent === "") break;
      at = { revision: record.revision - 1, write: record.parent };
      continue;
    }
    // Nothing tells of this one; the newest that is older goes on.
    const last = at.revision;
    at = known.newestUpTo(last);
    holes.push([(at?.revision ?? Math.min(last, 1) - 1) + 1, last]);
  }
  return { head, base, chain: chain.toReversed(), holes: holes.toReversed() };
}

/** The registry without aliases that name no model; they are answered, too. */
export function withoutLostAliases(registry: Registry): {
  readonly registry: Registry;
  readonly lost: readonly string[];
} {
  const lost = Object.entries(registry.aliases).filter(
    ([, id]) => !Object.hasOwn(registry.models, id),
  );
  if (lost.length === 0) return { registry, lost: [] };
  const gone = new Set(lost.map(([alias]) => alias));
  const aliases = Object.fromEntries(
    Object.entries(registry.aliases).filter(([alias]) => !gone.has(alias)),
  );
  return {
    registry: { ...registry, aliases },
    lost: lost.map(([alias, id]) => `${alias} → ${id}`),
  };
}

const keyOf = ({ revision, write }: WriteName) => `${revision}-${write}`;

class Known {
  readonly #records: ReadonlyMap<string, RecordName>;
  readonly #snapshots: ReadonlyMap<string, WriteName>;
  readonly #children: ReadonlyMap<string, readonly RecordName[]>;
  readonly #document: WriteName | undefined;

  constructor({ records, snapshots, document }: Remains) {
    this.#records = new Map(records.map((each) => [keyOf(each), each]));
    this.#snapshots = new Map(snapshots.map((each) => [keyOf(each), each]));
    this.#children = Map.groupBy(records, ({ revision, parent }) =>
      keyOf({ revision: revision - 1, write: parent }),
    );
    this.#document = document;
  }

  isSnapshot(write: WriteName): boolean {
    return this.#snapshots.has(keyOf(write));
  }

  record(write: WriteName): RecordName | undefined {
    return this.#records.get(keyOf(write));
  }

  /**
   * The write the document was of, or the last one that is known to have been built upon. Without a word of the document it is the
   * newest write: whether its document was stored nobody can tell, and nobody was told that it failed.
   */
  head(): WriteName | undefined {
    const { revision, write } = this.#document ?? {};
    if (revision === undefined || write === undefined) {
      return this.newestUpTo(Number.POSITIVE_INFINITY);
    }
    return this.#builtUpon({ revision, write });
  }

  /** Follows writes that others were built on, which is proof that they were stored. */
  #builtUpon(from: WriteName): WriteName {
    let at = from;
    for (;;) {
      const next = (this.#children.get(keyOf(at)) ?? []).find((child) =>
        this.#children.has(keyOf(child)),
      );
      if (next === undefined) return at;
      at = next;
    }
  }

  /** Of several of one revision: one that others were built on, else a snapshot's, else the last by name. */
  newestUpTo(revision: number): WriteName | undefined {
    let best: WriteName | undefined;
    for (const each of [...this.#records.values(), ...this.#snapshots.values()]) {
      if (each.revision > revision) continue;
      if (best === undefined || this.#isBetter(each, best)) best = each;
    }
    return best;
  }

  #isBetter(a: WriteName, b: WriteName): boolean {
    if (a.revision !== b.revision) return a.revision > b.revision;
    const weight = (each: WriteName) =>
      Number(this.#children.has(keyOf(each))) * 2 + Number(this.isSnapshot(each));
    return weight(a) > weight(b);
  }
}
