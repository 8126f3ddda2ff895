import { array, assert, integer, nat, property } from "fast-check";
import { describe, expect, it } from "vitest";
import { WaybillError } from "../protocol/index.ts";
import { flightOf, memoryOf } from "./upload-pace.ts";
import { partRule } from "./upload-plan.ts";
import {
  type PartOrigin,
  type UploadEffect,
  type UploadEvent,
  type UploadStart,
  type UploadState,
  beginUpload,
  nextUpload,
} from "./upload-state.ts";

const MIB = 1024 * 1024;
const PART = 5 * MIB;
const HOUR_MS = 3_600_000;

class Machine {
  readonly effects: UploadEffect[] = [];
  state: UploadState;

  constructor(start: Partial<UploadStart> = {}) {
    const rule = partRule(MIB, 1024 * MIB);
    const step = beginUpload({ rule, totalBytes: 1024 * MIB, retryForMs: 1000, ...start });
    this.state = step.state;
    this.effects.push(...step.effects);
  }

  send(...events: UploadEvent[]): readonly UploadEffect[] {
    const from = this.effects.length;
    for (const event of events) {
      const step = nextUpload(this.state, event);
      this.state = step.state;
      this.effects.push(...step.effects);
    }
    return this.effects.slice(from);
  }

  stages(): string[] {
    return [...this.state.slots.values()].map(({ stage }) => stage);
  }
}

const read = (id: number, origin: PartOrigin = "body", size = PART): UploadEvent => ({
  type: "read",
  id,
  size,
  origin,
});
const readAll: UploadEvent = { type: "read-all" };
const sealed: UploadEvent = { type: "sealed", parts: [] };
const signed = (...ids: number[]): UploadEvent => ({ type: "signed", ids, untilMs: HOUR_MS });
const put = (id: number): UploadEvent => ({
  type: "put",
  id,
  startedMs: 0,
  openedMs: 0,
  nowMs: 5000,
});
const kinds = (effects: readonly UploadEffect[]) => effects.map((effect) => effect.type);
const down = new WaybillError("unreachable", "store is down");
const failed = (
  id: number,
  failure: Extract<UploadEvent, { type: "put-failed" }>["failure"],
  nowMs = 0,
): UploadEvent => ({
  type: "put-failed",
  id,
  failure,
  error: down,
  startedMs: 0,
  openedMs: 0,
  nowMs,
});

describe("an upload, event by phase", () => {
  const sending = () => {
    const machine = new Machine();
    machine.send(read(0), read(1, "copy"), signed(0), readAll, readAll);
    return machine;
  };
  const completing = () => {
    const machine = sending();
    machine.send(sealed, put(0), { type: "copied", ids: [1], refused: [] });
    return machine;
  };
  const phases = { sending, completing };
  const events: Record<UploadEvent["type"], UploadEvent> = {
    read: read(2),
    "read-all": readAll,
    committed: { type: "committed" },
    sealed,
    adopted: { type: "adopted" },
    signed: signed(0),
    handed: { type: "handed", id: 0 },
    put: put(0),
    "put-failed": failed(0, "reset"),
    waited: { type: "waited", id: 0, nowMs: 0 },
    checked: { type: "checked", id: 0, held: true },
    copied: { type: "copied", ids: [], refused: [1] },
    reread: { type: "reread", id: 1 },
    tick: { type: "tick", nowMs: 0, sentBytes: 0 },
    completed: { type: "completed" },
    failed: { type: "failed", error: down },
  };
  /** Phase after the event, and its effects. */
  const table: Record<keyof typeof phases, Record<UploadEvent["type"], [string, string[]]>> = {
    sending: {
      read: ["sending", ["sign"]],
      "read-all": ["sending", []],
      committed: ["sending", []],
      sealed: ["sending", []],
      adopted: ["done", ["finish"]],
      signed: ["sending", []],
      handed: ["sending", []],
      put: ["sending", ["release"]],
      "put-failed": ["sending", ["wait"]],
      waited: ["sending", []],
      checked: ["sending", []],
      copied: ["sending", ["reread"]],
      reread: ["sending", []],
      tick: ["sending", []],
      completed: ["sending", []],
      failed: ["failed", ["fail"]],
    },
    completing: {
      read: ["completing", []],
      "read-all": ["completing", []],
      committed: ["completing", []],
      sealed: ["completing", []],
      adopted: ["completing", []],
      signed: ["completing", []],
      handed: ["completing", []],
      put: ["completing", []],
      "put-failed": ["completing", []],
      waited: ["completing", []],
      checked: ["completing", []],
      copied: ["completing", []],
      reread: ["completing", []],
      tick: ["completing", []],
      completed: ["done", ["finish"]],
      failed: ["failed", ["fail"]],
    },
  };
  const rows = Object.entries(table).flatMap(([phase, row]) =>
    Object.entries(row).map(([event, [after, effects]]) => ({ phase, event, after, effects })),
  );

  it.each(rows)("$phase: $event → $after", ({ phase, event, after, effects }) => {
    const machine = phases[phase as keyof typeof phases]();
    expect(machine.state.phase).toBe(phase);
    expect(kinds(machine.send(events[event as UploadEvent["type"]]))).toEqual(effects);
    expect(machine.state.phase).toBe(after);
  });

  it.each(Object.keys(events))("done and failed: %s changes nothing", (event) => {
    for (const phase of ["done", "failed"] as const) {
      const machine = sending();
      machine.state = { ...machine.state, phase };
      expect(machine.send(events[event as UploadEvent["type"]])).toEqual([]);
    }
  });
});

