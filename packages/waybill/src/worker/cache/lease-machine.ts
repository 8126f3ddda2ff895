// Who may read, fill or evict an artifact of a cache that several processes use: three pure machines, one for each
// (docs/protocol/cache.md §4). Each says the one thing to do next and is told what came of it. What makes them safe
// together is an order that all of them keep: announce yourself by a lease, then look at the leases of others, then at
// the artifact; and an artifact that is evicted is first moved to where it can be put back from.
//
//   hold:   lease ─▶ leases ─(evictor)─▶ pause ↺ ─▶ look ─▶ held | missed
//   fill:   lease ─▶ leases ─(filler)─▶ step aside; ─▶ look ─▶ there | fill ─▶ publish ─(taken)─▶ look, set aside ↺ ─▶ filled
//   evict:  lease ─▶ leases ─(in use)─▶ kept; ─▶ move ─▶ leases ─(in use)─▶ put back | condemn ─▶ delete
import { assertNever } from "@waybill/sdk/protocol";

/** `read` and `fill` protect the artifact; `evict` makes newcomers wait. */
export type LeaseKind = "read" | "fill" | "evict";

/** Live leases of others on the artifact. */
export type OtherLeases = {
  readonly readers: boolean;
  /** For a filler: one that came before it. */
  readonly fillers: boolean;
  readonly evictors: boolean;
};

/** What lies in the artifact's place: `spoilt` is there and must not be served. */
export type Place = "absent" | "sound" | "spoilt";

export type Effect =
  | { readonly do: "lease"; readonly kind: LeaseKind }
  | { readonly do: "leases" }
  | { readonly do: "look" }
  | { readonly do: "pause" }
  | { readonly do: "unlease" }
  /** A private directory is filled completely. */
  | { readonly do: "fill" }
  /** The private directory is renamed into place. */
  | { readonly do: "publish" }
  /** The private directory is not needed. */
  | { readonly do: "discard" }
  /** The place is renamed to a name in the trash that tells whose it is and whence. */
  | { readonly do: "move" }
  /** And back. */
  | { readonly do: "put back" }
  /** It is renamed to a name that is never put back. */
  | { readonly do: "condemn" }
  | { readonly do: "delete" }
  /** The own lease becomes one of a reader, by one rename. */
  | { readonly do: "settle" };

export type Outcome =
  /** Held: the lease stays until it is let go. */
  | "held"
  | "filled"
  | "missed"
  /** Somebody else fills; the lease is gone. */
  | "later"
  | "failed"
  | "evicted"
  /** In use: it stays. */
  | "kept"
  | "gone";

/** What an effect came to; `done` where there is but one way. */
export type Fact =
  | { readonly is: "done" }
  | { readonly is: "leases"; readonly others: OtherLeases }
  | { readonly is: "place"; readonly place: Place }
  /** publish, put back: somebody's is there. */
  | { readonly is: "taken" }
  /** move: nothing was there. */
  | { readonly is: "absent" }
  | { readonly is: "failed" };

export type Step<S> =
  | { readonly state: S; readonly effect: Effect }
  | { readonly outcome: Outcome };

export type Machine<S> = {
  readonly first: Step<S>;
  readonly next: (state: S, fact: Fact) => Step<S>;
};

const end = (outcome: Outcome) => ({ outcome });

export type HoldState = "leasing" | "asking" | "pausing" | "looking" | "withdrawing";

/** Holds what is there. */
export const HOLD: Machine<HoldState> = {
  first: { state: "leasing", effect: { do: "lease", kind: "read" } },
  next: (state, fact) => {
    switch (state) {
      case "leasing":
      case "pausing":
        return { state: "asking", effect: { do: "leases" } };
      case "asking":
        return othersOf(fact).evictors
          ? { state: "pausing", effect: { do: "pause" } }
          : { state: "looking", effect: { do: "look" } };
      case "looking":
        return placeOf(fact) === "sound"
          ? end("held")
          : { state: "withdrawing", effect: { do: "unlease" } };
      case "withdrawing":
        return end("missed");
      default:
        return assertNever(state);
    }
  },
};

export type FillState =
  | "leasing"
  | "asking"
  | "pausing"
  | "stepping aside"
  | "looking"
  | "settling there"
  | "filling"
  | "putting back"
  | "condemning what was replaced"
  | "giving up"
  | "clearing up"
  | "publishing"
  | "looking at what is there"
  | "setting aside"
  | "discarding"
  | "condemning"
  | "deleting"
  | "settling";

