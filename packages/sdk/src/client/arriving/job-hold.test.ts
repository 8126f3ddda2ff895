// What a job's messages and its readers mean for the upload that is held back for it (docs/protocol/arriving.md §8).
import { describe, expect, it } from "vitest";
import {
  type HubToPeer,
  JobId,
  type JobState,
  PeerId,
  RoomId,
  WaybillError,
  decodeValue,
} from "../../protocol/index.ts";
import type { Clock } from "../../swarm/index.ts";
import type { HubCalls } from "../push.ts";
import { JobHold, type JobHoldInit } from "./job-hold.ts";

const room = decodeValue(RoomId, "lab", "room");
const job = decodeValue(JobId, `j_${"0".repeat(16)}`, "job");
const other = decodeValue(JobId, `j_${"1".repeat(16)}`, "job");
const desk = decodeValue(PeerId, `p_${"d".repeat(16)}_1`, "peer");
const pod = decodeValue(PeerId, `p_${"e".repeat(16)}_1`, "peer");

type Changed = Extract<HubToPeer, { type: "job.changed" }>;

/** A clock that stands still until it is told to go on. */
class StillClock implements Clock {
  /** By how much timers fire before their time. */
  earlyMs = 0;
  #nowMs = 0;
  readonly #timers = new Set<{ readonly atMs: number; readonly run: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#timers].filter(
      ({ atMs }) => atMs - this.earlyMs <= this.#nowMs,
    )) {
      this.#timers.delete(timer);
      timer.run();
    }
  }
}

function setup(more: Partial<JobHoldInit> = {}) {
  const clock = new StillClock();
  const listeners: { changed?: (message: Changed) => void; welcome?: () => void } = {};
  const decisions: string[] = [];
  let doc: { state: JobState; attempt: number; worker?: PeerId } = { state: "queued", attempt: 0 };
  let isHubAway = false;
  const workers = [
    { workerId: desk, capabilities: { kind: "desktop" } },
    { workerId: pod, capabilities: { kind: "ephemeral" } },
  ];
  const call = async (name: string) => {
    if (isHubAway) throw new WaybillError("unreachable", "the hub is away");
    return name === "listWorkers" ? { workers } : doc;
  };
  const hold = new JobHold({
    hub: { call: call as unknown as HubCalls["call"] },
    session: {
      on: (event: "job.changed" | "welcome", listener: never) => {
        listeners[event === "welcome" ? "welcome" : "changed"] = listener;
        return () => delete listeners[event === "welcome" ? "welcome" : "changed"];
      },
    },
    room,
    job,
    via: "auto",
    clock,
    onDecision: (why) => decisions.push(why),
    ...more,
  });
  let end: { readonly upload: boolean } | undefined;
  void hold.end.then((value) => (end = value));
  const settle = async () => {
    for (let round = 0; round < 10; round++) await Promise.resolve();
    return end;
  };
  const changed = async (state: JobState, attempt: number, worker?: PeerId, of = job) => {
    const by = worker === undefined ? {} : { worker };
    listeners.changed?.({ type: "job.changed", job: of, state, attempt, ...by });
    return settle();
  };
  const setDoc = (next: typeof doc) => (doc = next);
  const setAway = (away: boolean) => (isHubAway = away);
  return { hold, clock, decisions, changed, settle, listeners, setDoc, setAway };
}