describe("an upload", () => {
  it("asks for two parts at a time and never for more than its memory allows", () => {
    const machine = new Machine();
    expect(machine.effects).toEqual([
      { type: "read", wantedBytes: PART },
      { type: "read", wantedBytes: PART },
    ]);
    for (let id = 0; id < 20; id++) machine.send(read(id));
    expect(machine.state.memory + 2 * PART).toBeGreaterThan(64 * MIB - 2 * PART);
    expect(kinds(machine.effects).filter((kind) => kind === "read").length).toBeLessThan(16);
  });

  it("signs a push that goes out in one wave once, with its manifest", () => {
    const machine = new Machine({ totalBytes: 3 * MIB });
    expect(kinds(machine.send(read(0, "body", 2 * MIB), read(1, "body", MIB)))).toEqual([
      "read",
      "read",
    ]);
    expect(kinds(machine.send(readAll, readAll))).toEqual(["seal"]);
    const manifest: UploadEvent = { type: "sealed", parts: [{ id: 2, size: 100, held: false }] };
    expect(machine.send(manifest)).toEqual([{ type: "sign", ids: [0, 1, 2] }]);
  });

  it("signs a longer push as soon as the wire has room", () => {
    expect(new Machine().send(read(0))).toContainEqual({ type: "sign", ids: [0] });
  });

  it("signs the first wave of a far push by one call, and all of a short one", () => {
    const machine = new Machine({ pathMs: 150 });
    for (let id = 0; id < 7; id++) expect(kinds(machine.send(read(id)))).not.toContain("sign");
    const ids = [0, 1, 2, 3, 4, 5, 6, 7];
    expect(machine.send(read(7))).toContainEqual({ type: "sign", ids });
    const short = new Machine({ pathMs: 150, totalBytes: 20 * MIB });
    short.send(read(0), read(1), read(2), read(3), readAll, readAll);
    expect(short.send(sealed)).toContainEqual({ type: "sign", ids: [0, 1, 2, 3] });
  });

  it("I2: confirms what is held without sending it", () => {
    const machine = new Machine();
    machine.send(read(0, "held"), read(1, "held"));
    expect(kinds(machine.effects).filter((kind) => kind === "sign")).toEqual([]);
    expect(machine.state).toMatchObject({ heldBytes: 2 * PART, memory: 0 });
  });

  it("has copies made in batches, reads again what was refused, and sends it", () => {
    const machine = new Machine();
    const effects = machine.send(read(0, "copy"), read(1, "copy"), read(2, "copy"));
    expect(effects).toContainEqual({ type: "copy", ids: [0] });
    const next = machine.send({ type: "copied", ids: [0], refused: [] });
    expect(next.slice(0, 2)).toEqual([
      { type: "release", id: 0 },
      { type: "copy", ids: [1, 2] },
    ]);
    const refused = machine.send({ type: "copied", ids: [1], refused: [2] });
    expect(refused).toContainEqual({ type: "reread", id: 2 });
    expect(machine.state).toMatchObject({ copiedBytes: 2 * PART, memory: PART });
    expect(machine.send({ type: "reread", id: 2 })).toEqual([{ type: "sign", ids: [2] }]);
  });

  it("sends, signs and copies nothing while the tree may be one the room holds", () => {
    const machine = new Machine({ uncommitted: true });
    const effects = machine.send(read(0, "copy"), read(1, "unread"), readAll, readAll);
    expect(kinds(effects)).toEqual(["read", "read", "seal"]);
    expect(machine.state.memory).toBe(0);
    expect(kinds(machine.send({ type: "adopted" }))).toEqual(["finish"]);
  });

  it("begins to when it turns out not to be", () => {
    const machine = new Machine({ uncommitted: true });
    machine.send(read(0, "copy"), read(1, "unread"));
    const effects = machine.send({ type: "committed" });
    expect(effects).toContainEqual({ type: "copy", ids: [0] });
    expect(effects).toContainEqual({ type: "reread", id: 1 });
  });

  it("puts one body at first, and more when it is quick, up to 1/64 of the push", () => {
    const machine = new Machine({ totalBytes: 2048 * MIB });
    for (let id = 0; id < 8; id++) machine.send(read(id));
    machine.send(signed(0, 1, 2, 3, 4, 5, 6, 7));
    machine.send(signed(1, 2, 3, 4, 5, 6, 7));
    const putting = () => machine.stages().filter((stage) => stage === "putting").length;
    expect(putting()).toBe(1);
    machine.send({ type: "put", id: 0, startedMs: 0, openedMs: 0, nowMs: 50 });
    expect(flightOf(machine.state.pace).bytes).toBeLessThanOrEqual(32 * MIB);
    expect(putting()).toBeGreaterThan(2);
  });

  it("does not count bodies that were handed over: those arrive whatever becomes of us", () => {
    const machine = new Machine();
    for (let id = 0; id < 4; id++) machine.send(read(id));
    machine.send(signed(0), signed(1, 2, 3));
    expect(machine.stages().slice(0, 3)).toEqual(["putting", "signed", "signed"]);
    expect(machine.send({ type: "handed", id: 0 })).toContainEqual({ type: "put", id: 1 });
  });

  it("I9: has an expired permit signed again, but not for ever", () => {
    const machine = new Machine();
    machine.send(read(0));
    for (let time = 1; time <= 2; time++) {
      machine.send(signed(0));
      expect(machine.send(failed(0, "expired"))).toContainEqual({ type: "sign", ids: [0] });
    }
    machine.send(signed(0));
    expect(kinds(machine.send(failed(0, "expired")))).toEqual(["fail"]);
  });

  it("I9: has a permit signed again that grew old before it was used, or while it waited", () => {
    const machine = new Machine();
    machine.send(read(0), read(1), read(2), signed(0), signed(1, 2));
    expect(machine.stages()).toEqual(["putting", "signed", "signed"]);
    machine.send(failed(0, "busy", HOUR_MS - 20_000));
    const effects = machine.send({ type: "tick", nowMs: HOUR_MS - 20_000, sentBytes: 0 });
    expect(effects).toContainEqual({ type: "sign", ids: [2] });
    machine.send(put(1), { type: "waited", id: 0, nowMs: HOUR_MS - 10_000 });
    expect(machine.stages()).toEqual(["ready", "signing"]);
  });

  it("asks for a fresh permit after two failures that may have been refusals", () => {
    const machine = new Machine();
    machine.send(read(0), signed(0), failed(0, "reset"));
    expect(machine.send({ type: "waited", id: 0, nowMs: 1 })).toEqual([{ type: "put", id: 0 }]);
    machine.send(failed(0, "reset", 1));
    expect(machine.send({ type: "waited", id: 0, nowMs: 2 })).toEqual([{ type: "sign", ids: [0] }]);
  });

  it("looks at what is there when a body is refused for it", () => {
    const machine = new Machine();
    machine.send(read(0), signed(0));
    expect(machine.send(failed(0, "taken"))).toContainEqual({ type: "check", id: 0 });
    expect(machine.send({ type: "checked", id: 0, held: false })).toEqual([
      { type: "sign", ids: [0] },
    ]);
    machine.send(signed(0), failed(0, "taken"));
    const effects = machine.send({ type: "checked", id: 0, held: true });
    expect(effects).toContainEqual({ type: "release", id: 0 });
    expect(machine.state.heldBytes).toBe(PART);
  });

  it("waits after a failure that may pass, puts again, and gives up when the time is over", () => {
    const machine = new Machine();
    machine.send(read(0), signed(0));
    expect(machine.send(failed(0, "busy", 5))).toContainEqual({ type: "wait", id: 0, failures: 1 });
    expect(kinds(machine.send({ type: "waited", id: 0, nowMs: 6 }))).toEqual(["put"]);
    expect(machine.send(failed(0, "busy", 900))).toContainEqual({
      type: "wait",
      id: 0,
      failures: 2,
    });
    machine.send({ type: "waited", id: 0, nowMs: 901 }, signed(0));
    expect(machine.send(failed(0, "busy", 1006))).toEqual([{ type: "fail", error: down }]);
    expect(machine.state.retries).toBe(2);
  });

  it("lets other parts go on while one waits", () => {
    const machine = new Machine({ concurrency: 1 });
    machine.send(read(0), read(1), signed(0), signed(1));
    expect(kinds(machine.send(failed(0, "busy")))).toEqual(["wait", "put"]);
  });
});

