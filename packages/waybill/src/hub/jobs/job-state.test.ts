import {
  type Adjusted,
  type ArtifactId,
  JOB_STATES,
  type JobDoc,
  type JobState,
  MAX_ADJUSTED,
  WaybillError,
  isTerminal,
} from "@waybill/sdk/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LAB, callerOf, workerIdOf } from "./call.fixture.ts";
import { START_MS, jobIdAt, specOf } from "./job-hub.fixture.ts";
import { type StateEvent, endEvent } from "./job-ending.ts";
import { type Happening, assignmentOf, next, queuedEvent, submitted } from "./job-state.ts";

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

const resume = { artifact: "c".repeat(64) as ArtifactId, bytes: 7, data: { epoch: 7 } };

function docIn(state: JobState): JobDoc {
  const queued = submitted(LAB, JOB, specOf(), { submittedBy: "ada" }, START_MS);
  if (state === "queued") return queued;
  const { doc } = next(queued, assign, START_MS);
  if (!isTerminal(state)) return { ...doc, state };
  const last = state === "interrupted" ? { ...doc, spec: { ...doc.spec, maxAttempts: 1 } } : doc;
  return next(last, { ...HAPPENINGS.end, state: state as "failed" }, START_MS).doc;
}

const HAPPENINGS = {
  assign,
  return: { type: "return", attempt: 1, reason: "busy" },
  cancel: { type: "cancel", by: "ada", id: "c1" },
  renew: { type: "renew", caller: desk, attempt: 1, state: "paused", lastSeq: 7 },
  end: { type: "end", caller: desk, attempt: 1, state: "failed", reason: "exit 1" },
  expire: { type: "expire" },
  interrupt: { type: "end", caller: desk, attempt: 1, state: "interrupted", reason: "SIGTERM" },
  checkpoint: { type: "checkpoint", caller: desk, attempt: 1, resume },
  checkpointGone: { type: "checkpointGone", artifact: resume.artifact },
  wish: { type: "wish", wish: { name: "cancel", id: "c1", by: "ada" } },
  recover: { type: "recover", end: ended },
} as const satisfies { readonly [T in Happening["type"]]: Extract<Happening, { type: T }> } & {
  readonly interrupt: Happening;
};

type Outcome = JobState | "same" | "stale_attempt";

/** What each happening, an hour later, makes of each state. */
const TABLE: Record<JobState, Record<keyof typeof HAPPENINGS, Outcome>> = {
  queued: {
    assign: "assigned",
    return: "same",
    cancel: "cancelled",
    renew: "stale_attempt",
    end: "stale_attempt",
    interrupt: "stale_attempt",
    checkpoint: "stale_attempt",
    checkpointGone: "same",
    wish: "same",
    expire: "same",
    recover: "same",
  },
  assigned: {
    assign: "same",
    return: "queued",
    cancel: "same",
    renew: "paused",
    end: "failed",
    interrupt: "queued",
    checkpoint: "assigned",
    checkpointGone: "same",
    wish: "assigned",
    expire: "queued",
    recover: "completed",
  },
  running: atWork("running", "paused"),
  paused: atWork("paused", "paused"),
  stopping: atWork("stopping", "stopping"),
  completed: afterEnd("stale_attempt", "stale_attempt"),
  failed: afterEnd("same", "stale_attempt"),
  cancelled: afterEnd("stale_attempt", "stale_attempt"),
  interrupted: afterEnd("stale_attempt", "same"),
};

function atWork(state: JobState, renewed: JobState): Record<keyof typeof HAPPENINGS, Outcome> {
  return {
    assign: "same",
    return: "same",
    cancel: "same",
    renew: renewed,
    end: "failed",
    interrupt: "queued",
    checkpoint: state,
    checkpointGone: "same",
    wish: state,
    expire: "queued",
    recover: "completed",
  };
}