describe("a job's upload that is held back", () => {
  it("is decided by size and by workers present, and says why", async () => {
    const { hold, decisions, setAway, changed, listeners } = setup();
    expect(await hold.decide({ bytes: 20e6, serves: true })).toBe(true);
    setAway(true);
    expect(await hold.decide({ bytes: 20e6, serves: true })).toBe(false);
    expect(await hold.decide({ bytes: 200e6, serves: true })).toBe(false);
    // It is not its business any more.
    await changed("running", 1, desk);
    expect(listeners).toEqual({});
    expect(decisions).toEqual([
      expect.stringMatching(/^straight to the worker/),
      expect.stringMatching(/^to the store: no worker is present/),
      expect.stringMatching(/^to the store: 200000000 bytes are more than/),
    ]);
  });

  it("is not begun when none of the workers present could take the job", async () => {
    expect(await setup({ fitting: 0 }).hold.decide({ bytes: 20e6, serves: true })).toBe(false);
    expect(await setup({ fitting: 1 }).hold.decide({ bytes: 20e6, serves: true })).toBe(true);
  });

  it("is not needed when the job ends after its worker had everything", async () => {
    const { hold, clock, changed, decisions } = setup();
    hold.submitted();
    await changed("queued", 0);
    await changed("assigned", 1, desk);
    clock.pass(9000);
    hold.served();
    clock.pass(9000);
    hold.served();
    hold.delivered();
    clock.pass(60_000);
    await changed("running", 1, desk);
    expect(await changed("completed", 1, desk)).toEqual({ upload: false });
    expect(decisions).toEqual(["a reader has begun", "all of it is there; nothing is stored"]);
  });

  it("takes a running job for one that has its data, however it got it", async () => {
    const { clock, changed, settle } = setup();
    await changed("assigned", 1, desk);
    await changed("running", 1, desk);
    clock.pass(60_000);
    expect(await settle()).toBeUndefined();
  });

  it.each([
    ["no worker takes the job", "queued", 0, 30_000, /no worker has taken/],
    ["its worker asks for nothing", "assigned", 1, 10_000, /has asked for nothing/],
  ] as const)("is sent when %s", async (_, state, attempt, ms, why) => {
    const { clock, changed, settle, decisions } = setup();
    await changed(state, attempt, state === "queued" ? undefined : desk);
    clock.pass(ms - 1);
    expect(await settle()).toBeUndefined();
    clock.pass(1);
    expect(await settle()).toEqual({ upload: true });
    expect(decisions.at(-1)).toMatch(why);
  });

  it("is sent when a reader stops half-way", async () => {
    const { hold, clock, changed, settle, decisions } = setup();
    await changed("assigned", 1, desk);
    hold.served();
    clock.pass(10_000);
    expect(await settle()).toEqual({ upload: true });
    expect(decisions.at(-1)).toMatch(/no byte has left for 10 s/);
  });

  it("is sent, too, when its timer fires a little early, as timers do", async () => {
    const { hold, clock, changed, settle } = setup();
    await changed("assigned", 1, desk);
    hold.served();
    clock.earlyMs = 0.4;
    clock.pass(9999.6);
    expect(await settle()).toBeUndefined();
    clock.pass(1);
    expect(await settle()).toEqual({ upload: true });
  });

  it("waits for a worker for ever when it may go to peers only", async () => {
    const { clock, changed, settle } = setup({ via: "peer" });
    await changed("queued", 0);
    clock.pass(1e9);
    expect(await settle()).toBeUndefined();
  });

  it("is sent after the delivery to an ephemeral worker, and before this process leaves", async () => {
    const first = setup();
    await first.changed("assigned", 1, pod);
    first.hold.delivered();
    expect(await first.settle()).toEqual({ upload: true });
    const second = setup({ leaves: true });
    await second.changed("assigned", 1, desk);
    second.hold.delivered();
    expect(await second.settle()).toEqual({ upload: true });
  });

  it("learns from the hub what it missed while it was away, and hears of no other job", async () => {
    const { hold, changed, settle, setDoc, listeners } = setup();
    hold.submitted();
    await changed("completed", 1, desk, other);
    expect(await settle()).toBeUndefined();
    setDoc({ state: "cancelled", attempt: 1, worker: desk });
    listeners.welcome?.();
    expect(await settle()).toEqual({ upload: false });
  });

  it("hears nothing more once it is stopped", async () => {
    const { hold, clock, changed, settle, listeners } = setup();
    await changed("assigned", 1, desk);
    hold.stop();
    clock.pass(60_000);
    expect(await settle()).toBeUndefined();
    expect(listeners).toEqual({});
  });
});
