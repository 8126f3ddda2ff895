import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  NEGOTIATE_MS,
  type NegotiationEffect,
  type NegotiationEvent,
  type NegotiationState,
  STEADY_MS,
  UNCONNECTED,
  nextNegotiation,
} from "./negotiation-state.ts";

type Phase = NegotiationState["phase"];
const base = { wanted: true, attempt: 2 } as const;
const STATES: { readonly [P in Phase]: NegotiationState } = {
  resting: { ...base, phase: "resting" },
  offering: { ...base, phase: "offering", connection: "c1" },
  answering: { ...base, phase: "answering", connection: "c1" },
  open: { ...base, phase: "open", connection: "c1" },
  reoffering: { ...base, phase: "reoffering", connection: "c1", next: "n1" },
  reanswering: { ...base, phase: "reanswering", connection: "c1", next: "n1" },
};
const EVENTS = {
  want: { type: "want", fresh: "new" },
  unwant: { type: "unwant" },
  spare: { type: "spare" },
  offered: { type: "offered", connection: "c2" },
  offeredInstead: { type: "offered", connection: "c2", replaces: "c1" },
  answered: { type: "answered", connection: "c1" },
  answeredNext: { type: "answered", connection: "n1" },
  answeredOld: { type: "answered", connection: "c0" },
  bye: { type: "bye", connection: "c1" },
  byeNext: { type: "bye", connection: "n1" },
  byeOld: { type: "bye", connection: "c0" },
  opened: { type: "opened", connection: "c1" },
  openedNext: { type: "opened", connection: "n1" },
  openedOld: { type: "opened", connection: "c0" },
  failed: { type: "failed", connection: "c1" },
  failedNext: { type: "failed", connection: "n1" },
  failedOld: { type: "failed", connection: "c0" },
  timer: { type: "timer", fresh: "new" },
  nudge: { type: "nudge", fresh: "new" },
  renew: { type: "renew", fresh: "new" },
} as const satisfies Record<string, NegotiationEvent>;

type Row = { readonly [E in keyof typeof EVENTS]: readonly [Phase, string] };
const BACK = "close(c1)+bye backoff";
/** Wanted, impolite: every state and event; a new one does not compile until it has its row. */
const TABLE: { readonly [P in Phase]: Row } = {
  resting: {
    want: ["resting", ""],
    unwant: ["resting", ""],
    spare: ["resting", ""],
    offered: ["answering", "answer(c2) timer"],
    offeredInstead: ["answering", "answer(c2) timer"],
    answered: ["resting", ""],
    answeredNext: ["resting", ""],
    answeredOld: ["resting", ""],
    bye: ["resting", ""],
    byeNext: ["resting", ""],
    byeOld: ["resting", ""],
    opened: ["resting", ""],
    openedNext: ["resting", ""],
    openedOld: ["resting", ""],
    failed: ["resting", ""],
    failedNext: ["resting", ""],
    failedOld: ["resting", ""],
    timer: ["offering", "offer(new) timer"],
    nudge: ["offering", "offer(new) timer"],
    renew: ["resting", ""],
  },
  offering: {
    want: ["offering", ""],
    unwant: ["resting", "close(c1)+bye"],
    spare: ["offering", ""],
    offered: ["offering", ""],
    offeredInstead: ["offering", ""],
    answered: ["offering", "apply(c1)"],
    answeredNext: ["offering", ""],
    answeredOld: ["offering", ""],
    bye: ["resting", "close(c1) backoff"],
    byeNext: ["offering", ""],
    byeOld: ["offering", ""],
    opened: ["open", "timer"],
    openedNext: ["offering", ""],
    openedOld: ["offering", ""],
    failed: ["resting", BACK],
    failedNext: ["offering", ""],
    failedOld: ["offering", ""],
    timer: ["resting", BACK],
    nudge: ["offering", "close(c1)+bye offer(new) timer"],
    renew: ["offering", ""],
  },
  answering: {
    want: ["answering", ""],
    unwant: ["resting", "close(c1)+bye"],
    spare: ["answering", ""],
    offered: ["answering", "close(c1) answer(c2) timer"],
    offeredInstead: ["answering", "close(c1) answer(c2) timer"],
    answered: ["answering", ""],
    answeredNext: ["answering", ""],
    answeredOld: ["answering", ""],
    bye: ["resting", "close(c1) backoff"],
    byeNext: ["answering", ""],
    byeOld: ["answering", ""],
    opened: ["open", "timer"],
    openedNext: ["answering", ""],
    openedOld: ["answering", ""],
    failed: ["resting", BACK],
    failedNext: ["answering", ""],
    failedOld: ["answering", ""],
    timer: ["resting", BACK],
    nudge: ["answering", ""],
    renew: ["answering", ""],
  },
  open: {
    want: ["open", ""],
    unwant: ["resting", "close(c1)+bye"],
    spare: ["open", ""],
    offered: ["answering", "close(c1) answer(c2) timer"],
    offeredInstead: ["reanswering", "answer(c2) timer"],
    answered: ["open", ""],
    answeredNext: ["open", ""],
    answeredOld: ["open", ""],
    bye: ["resting", "close(c1) backoff"],
    byeNext: ["open", ""],
    byeOld: ["open", ""],
    opened: ["open", ""],
    openedNext: ["open", ""],
    openedOld: ["open", ""],
    failed: ["resting", BACK],
    failedNext: ["open", ""],
    failedOld: ["open", ""],
    timer: ["open", ""],
    nudge: ["open", ""],
    renew: ["reoffering", "offer(new instead of c1) timer"],
  },
  reoffering: {
    want: ["reoffering", ""],
    unwant: ["resting", "close(n1)+bye close(c1)+bye"],
    spare: ["reoffering", ""],
    // The peer does not know the one that serves: it is of no use.
    offered: ["offering", "close(c1) timer"],
    offeredInstead: ["reoffering", ""],
    answered: ["reoffering", ""],
    answeredNext: ["reoffering", "apply(n1)"],
    answeredOld: ["reoffering", ""],
    bye: ["offering", "close(c1) timer"],
    byeNext: ["open", "close(n1) timer"],
    byeOld: ["reoffering", ""],
    opened: ["reoffering", ""],
    openedNext: ["open", "retire(c1) timer"],
    openedOld: ["reoffering", ""],
    failed: ["offering", "close(c1)+bye timer"],
    failedNext: ["open", "close(n1)+bye timer"],
    failedOld: ["reoffering", ""],
    timer: ["open", "close(n1)+bye timer"],
    nudge: ["reoffering", ""],
    renew: ["reoffering", ""],
  },
  reanswering: {
    want: ["reanswering", ""],
    unwant: ["resting", "close(n1)+bye close(c1)+bye"],
    spare: ["reanswering", ""],
    offered: ["answering", "close(n1) close(c1) answer(c2) timer"],
    offeredInstead: ["reanswering", "close(n1) answer(c2) timer"],
    answered: ["reanswering", ""],
    answeredNext: ["reanswering", ""],
    answeredOld: ["reanswering", ""],
    bye: ["answering", "close(c1) timer"],
    byeNext: ["open", "close(n1) timer"],
    byeOld: ["reanswering", ""],
    opened: ["reanswering", ""],
    openedNext: ["open", "retire(c1) timer"],
    openedOld: ["reanswering", ""],
    failed: ["answering", "close(c1)+bye timer"],
    failedNext: ["open", "close(n1)+bye timer"],
    failedOld: ["reanswering", ""],
    timer: ["open", "close(n1)+bye timer"],
    nudge: ["reanswering", ""],
    renew: ["reanswering", ""],
  },
};

