import { array, assert, integer, nat, property } from "fast-check";
import { describe, expect, it } from "vitest";
import { type UploadStatus, WaybillError } from "../protocol/index.ts";
import type { PlannedPart } from "./upload-plan.ts";
import {
  type UploadEffect,
  type UploadEvent,
  type UploadState,
  beginUpload,
  nextUpload,
} from "./upload-state.ts";

const MIB = 1024 * 1024;

function partsOf(sizes: readonly number[]): PlannedPart[] {
  return sizes.map((size, at) => ({ key: "data.bin", part: at + 1, size, offset: 0 }));
}

const manifestPart: PlannedPart = { key: "artifact.json", part: 0, size: 100, offset: 0 };

function status(
  parts: readonly { part: number; size: number; crc32: string }[] = [],
): UploadStatus {
  return {
    upload: "u_000000000000000000000000",
    state: "open",
    name: "t",
    bytes: 0,
    partBytes: 5 * MIB,
    createdAt: "2026-01-01T00:00:00.000Z",
    objects: [{ key: "data.bin", size: 0, done: false, parts: [...parts] }],
  } as unknown as UploadStatus;
}

const LIMITS_4 = { flightBytes: 4, flightCount: 3, memoryBytes: 8, memoryCount: 100 };

class Machine {
  readonly effects: UploadEffect[] = [];
  state: UploadState;

