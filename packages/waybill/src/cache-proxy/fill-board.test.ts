import { assert, constantFrom, array, integer, property, record } from "fast-check";
import type { ArtifactId } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import {
  type FillBoard,
  type FillEvent,
  type FillState,
  LINGER_MS,
  MAX_ABANDONED,
  MAX_FILLS,
  REFUSED_MS,
  nextFills,
} from "./fill-board.ts";

const id = (digit: string) => digit.repeat(64) as ArtifactId;
const A = id("a");
const error = new Error("the store is away");

/** A board in the hands of a test. */
class Board {
  board: FillBoard = new Map();
  nowMs = 0;

  send(
    event: FillEvent extends infer E ? (E extends FillEvent ? Omit<E, "nowMs"> : never) : never,
  ) {
    const step = nextFills(this.board, { ...event, nowMs: this.nowMs });
    this.board = step.board;
    return step.effects.map((effect) => `${effect.type} ${effect.artifact.slice(0, 1)}`);
  }

  ask(digit: string) {
    return this.send({ type: "asked", artifact: id(digit) });
  }

  leave(digit: string) {
    return this.send({ type: "left", artifact: id(digit) });
  }

  wait(ms: number) {
    this.nowMs += ms;
    return this.send({ type: "tick" });
  }
}

describe("a fill, phase by event", () => {
  const phases: Record<FillState["phase"], FillState> = {
    waiting: { phase: "waiting", readers: 1 },
    filling: { phase: "filling", readers: 1, leftMs: 0 },
    stopping: { phase: "stopping", readers: 0 },
    refused: { phase: "refused", untilMs: 1000, error },
  };
  const events = {
    asked: { type: "asked", artifact: A },
    left: { type: "left", artifact: A },
    whole: { type: "whole", artifact: A },
    failed: { type: "failed", artifact: A, error },
    stopped: { type: "stopped", artifact: A },
    tick: { type: "tick" },
  } as const;
  // What is known of it then; every other place is taken, so that nothing begins.
  const table: Record<FillState["phase"] | "none", Record<keyof typeof events, string>> = {
    none: {
      asked: "waiting 1",
      left: "none",
      whole: "none",
      failed: "refused",
      stopped: "none",
      tick: "none",
    },
    waiting: {
      asked: "waiting 2",
      left: "none",
      whole: "none",
      failed: "refused",
      stopped: "none",
      tick: "waiting 1",
    },
    filling: {
      asked: "filling 2",
      left: "filling 0",
      whole: "none",
      failed: "refused",
      stopped: "none",
      tick: "filling 1",
    },
    stopping: {
      asked: "stopping 1",
      left: "stopping 0",
      whole: "none",
      failed: "refused",
      stopped: "none",
      tick: "stopping 0",
    },
    refused: {
      asked: "refused",
      left: "refused",
      whole: "none",
      failed: "refused",
      stopped: "none",
      tick: "refused",
    },
  };
  const cases = Object.entries(table).flatMap(([phase, row]) =>
    Object.entries(row).map(([event, after]) => [phase, event, after] as const),
  );

  it.each(cases)("%s, %s: %s", (phase, event, after) => {
    const others = ["1", "2", "3", "4"].map((one) => [id(one), phases.filling] as const);
    const own = phase === "none" ? [] : [[A, phases[phase as FillState["phase"]]] as const];
    const board = new Map<ArtifactId, FillState>([...others, ...own]);
    const step = nextFills(board, { ...events[event as keyof typeof events], nowMs: 10 });
    const fill = step.board.get(A);
    const text =
      fill === undefined
        ? "none"
        : fill.phase === "refused"
          ? fill.phase
          : `${fill.phase} ${fill.readers}`;
    expect(text).toBe(after);
  });
});

describe("a board of fills", () => {
  it("starts one fill however many ask", () => {
    const board = new Board();
    expect(board.ask("a")).toEqual(["start a"]);
    expect(board.ask("a")).toEqual([]);
    expect(board.send({ type: "whole", artifact: A })).toEqual([]);
    expect(board.board.size).toBe(0);
  });

  it("lets a fill whose reader has gone go on, and takes its next reader in", () => {
    const board = new Board();
    board.ask("a");
    board.leave("a");
    expect(board.wait(10 * LINGER_MS)).toEqual([]);
    expect(board.ask("a")).toEqual([]);
  });

  it(`lets ${MAX_ABANDONED} fills go on that nobody reads, and stops the one that was left first`, () => {
    const board = new Board();
    for (const one of ["a", "b", "c"]) {
      board.ask(one);
      board.wait(1);
      board.leave(one);
    }
    expect(board.wait(LINGER_MS)).toEqual(["stop a"]);
    expect(board.send({ type: "stopped", artifact: A })).toEqual([]);
    expect([...board.board.keys()]).toEqual([id("b"), id("c")]);
  });

  it(`runs ${MAX_FILLS} at once; who waits gets the place of one that nobody reads`, () => {
    const board = new Board();
    for (const one of ["a", "b", "c", "d", "e", "f"]) board.ask(one);
    expect(board.board.get(id("e"))?.phase).toBe("waiting");
    board.leave("b");
    expect(board.wait(LINGER_MS - 1)).toEqual([]);
    expect(board.wait(1)).toEqual(["stop b"]);
    expect(board.send({ type: "stopped", artifact: id("b") })).toEqual(["start e"]);
    expect(board.send({ type: "whole", artifact: A })).toEqual(["start f"]);
  });

  it("begins a fill anew for who asked while it was being stopped", () => {
    const board = new Board();
    for (const one of ["a", "b", "c", "d"]) board.ask(one);
    board.leave("a");
    board.wait(LINGER_MS);
    expect(board.ask("e")).toEqual(["stop a"]);
    board.ask("a");
    expect(board.send({ type: "stopped", artifact: A })).toEqual(["start e"]);
    expect(board.send({ type: "whole", artifact: id("b") })).toEqual(["start a"]);
  });

  it("refuses for a moment what has just failed, and then asks again", () => {
    const board = new Board();
    board.ask("a");
    board.send({ type: "failed", artifact: A, error });
    expect(board.ask("a")).toEqual(["refuse a"]);
    board.nowMs += REFUSED_MS;
    expect(board.ask("a")).toEqual(["start a"]);
  });

  it("never runs more than it may, nor leaves anybody waiting beside a free place, whatever happens", () => {
    const types = constantFrom("ask", "leave", "whole", "failed", "stopped", "wait");
    const step = record({
      type: types,
      which: constantFrom("a", "b", "c", "d", "e", "f", "g", "h"),
      ms: integer({ min: 1, max: 9000 }),
    });
    assert(
      property(array(step, { maxLength: 200 }), (steps) => {
        const board = new Board();
        for (const { type, which, ms } of steps) {
          const artifact = id(which);
          const phase = board.board.get(artifact)?.phase;
          const isRunning = phase === "filling" || phase === "stopping";
          if (type === "ask") board.ask(which);
          else if (type === "leave") board.leave(which);
          else if (type === "wait") board.wait(ms);
          else if (type === "stopped") {
            if (phase === "stopping") board.send({ type, artifact });
          } else if (isRunning) {
            board.send(type === "whole" ? { type, artifact } : { type, artifact, error });
          }
          const phases = [...board.board.values()].map((fill) => fill.phase);
          const running = phases.filter((one) => one === "filling" || one === "stopping").length;
          if (running > MAX_FILLS) throw new Error("too many run");
          if (running < MAX_FILLS && phases.includes("waiting")) throw new Error("one waits");
        }
      }),
    );
  });
});
