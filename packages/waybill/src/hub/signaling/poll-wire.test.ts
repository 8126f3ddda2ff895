import { CLOSE, LIMITS } from "@waybill/sdk/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PollWire } from "./poll-wire.ts";

const KEEP_ALIVE_MS = 15_000;
const never = new AbortController().signal;

function open(over: { readonly waitMs?: number } = {}) {
  const clock = { nowMs: 0 };
  const heard: string[] = [];
  let closed = 0;
  const wire = new PollWire({
    onText: (text) => heard.push(text),
    onClose: () => (closed += 1),
    keepAliveMs: KEEP_ALIVE_MS,
    waitMs: over.waitMs ?? 0,
    now: () => clock.nowMs,
  });
  return { wire, heard, clock, closed: () => closed };
}

describe("a poll", () => {
  it("takes every message once, however often requests are repeated", () => {
    const { wire, heard } = open();
    expect(wire.accept(0, ["a", "b"]).next).toBe(2);
    expect(wire.accept(0, ["a", "b"]).next).toBe(2);
    expect(wire.accept(1, ["b", "c"]).next).toBe(3);
    expect(heard).toEqual(["a", "b", "c"]);
    expect(() => wire.accept(4, ["e"])).toThrow(/3 to 3 have not come/);
  });

  it("keeps what it has answered until that is confirmed", async () => {
    const { wire } = open();
    for (const text of ["a", "b"]) wire.send(text, "hub");
    const both = { first: 0, messages: ["a", "b"] };
    expect(await wire.receive(0, never)).toEqual(both);
    expect(await wire.receive(0, never)).toEqual(both);
    wire.send("c", "hub");
    expect(await wire.receive(2, never)).toEqual({ first: 2, messages: ["c"] });
    expect(await wire.receive(3, never)).toEqual({ first: 3, messages: [] });
    await expect(wire.receive(2, never)).rejects.toMatchObject({ code: "conflict" });
    await expect(wire.receive(4, never)).rejects.toMatchObject({ code: "conflict" });
  });

  it("answers a question as soon as there is something, and its repetition in its place", async () => {
    const { wire } = open({ waitMs: 60_000 });
    const first = wire.receive(0, never);
    const again = wire.receive(0, never);
    expect(await first).toEqual({ first: 0, messages: [] });
    wire.send("a", "relayed");
    expect(await again).toEqual({ first: 0, messages: ["a"] });
    const gone = new AbortController();
    const left = wire.receive(1, gone.signal);
    gone.abort();
    expect(await left).toEqual({ first: 1, messages: [] });
  });

  it("tells why it was closed, after everything that was said before, as often as it is asked", async () => {
    const { wire, closed, heard } = open();
    wire.send("a", "hub");
    wire.close(CLOSE.restarting, "bye");
    wire.close(CLOSE.idle, "again");
    const end = { first: 0, messages: ["a"], closed: { code: CLOSE.restarting, reason: "bye" } };
    expect(await wire.receive(0, never)).toEqual(end);
    expect(await wire.receive(0, never)).toEqual(end);
    expect(wire.send("b", "hub")).toBe("busy");
    wire.accept(0, ["late"]);
    expect([closed(), heard]).toEqual([1, []]);
  });

  it("refuses relayed messages above 1 MiB, and closes when the hub's own pile up", () => {
    const { wire, closed } = open();
    const text = "x".repeat(200_000);
    const sent = Array.from({ length: 10 }, () => wire.send(text, "relayed"));
    expect(sent.filter((one) => one === "delivered")).toHaveLength(6);
    while (wire.send(text, "hub") === "delivered");
    expect(closed()).toBe(1);
  });

  it("is closed by a message that is too large, and when nothing is asked for two keep-alives", () => {
    const large = open();
    large.wire.accept(0, ["x".repeat(LIMITS.signalingFrameBytes + 1)]);
    expect(large.closed()).toBe(1);
    const idle = open({ waitMs: 60_000 });
    const gone = new AbortController();
    void idle.wire.receive(0, gone.signal);
    idle.clock.nowMs += 3 * KEEP_ALIVE_MS;
    idle.wire.checkAlive();
    expect(idle.closed()).toBe(0);
    gone.abort();
    idle.clock.nowMs += 2 * KEEP_ALIVE_MS;
    idle.wire.checkAlive();
    expect(idle.closed()).toBe(0);
    idle.clock.nowMs += 1;
    idle.wire.checkAlive();
    expect(idle.closed()).toBe(1);
  });

  it("slows a flood and drops nothing of it", () => {
    const { wire, heard } = open();
    const flood = Array.from({ length: 9000 }, (_, i) => String(i));
    expect(wire.accept(0, flood).slowMs).toBeGreaterThan(0);
    expect(heard).toEqual(flood);
  });

  it("delivers everything once and in order, whichever answers are lost", async () => {
    const step = fc.constantFrom("say", "ask", "askLost", "send", "sendLost");
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
        const { wire, heard } = open();
        const got: string[] = [];
        let [said, sent, next, confirmed] = [0, 0, 0, 0];
        for (const one of steps) {
          if (one === "say") wire.send(String(said++), "hub");
          if (one === "ask" || one === "askLost") {
            const { first, messages } = await wire.receive(next, never);
            if (one === "askLost") continue;
            got.push(...messages.slice(next - first));
            next = first + messages.length;
          }
          if (one === "send" || one === "sendLost") {
            sent += 1;
            const batch = Array.from({ length: sent - confirmed }, (_, i) => String(confirmed + i));
            const answer = wire.accept(confirmed, batch);
            if (one === "send") confirmed = answer.next;
          }
        }
        const numbers = (count: number) => Array.from({ length: count }, (_, i) => String(i));
        expect(heard).toEqual(numbers(sent));
        expect(got).toEqual(numbers(got.length));
      }),
    );
  });
});