describe("an upload under any order of events", () => {
  it("confirms every part once, stays in its memory and flight, and completes", () => {
    const origins = ["body", "held", "copy", "unread"] as const;
    const parts = array(nat(100), { maxLength: 40 });
    assert(
      property(
        parts,
        array(nat(1000), { minLength: 10, maxLength: 500 }),
        integer({ min: 0, max: 1 }),
        (list, picks, uncommitted) => {
          const machine = new Machine({
            totalBytes: 200 * MIB,
            retryForMs: Infinity,
            uncommitted: uncommitted === 1,
          });
          const waiting: UploadEffect[] = [...machine.effects];
          const confirmed = new Set<number>();
          let next = 0;
          let now = 0;
          const perform = (pick: number): readonly UploadEffect[] => {
            now += pick;
            if (pick % 7 === 0) {
              return machine.send({ type: "tick", nowMs: now, sentBytes: now * 1000 });
            }
            if (pick % 11 === 0) return machine.send({ type: "committed" });
            const [effect] = waiting.splice(pick % Math.max(1, waiting.length), 1);
            switch (effect?.type) {
              case "read": {
                const value = list[next];
                if (value === undefined) return machine.send(readAll);
                const origin = origins[value % 4] ?? "body";
                return machine.send(read(next++, origin, 1 + (value % 9) * MIB));
              }
              case "seal":
                return machine.send(
                  { type: "committed" },
                  { type: "sealed", parts: [{ id: list.length, size: 3, held: false }] },
                );
              case "sign":
                return machine.send({ type: "signed", ids: effect.ids, untilMs: now + pick * 100 });
              case "put": {
                if (pick % 5 === 0) return machine.send(failed(effect.id, "busy", now));
                if (pick % 13 === 0) return machine.send(failed(effect.id, "taken", now));
                if (pick % 3 === 0) {
                  waiting.push(effect);
                  return machine.send({ type: "handed", id: effect.id });
                }
                const startedMs = now - pick;
                return machine.send({
                  type: "put",
                  id: effect.id,
                  startedMs,
                  openedMs: 0,
                  nowMs: now,
                });
              }
              case "check":
                return machine.send({ type: "checked", id: effect.id, held: true });
              case "wait":
                return machine.send({ type: "waited", id: effect.id, nowMs: now });
              case "copy": {
                const refused = effect.ids.filter((id) => (id + pick) % 3 === 0);
                const ids = effect.ids.filter((id) => !refused.includes(id));
                return machine.send({ type: "copied", ids, refused });
              }
              case "reread":
                return machine.send({ type: "reread", id: effect.id });
              case "complete":
                return machine.send({ type: "completed" });
              default:
                return [];
            }
          };
          const check = (effects: readonly UploadEffect[]) => {
            for (const effect of effects) {
              if (effect.type !== "release") waiting.push(effect);
              else if (confirmed.has(effect.id)) throw new Error("confirmed a part twice");
              else confirmed.add(effect.id);
            }
            const { slots, pace, memory } = machine.state;
            const putting = [...slots.values()].filter(({ stage }) => stage === "putting");
            const flight = putting.reduce((total, slot) => total + slot.size, 0);
            const most = Math.max(24, pace.window) * 9 * MIB;
            expect(flight).toBeLessThanOrEqual(most);
            expect(memory).toBeLessThanOrEqual(memoryOf(pace) + 20 * MIB);
          };
          for (const pick of picks) check(perform(pick));
          for (let rest = 1; rest < 5000 && machine.state.phase === "sending"; rest++) {
            check(perform(1 + rest * 2));
          }
          for (let rest = 1; rest < 50 && machine.state.phase !== "done"; rest++) check(perform(1));
          expect(machine.state.phase).toBe("done");
          expect(confirmed.size).toBe(list.length + 1);
          expect(machine.state.memory).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });
});
