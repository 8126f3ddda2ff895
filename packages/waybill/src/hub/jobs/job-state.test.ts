import {
  JOB_STATES,
  type JobDoc,
  type JobState,
  WaybillError,
  isTerminal,
} from "@waybill/sdk/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LAB, callerOf, workerIdOf } from "./call.fixture.ts";
import { START_MS, jobIdAt, specOf } from "./job-hub.fixture.ts";
import {
  type Happening,
  type StateEvent,
  assignmentOf,
  endEvent,
  next,
  queuedEvent,
  submitted,
} from "./job-state.ts";

const JOB = jobIdAt(1);
const desk = callerOf("worker", "desk");
const LATER_MS = START_MS + 3_600_000;
const assign = { type: "assign", worker: workerIdOf("desk") } as const;
const ended: StateEvent = {
  type: "state",
  state: "completed",
  seq: 9,
  attempt: 1,
  time: "2026-01-02T03:04:05.678Z",
};

function docIn(state: JobState): JobDoc {
  const queued = submitted(LAB, JOB, specOf(), "ada", START_MS);
  if (state === "queued") return queued;
  const { doc } = next(queued, assign, START_MS);
  return isTerminal(state)
    ? next(doc, { ...HAPPENINGS.end, state: state as "failed" }, START_MS).doc
    : { ...doc, state };
}

const HAPPENINGS = {
  assign,
  return: { type: "return", attempt: 1, reason: "busy" },
  cancel: { type: "cancel", by: "ada" },
  renew: { type: "renew", caller: desk, attempt: 1, state: "paused", lastSeq: 7 },
  end: { type: "end", caller: desk, attempt: 1, state: "failed", reason: "exit 1" },
  expire: { type: "expire" },
  recover: { type: "recover", end: ended },
} as const satisfies { readonly [T in Happening["type"]]: Extract<Happening, { type: T }> };

type Outcome = JobState | "same" | "stale_attempt";

/** What each happening, an hour later, makes of each state. */
const TABLE: Record<JobState, Record<keyof typeof HAPPENINGS, Outcome>> = {
  queued: {
    assign: "assigned",
    return: "same",
    cancel: "cancelled",
    renew: "stale_attempt",
    end: "stale_attempt",
    expire: "same",
    recover: "same",
  },
  assigned: {
    assign: "same",
    return: "queued",
    cancel: "same",
    renew: "paused",
    end: "failed",
    expire: "failed",
    recover: "completed",
  },
  running: {
    assign: "same",
    return: "same",
    cancel: "same",
    renew: "paused",
    end: "failed",
    expire: "failed",
    recover: "completed",
  },
  paused: {
    assign: "same",
    return: "same",
    cancel: "same",
    renew: "paused",
    end: "failed",
    expire: "failed",
    recover: "completed",
  },
  stopping: {
    assign: "same",
    return: "same",
    cancel: "same",
    renew: "stopping",
    end: "failed",
    expire: "failed",
    recover: "completed",
  },
  completed: afterEnd("stale_attempt"),
  failed: afterEnd("same"),
  cancelled: afterEnd("stale_attempt"),
  interrupted: afterEnd("stale_attempt"),
};

function afterEnd(end: Outcome): Record<keyof typeof HAPPENINGS, Outcome> {
  return {
    assign: "same",
    return: "same",
    cancel: "same",
    renew: "stale_attempt",
    end,
    expire: "same",
    recover: "same",
  };
}

function outcomeOf(doc: JobDoc, happening: Happening): Outcome {
  try {
    const { doc: after } = next(doc, happening, LATER_MS);
    return after === doc ? "same" : after.state;
  } catch (error) {
    if (error instanceof WaybillError && error.code === "stale_attempt") return error.code;
    throw error;
  }
}

describe("every happening in every state", () => {
  for (const state of JOB_STATES) {
    for (const [name, happening] of Object.entries(HAPPENINGS)) {
      const expected = TABLE[state][name as keyof typeof HAPPENINGS];
      it(`${name} in ${state}: ${expected}`, () => {
        expect(outcomeOf(docIn(state), happening)).toBe(expected);
      });
    }
  }
});