function print(effects: readonly NegotiationEffect[]): string {
  return effects
    .map((effect) => {
      if (effect.type === "timer" || effect.type === "backoff") return effect.type;
      const bye = effect.type === "close" && effect.bye ? "+bye" : "";
      const instead =
        effect.type === "offer" && effect.replaces !== undefined
          ? ` instead of ${effect.replaces}`
          : "";
      return `${effect.type}(${effect.connection}${instead})${bye}`;
    })
    .join(" ");
}

describe("negotiating a direct channel", () => {
  for (const [phase, row] of Object.entries(TABLE)) {
    for (const [event, [after, effects]] of Object.entries(row)) {
      it(`${phase} on ${event} becomes ${after}${effects === "" ? "" : ` and does ${effects}`}`, () => {
        const state = STATES[phase as Phase];
        const step = nextNegotiation(state, EVENTS[event as keyof typeof EVENTS], false);
        expect([step.state.phase, print(step.effects)]).toEqual([after, effects]);
      });
    }
  }

  it("begins when it is wanted", () => {
    const step = nextNegotiation(UNCONNECTED, EVENTS.want, false);
    expect(step.state).toMatchObject({ phase: "offering", connection: "new", wanted: true });
    expect(step.effects).toContainEqual({ type: "timer", ms: NEGOTIATE_MS });
  });

  it("yields its offer to the other's when it is polite", () => {
    const step = nextNegotiation(STATES.offering, EVENTS.offered, true);
    expect(step.state).toMatchObject({ phase: "answering", connection: "c2" });
    expect(print(step.effects)).toBe("close(c1) answer(c2) timer");
  });

  it("yields its replacement to the other's when it is polite, while the old one serves", () => {
    const step = nextNegotiation(STATES.reoffering, EVENTS.offeredInstead, true);
    expect(step.state).toMatchObject({ phase: "reanswering", connection: "c1", next: "c2" });
    expect(print(step.effects)).toBe("close(n1) answer(c2) timer");
  });

  it("does not try by itself when only the other side wanted the channel", () => {
    for (const event of [EVENTS.failed, EVENTS.bye, EVENTS.timer]) {
      const step = nextNegotiation({ ...STATES.answering, wanted: false }, event, false);
      expect(step.state).toMatchObject({ phase: "resting", attempt: 0 });
      expect(print(step.effects)).not.toContain("backoff");
    }
    const resting = { ...STATES.resting, wanted: false };
    expect(nextNegotiation(resting, EVENTS.nudge, false).state.phase).toBe("resting");
  });

  it("backs off further with each failure until a channel stayed open", () => {
    const failed = nextNegotiation(STATES.offering, EVENTS.failed, false);
    expect(failed.effects).toContainEqual({ type: "backoff", attempt: 2 });
    expect(failed.state.attempt).toBe(3);
    const opened = nextNegotiation(STATES.offering, EVENTS.opened, false);
    expect([opened.state.attempt, opened.effects]).toEqual([2, [{ type: "timer", ms: STEADY_MS }]]);
    expect(nextNegotiation(opened.state, EVENTS.timer, false).state.attempt).toBe(0);
  });

  it("brings two peers to one connection whatever was lost before, as soon as messages arrive", () => {
    const step = fc.record({
      what: fc.constantFrom(
        "want0",
        "want1",
        "deliver0",
        "deliver1",
        "drop0",
        "timer0",
        "timer1",
        "renew0",
        "renew1",
      ),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const pair = new Pair();
        for (const { what } of steps) pair.do(what);
        pair.happen(0, { type: "want", fresh: pair.fresh() });
        // From here on nothing is lost: deliver everything, and let deadlines pass when all is quiet.
        for (let i = 0; i < 100 && !pair.connected(); i++) {
          while (pair.do("deliver0") || pair.do("deliver1"));
          pair.notice();
          if (!pair.connected()) pair.do(i % 2 ? "timer0" : "timer1");
        }
        expect(pair.connected()).toBe(true);
      }),
    );
  });
});