function afterEnd(end: Outcome, interrupt: Outcome): Record<keyof typeof HAPPENINGS, Outcome> {
  return {
    assign: "same",
    return: "same",
    cancel: "same",
    renew: "stale_attempt",
    end,
    interrupt,
    checkpoint: "stale_attempt",
    checkpointGone: "same",
    wish: "same",
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

describe("where the next attempt begins", () => {
  const at = (n: number | undefined, digit: string, attempt = 1) =>
    ({
      ...HAPPENINGS.checkpoint,
      attempt,
      resume: { ...resume, artifact: digit.repeat(64) as ArtifactId, n },
    }) as const;
  const recorded = next(docIn("running"), at(2, "b"), START_MS).doc;

  it("never goes back to an older checkpoint of the same attempt", () => {
    expect(() => next(recorded, at(1, "a"), START_MS)).toThrow(/1 of job .* is older than 2/);
    expect(next(recorded, at(3, "d"), START_MS).doc.resume).toMatchObject({ n: 3 });
    expect(next(recorded, at(undefined, "d"), START_MS).doc.resume?.n).toBeUndefined();
  });

  it("may be the first checkpoint of a later attempt", () => {
    const queued = next(recorded, HAPPENINGS.interrupt, START_MS).doc;
    const again = next(queued, assign, START_MS).doc;
    expect(next(again, at(1, "a", 2), START_MS).doc.resume).toMatchObject({ attempt: 2, n: 1 });
  });

  it("is the checkpoint before when the recorded one is gone, or none", () => {
    const first = next(docIn("running"), at(1, "a"), START_MS).doc.resume;
    const gone = { type: "checkpointGone", artifact: "b".repeat(64) as ArtifactId } as const;
    expect(next(recorded, { ...gone, instead: first }, START_MS).doc.resume).toEqual(first);
    expect(next(recorded, gone, START_MS).doc).not.toHaveProperty("resume");
    const other = { ...gone, artifact: "a".repeat(64) as ArtifactId };
    expect(next(recorded, other, START_MS).doc).toBe(recorded);
  });
});

describe("numbers", () => {
  it("are reserved for a worker behind the hub's own event", () => {
    const queued = docIn("queued");
    expect(queuedEvent(queued)).toMatchObject({ seq: 1, attempt: 0, state: "queued" });
    const { doc, events: [event] = [] } = next(queued, assign, START_MS);
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
    expect(returned.events?.[0]).toMatchObject({
      seq: 100_003,
      attempt: 1,
      state: "queued",
      reason: "busy",
    });
    expect(returned.doc).not.toHaveProperty("worker");
    const again = next(returned.doc, assign, START_MS);
    expect(again.events).toMatchObject([{ seq: 100_004, attempt: 2 }]);
  });

  it("of an end by the hub can be told from the document alone", () => {
    const running = docIn("running");
    const last = { ...running, spec: { ...running.spec, maxAttempts: 1 } };
    const { doc, events } = next(last, { type: "expire" }, LATER_MS);
    expect(events).toEqual([endEvent(doc)]);
    expect(events).toMatchObject([{ seq: 100_003, attempt: 1, state: "failed" }]);
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

  it("keep what the trainer has confirmed of adjust, key by key, for the attempts that follow", () => {
    const renew = (adjusted?: Adjusted) =>
      ({ ...HAPPENINGS.renew, state: "running", adjusted }) as const;
    const some = next(docIn("running"), renew({ lr: 0.1, decay: true }), START_MS).doc;
    const more = next(some, renew({ lr: 0.01 }), START_MS).doc;
    const kept = next(more, renew(), START_MS).doc;
    expect(kept.adjusted).toEqual({ lr: 0.01, decay: true });
    const queued = next(kept, HAPPENINGS.interrupt, START_MS).doc;
    const { doc, events } = next(queued, assign, START_MS);
    const [assigned] = events as [StateEvent];
    expect(assignmentOf(doc, assigned)).toMatchObject({
      attempt: 2,
      adjusted: { lr: 0.01, decay: true },
    });
  });

  it("are extended although more has been adjusted than is kept", () => {
    const keys = (from: number) =>
      Object.fromEntries(Array.from({ length: MAX_ADJUSTED }, (_, i) => [`k${from + i}`, i]));
    const renew = (from: number) => ({ ...HAPPENINGS.renew, adjusted: keys(from) });
    const full = next(docIn("running"), renew(0), START_MS).doc;
    expect(next(full, renew(100), START_MS).doc.adjusted).toMatchObject({ k100: 0, k255: 155 });
    expect(Object.keys(next(full, renew(100), START_MS).doc.adjusted ?? {})).toHaveLength(256);
  });

  it("keeps a late renewal from leading back", () => {
    const renew = { ...HAPPENINGS.renew, state: "assigned" } as const;
    expect(next(docIn("stopping"), renew, START_MS).doc.state).toBe("stopping");
    expect(next(docIn("running"), renew, START_MS).doc.state).toBe("running");
  });
});

describe("an attempt that was interrupted", () => {
  const running = docIn("running");
  const worker = assign.worker;

  it("is followed by another, which begins at the newest checkpoint", () => {
    const safe = next(running, HAPPENINGS.checkpoint, START_MS).doc;
    const { doc, events } = next(safe, HAPPENINGS.interrupt, LATER_MS);
    expect(doc).toMatchObject({ state: "queued", fruitless: 0, seqReserved: 100_003 });
    expect(doc).not.toHaveProperty("worker");
    expect(events).toMatchObject([
      {
        seq: 100_003,
        attempt: 1,
        state: "queued",
        reason: "attempt 1 was interrupted; attempt 2 resumes from epoch 7",
      },
    ]);
    const again = next(doc, assign, LATER_MS);
    const [assigned] = again.events ?? [];
    if (assigned === undefined) throw new Error("no event");
    expect(assignmentOf(again.doc, assigned)).toMatchObject({
      attempt: 2,
      resume: { artifact: resume.artifact, attempt: 1 },
    });
  });

  it("is told twice by the hub when its worker was lost: that it is over, and what follows", () => {
    const { doc, events } = next(running, { type: "expire" }, LATER_MS);
    expect(events).toMatchObject([
      { seq: 100_003, state: "interrupted", worker, reason: expect.stringMatching(/^worker lost/) },
      { seq: 100_004, state: "queued", reason: expect.stringMatching(/attempt 2 begins anew/) },
    ]);
    expect(doc).toMatchObject({ state: "queued", fruitless: 1, seqReserved: 100_004 });
  });

  it.each([
    ["kept by a desktop nobody can stand in for", "desktop", { served: false }, "same"],
    ["taken from it when somebody can", "desktop", { served: true }, "queued"],
    ["kept on a shared machine", "shared", { served: false }, "same"],
    ["taken from an ephemeral one", "ephemeral", { served: false }, "queued"],
    ["taken after too long", "desktop", { served: false, awayMs: 1000 }, "queued"],
  ] as const)("is %s when its lease is over", (_, kind, silence, outcome) => {
    const doc = { ...running, assignee: { name: "desk", kind } };
    expect(outcomeOf(doc, { type: "expire", ...silence })).toBe(outcome);
    const wish = { name: "stop", id: "c1", by: "ada" } as const;
    const wanted = next(doc, { type: "wish", wish }, START_MS).doc;
    expect(outcomeOf(wanted, { type: "expire", ...silence })).toBe("failed");
  });

  it.each(["interrupt", "expire"] as const)("says on %s that a pause is over", (how) => {
    const reasonOf = (doc: JobDoc) => next(doc, HAPPENINGS[how], LATER_MS).events?.at(-1)?.reason;
    expect(reasonOf({ ...running, state: "paused" })).toMatch(/; it was paused; it runs again$/);
    expect(reasonOf(running)).not.toMatch(/paused/);
  });

  it("answers its worker the same when it asks again, whatever has become of the job", () => {
    const { doc } = next(running, HAPPENINGS.interrupt, LATER_MS);
    expect(next(doc, HAPPENINGS.interrupt, LATER_MS).doc).toBe(doc);
    const second = next(doc, { ...assign, worker: workerIdOf("pod") }, LATER_MS).doc;
    expect(next(second, HAPPENINGS.interrupt, LATER_MS).doc).toBe(second);
    const other = { ...HAPPENINGS.interrupt, caller: callerOf("worker", "pod") };
    expect(outcomeOf(second, other)).toBe("stale_attempt");
    expect(outcomeOf(second, { ...HAPPENINGS.end })).toBe("stale_attempt");
  });

  it.each([
    ["interrupt", "interrupted"],
    ["expire", "failed"],
  ] as const)("%s ends the job as %s after too many without a new checkpoint", (how, end) => {
    const tired = { ...running, fruitless: 4 };
    const { doc } = next(tired, HAPPENINGS[how], LATER_MS);
    expect(doc).toMatchObject({
      state: end,
      reason: expect.stringMatching(/not tried again: 5 attempts in a row/),
    });
    const safe = next(tired, HAPPENINGS.checkpoint, START_MS).doc;
    expect(next(safe, HAPPENINGS[how], LATER_MS).doc).toMatchObject({
      state: "queued",
      fruitless: 0,
    });
  });

  it.each([
    ["interrupt", "cancel", "cancelled"],
    ["expire", "cancel", "cancelled"],
    ["return", "cancel", "cancelled"],
    ["interrupt", "stop", "interrupted"],
    ["expire", "stop", "failed"],
    ["return", "stop", "cancelled"],
  ] as const)("%s with a %s under way ends the job as %s", (how, name, end) => {
    const from = how === "return" ? docIn("assigned") : running;
    const wish = { ...HAPPENINGS.wish, wish: { name, id: "c1", by: "ada" } } as const;
    const wanted = next(from, wish, START_MS).doc;
    expect(next(wanted, wish, LATER_MS).doc).toBe(wanted);
    const { doc } = next(wanted, HAPPENINGS[how], LATER_MS);
    expect(doc).toMatchObject({ state: end, reason: expect.stringContaining("ada") });
  });

  it("whose end the hub found in the log is followed by another, too", () => {
    const end: StateEvent = { ...ended, state: "interrupted" };
    const { doc, events } = next(running, { type: "recover", end }, LATER_MS);
    expect(doc).toMatchObject({ state: "queued", fruitless: 1 });
    expect(events).toHaveLength(1);
  });
});

/** Who may write for the job, as fencing sees it. */
const holdersOf = ({ attempt, worker, state }: JobDoc) =>
  isTerminal(state) || worker === undefined ? [] : [`${attempt} ${worker}`];

/** What a step breaks, if anything. */
function violations(before: JobDoc, step: Happening, nowMs: number): [JobDoc, string[]] {
  try {
    const { doc, events = [] } = next(before, step, nowMs);
    const [first] = events;
    const last = events.at(-1);
    const moved = holdersOf(doc)[0] !== holdersOf(before)[0] && holdersOf(doc).length > 0;
    const broken = [
      isTerminal(before.state) && doc !== before && "changed after its end",
      doc.attempt < before.attempt && "attempt went down",
      moved && doc.attempt === before.attempt && "two holders of one attempt",
      doc.seqReserved < before.seqReserved && "numbers went down",
      first !== undefined && first.seq <= before.seqReserved && "event reuses a number",
      events.some(({ seq }, i) => seq !== (first?.seq ?? 0) + i) && "events are not consecutive",
      last !== undefined && last.seq > doc.seqReserved && "event is not reserved",
      last !== undefined && last.state !== doc.state && "event tells another state",
    ];
    return [doc, broken.filter((each) => each !== false)];
  } catch (error) {
    const stale = error instanceof WaybillError && error.code === "stale_attempt";
    return [before, stale ? [] : [String(error)]];
  }
}

it("has one end, one holder at a time, and attempts and numbers that only grow, in any order of happenings (I11)", () => {
  const pod = callerOf("worker", "pod");
  const attempts = [1, 2, 3].flatMap((attempt): Happening[] => [
    { ...HAPPENINGS.return, attempt },
    { ...HAPPENINGS.renew, attempt, lastSeq: attempt * 250_000 },
    { ...HAPPENINGS.renew, attempt, caller: pod },
    { ...HAPPENINGS.end, attempt, state: "cancelled" },
    { ...HAPPENINGS.interrupt, attempt },
    { ...HAPPENINGS.interrupt, attempt, caller: pod },
    { ...HAPPENINGS.checkpoint, attempt },
  ]);
  const happening = fc.constantFrom<Happening>(
    ...Object.values(HAPPENINGS),
    ...attempts,
    { ...assign, worker: workerIdOf("pod") },
    { ...HAPPENINGS.wish, wish: { name: "stop", id: "c2", by: "ada" } },
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(happening, fc.nat(90_000)), { maxLength: 60 }), (steps) => {
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