/** Fills what is not there, or is spoilt; one process at a time where they see each other. */
export const FILL: Machine<FillState> = {
  first: { state: "leasing", effect: { do: "lease", kind: "fill" } },
  next: (state, fact) => {
    switch (state) {
      case "leasing":
      case "pausing":
        return { state: "asking", effect: { do: "leases" } };
      case "asking": {
        const others = othersOf(fact);
        if (others.fillers) return { state: "stepping aside", effect: { do: "unlease" } };
        if (others.evictors) return { state: "pausing", effect: { do: "pause" } };
        return { state: "looking", effect: { do: "look" } };
      }
      case "stepping aside":
        return end("later");
      case "looking":
        return placeOf(fact) === "sound"
          ? { state: "settling there", effect: { do: "settle" } }
          : { state: "filling", effect: { do: "fill" } };
      case "settling there":
        return end("held");
      case "filling":
        return fact.is === "failed"
          ? { state: "putting back", effect: { do: "put back" } }
          : { state: "publishing", effect: { do: "publish" } };
      case "putting back":
        return fact.is === "taken"
          ? { state: "condemning what was replaced", effect: { do: "condemn" } }
          : { state: "giving up", effect: { do: "unlease" } };
      case "condemning what was replaced":
        return { state: "giving up", effect: { do: "unlease" } };
      case "giving up":
        return { state: "clearing up", effect: { do: "delete" } };
      case "clearing up":
        return end("failed");
      case "publishing":
        // What was set aside for it may be somebody's.
        if (fact.is === "failed") return { state: "putting back", effect: { do: "put back" } };
        return fact.is === "taken"
          ? { state: "looking at what is there", effect: { do: "look" } }
          : { state: "condemning", effect: { do: "condemn" } };
      case "looking at what is there":
        return placeOf(fact) === "sound"
          ? { state: "discarding", effect: { do: "discard" } }
          : { state: "setting aside", effect: { do: "move" } };
      case "setting aside":
        return { state: "publishing", effect: { do: "publish" } };
      case "discarding":
        return { state: "condemning", effect: { do: "condemn" } };
      case "condemning":
        return { state: "settling", effect: { do: "settle" } };
      case "settling":
        return { state: "deleting", effect: { do: "delete" } };
      case "deleting":
        return end("filled");
      default:
        return assertNever(state);
    }
  },
};

export type EvictState =
  | "leasing"
  | "asking"
  | "moving"
  | "asking again"
  | "putting back"
  | "condemning"
  | "withdrawing kept"
  | "withdrawing gone"
  | "withdrawing"
  | "deleting"
  | "deleting what was replaced";

/** Removes what nobody uses. */
export const EVICT: Machine<EvictState> = {
  first: { state: "leasing", effect: { do: "lease", kind: "evict" } },
  next: nextEvict,
};

/**
 * Takes up what an evictor that died left in the trash: the same from its `move` on, which takes the entry over.
 * Leases of readers do not stop it: it is they who may want the artifact back.
 */
export const RECOVER: Machine<EvictState> = {
  first: EVICT.first,
  next: (state, fact) =>
    state === "asking" ? { state: "moving", effect: { do: "move" } } : nextEvict(state, fact),
};

function nextEvict(state: EvictState, fact: Fact): Step<EvictState> {
  switch (state) {
    case "leasing":
      return { state: "asking", effect: { do: "leases" } };
    case "asking":
      return inUse(fact)
        ? { state: "withdrawing kept", effect: { do: "unlease" } }
        : { state: "moving", effect: { do: "move" } };
    case "moving":
      return fact.is === "absent"
        ? { state: "withdrawing gone", effect: { do: "unlease" } }
        : { state: "asking again", effect: { do: "leases" } };
    case "asking again":
      return inUse(fact)
        ? { state: "putting back", effect: { do: "put back" } }
        : { state: "condemning", effect: { do: "condemn" } };
    case "putting back":
      // Somebody has filled it anew: whoever looks finds that.
      return fact.is === "taken"
        ? { state: "deleting what was replaced", effect: { do: "condemn" } }
        : { state: "withdrawing kept", effect: { do: "unlease" } };
    case "deleting what was replaced":
    case "condemning":
      // Deleting may take long; nobody has to wait for it.
      return { state: "withdrawing", effect: { do: "unlease" } };
    case "withdrawing":
      return { state: "deleting", effect: { do: "delete" } };
    case "withdrawing kept":
      return end("kept");
    case "withdrawing gone":
      return end("gone");
    case "deleting":
      return end("evicted");
    default:
      return assertNever(state);
  }
}

function inUse(fact: Fact): boolean {
  const { readers, fillers } = othersOf(fact);
  return readers || fillers;
}

function othersOf(fact: Fact): OtherLeases {
  if (fact.is !== "leases") throw new TypeError(`leases were asked for, not ${fact.is}`);
  return fact.others;
}

function placeOf(fact: Fact): Place {
  if (fact.is !== "place") throw new TypeError(`the place was looked at, not ${fact.is}`);
  return fact.place;
}