type Sent = {
  readonly type: "offered" | "answered" | "bye";
  readonly connection: string;
  readonly replaces?: string;
};

/** Ids of the connection that serves and of the one that is coming. */
function held(state: NegotiationState): string[] {
  if (state.phase === "resting") return [];
  return "next" in state ? [state.connection, state.next] : [state.connection];
}

/** Two machines and what is under way between them; the second has the greater id. */
class Pair {
  readonly states: [NegotiationState, NegotiationState] = [UNCONNECTED, UNCONNECTED];
  /** To each of them, in order. */
  readonly under: [Sent[], Sent[]] = [[], []];
  /** Connections whose answer was applied. */
  readonly applied = new Set<string>();
  #ids = 0;

  fresh(): string {
    this.#ids += 1;
    return `c${this.#ids}`;
  }

  connected(): boolean {
    const [a, b] = this.states;
    const quiet = this.under[0].length === 0 && this.under[1].length === 0;
    return quiet && a.phase === "open" && b.phase === "open" && a.connection === b.connection;
  }

  do(what: string): boolean {
    const who = what.endsWith("0") ? 0 : 1;
    if (what.startsWith("want")) this.happen(who, { type: "want", fresh: this.fresh() });
    else if (what.startsWith("renew")) this.happen(who, { type: "renew", fresh: this.fresh() });
    else if (what.startsWith("timer")) this.happen(who, { type: "timer", fresh: this.fresh() });
    else {
      const message = this.under[who].shift();
      if (message === undefined) return false;
      if (what.startsWith("deliver")) this.happen(who, message);
    }
    return true;
  }

  happen(who: 0 | 1, event: NegotiationEvent): void {
    const { state, effects } = nextNegotiation(this.states[who], event, who === 0);
    this.states[who] = state;
    const there = who === 0 ? 1 : 0;
    for (const effect of effects) {
      if (effect.type === "timer" || effect.type === "backoff") continue;
      const { connection } = effect;
      if (effect.type === "offer") {
        const { replaces } = effect;
        const extra = replaces === undefined ? {} : { replaces };
        this.under[there].push({ type: "offered", connection, ...extra });
      }
      if (effect.type === "answer") this.under[there].push({ type: "answered", connection });
      if (effect.type === "close" && effect.bye)
        this.under[there].push({ type: "bye", connection });
      if (effect.type === "close") this.applied.delete(connection);
      if (effect.type === "apply") this.applied.add(connection);
    }
    this.#open();
  }

  /** No pong comes over a channel that the other side has given up. */
  notice(): void {
    for (const who of [0, 1] as const) {
      const [mine, theirs] = [this.states[who], this.states[1 - who]];
      if (mine.phase !== "open" && !("next" in mine)) continue;
      const { connection } = mine;
      const known = theirs !== undefined && held(theirs).includes(connection);
      if (!known) this.happen(who, { type: "failed", connection });
    }
  }

  /** DTLS comes up once both sides hold the same connection and the answer was applied. */
  #open(): void {
    const [a, b] = this.states;
    const both = held(a).findLast((one) => held(b).includes(one) && this.applied.has(one));
    if (both === undefined) return;
    for (const who of [0, 1] as const) {
      const state = this.states[who];
      const coming =
        state.phase === "resting" || state.phase === "open" ? undefined : held(state).at(-1);
      if (coming === both) this.happen(who, { type: "opened", connection: both });
    }
  }
}