describe("numbers", () => {
  it("are reserved for a worker behind the hub's own event", () => {
    const queued = docIn("queued");
    expect(queuedEvent(queued)).toMatchObject({ seq: 1, attempt: 0, state: "queued" });
    const { doc, event } = next(queued, assign, START_MS);
    expect(event).toMatchObject({ seq: 2, attempt: 1, state: "assigned", worker: assign.worker });
    if (event === undefined) return;
    expect(assignmentOf(doc, event)).toMatchObject({
      attempt: 1,
      firstSeq: 3,
      seqReserved: 100_002,
      leaseUntil: new Date(START_MS + 60_000).toISOString(),
    });
  });

  it("of a returned job go on above all that its worker may have used", () => {
    const returned = next(docIn("assigned"), HAPPENINGS.return, START_MS);
    expect(returned.event).toMatchObject({
      seq: 100_003,
      attempt: 1,
      state: "queued",
      reason: "busy",
    });
    expect(returned.doc).not.toHaveProperty("worker");
    const again = next(returned.doc, assign, START_MS);
    expect(again.event).toMatchObject({ seq: 100_004, attempt: 2 });
  });

  it("of an end by the hub can be told from the document alone", () => {
    const { doc, event } = next(docIn("running"), { type: "expire" }, LATER_MS);
    expect(event).toEqual(endEvent(doc));
    expect(event).toMatchObject({ seq: 100_003, attempt: 1, state: "failed" });
    expect(doc.reason).toMatch(/^worker lost/);
  });

  it("are extended by a renewal and never taken back", () => {
    const renew = { ...HAPPENINGS.renew, lastSeq: 90_000 };
    const more = next(docIn("running"), renew, START_MS).doc;
    expect(more.seqReserved).toBe(190_000);
    expect(next(more, { ...renew, lastSeq: 5 }, START_MS).doc.seqReserved).toBe(190_000);
  });
});

describe("fencing (I11)", () => {
  it("refuses another attempt and another key, whatever the state", () => {
    for (const state of JOB_STATES) {
      for (const wrong of [{ attempt: 2 }, { caller: callerOf("worker", "pod") }]) {
        expect(outcomeOf(docIn(state), { ...HAPPENINGS.renew, ...wrong })).toBe("stale_attempt");
        expect(outcomeOf(docIn(state), { ...HAPPENINGS.end, ...wrong })).toBe("stale_attempt");
      }
    }
  });

  it("keeps a late renewal from leading back", () => {
    const renew = { ...HAPPENINGS.renew, state: "assigned" } as const;
    expect(next(docIn("stopping"), renew, START_MS).doc.state).toBe("stopping");
    expect(next(docIn("running"), renew, START_MS).doc.state).toBe("running");
  });
});

/** What a step breaks, if anything. */
function violations(before: JobDoc, step: Happening, nowMs: number): [JobDoc, string[]] {
  try {
    const { doc, event } = next(before, step, nowMs);
    const broken = [
      isTerminal(before.state) && doc !== before && "changed after its end",
      doc.attempt < before.attempt && "attempt went down",
      doc.seqReserved < before.seqReserved && "numbers went down",
      event !== undefined && event.seq <= before.seqReserved && "event reuses a number",
      event !== undefined && event.seq > doc.seqReserved && "event is above the reserve",
      event !== undefined && event.state !== doc.state && "event tells another state",
    ];
    return [doc, broken.filter((each) => each !== false)];
  } catch (error) {
    const stale = error instanceof WaybillError && error.code === "stale_attempt";
    return [before, stale ? [] : [String(error)]];
  }
}

it("never leads out of a terminal state, and never lowers attempts or numbers", () => {
  const happening = fc.constantFrom<Happening>(
    ...Object.values(HAPPENINGS),
    { ...HAPPENINGS.return, attempt: 2 },
    { ...HAPPENINGS.renew, attempt: 2, lastSeq: 500_000 },
    { ...HAPPENINGS.end, attempt: 2, state: "cancelled" },
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(happening, fc.nat(90_000)), { maxLength: 40 }), (steps) => {
      let doc = docIn("queued");
      let nowMs = START_MS;
      for (const [step, ms] of steps) {
        nowMs += ms;
        const [after, broken] = violations(doc, step, nowMs);
        expect(broken).toEqual([]);
        doc = after;
      }
    }),
  );
});