  constructor(sizes: readonly number[], limits = LIMITS_4, retryForMs = 1000) {
    const step = beginUpload(partsOf(sizes), { limits, retryForMs });
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

  /** Reads everything, seals, signs everything. */
  ready(): this {
    this.send({ type: "began", status: status() });
    for (const [index] of this.state.parts.entries()) this.send(read(index));
    this.send({ type: "sealed", parts: [] });
    return this;
  }
}

const read = (index: number): UploadEvent => ({ type: "read", index, crc32: `c${index}` });
const kinds = (effects: readonly UploadEffect[]) => effects.map((effect) => effect.type);
const down = new WaybillError("unreachable", "store is down");
const failed = (
  index: number,
  failure: "expired" | "passing" | "final",
  nowMs = 0,
): UploadEvent => ({
  type: "put-failed",
  index,
  failure,
  error: down,
  nowMs,
});

describe("an upload, event by phase", () => {
  const opening = () => new Machine([1]);
  const sending = () => {
    const machine = new Machine([1]).ready();
    machine.send({ type: "signed", indexes: [0] });
    return machine;
  };
  const completing = () => {
    const machine = sending();
    machine.send({ type: "put", index: 0 });
    return machine;
  };
  const phases = { opening, sending, completing };
  const events: Record<UploadEvent["type"], UploadEvent> = {
    began: { type: "began", status: status() },
    read: read(0),
    sealed: { type: "sealed", parts: [manifestPart] },
    signed: { type: "signed", indexes: [0] },
    put: { type: "put", index: 0 },
    "put-failed": failed(0, "passing"),
    waited: { type: "waited", index: 0 },
    completed: { type: "completed" },
    failed: { type: "failed", error: down },
  };
  /** Phase after the event, and its effects. */
  const table: Record<keyof typeof phases, Record<UploadEvent["type"], [string, string[]]>> = {
    opening: {
      began: ["sending", []],
      read: ["opening", ["seal"]],
      sealed: ["opening", []],
      signed: ["opening", []],
      put: ["opening", []],
      "put-failed": ["opening", []],
      waited: ["opening", []],
      completed: ["opening", []],
      failed: ["failed", ["fail"]],
    },
    sending: {
      began: ["sending", []],
      read: ["sending", []],
      sealed: ["sending", []],
      signed: ["sending", []],
      put: ["completing", ["release", "complete"]],
      "put-failed": ["sending", ["wait"]],
      waited: ["sending", []],
      completed: ["sending", []],
      failed: ["failed", ["fail"]],
    },
    completing: {
      began: ["completing", []],
      read: ["completing", []],
      sealed: ["completing", []],
      signed: ["completing", []],
      put: ["completing", []],
      "put-failed": ["completing", []],
      waited: ["completing", []],
      completed: ["done", ["finish"]],
      failed: ["failed", ["fail"]],
    },
  };
  const rows = Object.entries(table).flatMap(([phase, row]) =>
    Object.entries(row).map(([event, [after, effects]]) => ({ phase, event, after, effects })),
  );

  it.each(rows)("$phase: $event → $after", ({ phase, event, after, effects }) => {
    const machine = phases[phase as keyof typeof phases]();
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
  it("reads ahead two parts at a time and never more than its memory allows", () => {
    const machine = new Machine([4, 4, 4]);
    expect(kinds(machine.effects)).toEqual(["read", "read"]);
    expect(kinds(machine.send(read(0), read(1)))).toEqual([]);
    expect(machine.state.memory).toBe(8);
  });

  it("signs a push that goes out in one wave once, with its manifest", () => {
    const machine = new Machine([2, 1]);
    machine.send({ type: "began", status: status() });
    expect(kinds(machine.send(read(0), read(1)))).toEqual(["seal"]);
    expect(kinds(machine.send({ type: "sealed", parts: [{ ...manifestPart, size: 1 }] }))).toEqual([
      "read",
    ]);
    expect(machine.send(read(2))).toEqual([{ type: "sign", indexes: [0, 1, 2] }]);
  });

  it("signs a longer push as soon as the wire has room", () => {
    const machine = new Machine([4, 4, 4, 4]);
    machine.send({ type: "began", status: status() });
    expect(machine.send(read(0))).toContainEqual({ type: "sign", indexes: [0] });
  });

  it("I2: does not send what the sink holds with the same checksum and size", () => {
    const machine = new Machine([2, 2]);
    const held = [
      { part: 1, size: 2, crc32: "c0" },
      { part: 2, size: 2, crc32: "other" },
    ];
    machine.send({ type: "began", status: status(held) });
    expect(machine.send(read(0))).toContainEqual({ type: "release", index: 0 });
    machine.send(read(1), { type: "sealed", parts: [] });
    expect(machine.effects).toContainEqual({ type: "sign", indexes: [1] });
    expect(machine.state.savedBytes).toBe(2);
  });

  it("only hashes when the sink completed this upload before", () => {
    const machine = new Machine([2, 2]);
    machine.send({ type: "began", status: { ...status(), state: "completed" } });
    const effects = machine.send(
      read(0),
      read(1),
      { type: "sealed", parts: [manifestPart] },
      read(2),
    );
    expect(kinds(effects)).toEqual(["release", "release", "seal", "read", "release", "complete"]);
  });

  it("takes an object that is joined already for held, and leaves the proof to the completion", () => {
    const machine = new Machine([2, 2]);
    const joined = { key: "data.bin", size: 4, done: true, parts: [] };
    machine.send({
      type: "began",
      status: { ...status(), objects: [joined] } as unknown as UploadStatus,
    });
    machine.send(read(0), read(1), { type: "sealed", parts: [] });
    expect(machine.state.phase).toBe("completing");
  });

  it("puts as many bodies at once as its limits say, and one whatever its size", () => {
    const machine = new Machine([2, 2, 2], { ...LIMITS_4, memoryBytes: 100 }).ready();
    const effects = machine.send(
      { type: "signed", indexes: [0] },
      { type: "signed", indexes: [1, 2] },
    );
    expect(kinds(effects)).toEqual(["sign", "put", "put"]);
    const big = new Machine([50], { ...LIMITS_4, memoryBytes: 10 }).ready();
    expect(kinds(big.send({ type: "signed", indexes: [0] }))).toEqual(["put"]);
  });

  it("I9: has an expired permit signed again, but not for ever", () => {
    const machine = new Machine([1]).ready();
    for (let time = 1; time <= 2; time++) {
      machine.send({ type: "signed", indexes: [0] });
      expect(machine.send(failed(0, "expired"))).toEqual([{ type: "sign", indexes: [0] }]);
    }
    machine.send({ type: "signed", indexes: [0] });
    expect(kinds(machine.send(failed(0, "expired")))).toEqual(["fail"]);
  });

  it("waits after a failure that may pass, puts again, and gives up when the time is over", () => {
    const machine = new Machine([1], LIMITS_4, 1000).ready();
    machine.send({ type: "signed", indexes: [0] });
    expect(machine.send(failed(0, "passing", 5))).toEqual([
      { type: "wait", index: 0, failures: 1 },
    ]);
    expect(kinds(machine.send({ type: "waited", index: 0 }))).toEqual(["put"]);
    expect(machine.send(failed(0, "passing", 900))).toEqual([
      { type: "wait", index: 0, failures: 2 },
    ]);
    machine.send({ type: "waited", index: 0 });
    expect(machine.send(failed(0, "passing", 1006))).toEqual([{ type: "fail", error: down }]);
  });

  it("other parts go on while one waits", () => {
    const machine = new Machine([3, 3]).ready();
    machine.send({ type: "signed", indexes: [0] }, { type: "signed", indexes: [1] });
    expect(kinds(machine.send(failed(0, "passing")))).toEqual(["wait", "put"]);
  });
});

describe("an upload under any order of events", () => {
  it("confirms every part once, stays in its memory and flight, and completes", () => {
    const sizes = array(integer({ min: 0, max: 6 }), { maxLength: 25 });
    assert(
      property(
        sizes,
        array(nat(1000), { minLength: 10, maxLength: 400 }),
        nat(25),
        (list, picks, heldCount) => {
          const machine = new Machine(
            list,
            { flightBytes: 6, flightCount: 3, memoryBytes: 12, memoryCount: 5 },
            Infinity,
          );
          const held = list
            .slice(0, heldCount)
            .map((size, at) => ({ part: at + 1, size, crc32: `c${at}` }));
          const waiting: UploadEffect[] = [...machine.effects];
          let began = false;
          const confirmed = new Set<number>();
          const step = (pick: number) => {
            const at = pick % (waiting.length + (began ? 0 : 1));
            if (at === waiting.length) {
              began = true;
              return machine.send({ type: "began", status: status(held) });
            }
            const [effect] = waiting.splice(at, 1);
            switch (effect?.type) {
              case "read":
                return machine.send(read(effect.index));
              case "seal":
                return machine.send({ type: "sealed", parts: [{ ...manifestPart, size: 3 }] });
              case "sign":
                return machine.send({ type: "signed", indexes: effect.indexes });
              case "put":
                if (pick % 5 === 0) return machine.send(failed(effect.index, "passing", 0));
                return machine.send({ type: "put", index: effect.index });
              case "wait":
                return machine.send({ type: "waited", index: effect.index });
              case "complete":
                return machine.send({ type: "completed" });
              default:
                return [];
            }
          };
          const check = (effects: readonly UploadEffect[]) => {
            for (const effect of effects) {
              if (effect.type !== "release") waiting.push(effect);
              else if (confirmed.has(effect.index)) throw new Error("confirmed a part twice");
              else confirmed.add(effect.index);
            }
            const putting = [...machine.state.slots.values()].filter(
              (slot) => slot.stage === "putting",
            );
            const flight = putting.reduce((sum, slot) => sum + slot.size, 0);
            expect(putting.length).toBeLessThanOrEqual(3);
            expect(flight).toBeLessThanOrEqual(6);
            expect(machine.state.memory).toBeLessThanOrEqual(12);
          };
          for (const pick of picks) if (waiting.length > 0 || !began) check(step(pick));
          for (let rest = 0; rest < 2000 && machine.state.phase !== "done"; rest++)
            check(step(1 + rest * 5));
          expect(machine.state.phase).toBe("done");
          expect(confirmed.size).toBe(list.length + 1);
          expect(machine.state.memory).toBe(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});
