import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WaybillError } from "@waybill/sdk/protocol";
import { FakeHub, ROOM, assign } from "../fakes.fixture.ts";
import { EventLog } from "./event-log.ts";
import { type FlusherInit, SegmentFlusher } from "./segment-flusher.ts";

const WAIT = { timeout: 10_000, interval: 2 };
const { job } = assign({ command: ["x"] });
let dir: string;
let hub: FakeHub;
let log: EventLog;
let flusher: SegmentFlusher;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-flusher-"));
  hub = new FakeHub();
  log = await EventLog.open({
    path: join(dir, "events.jsonl"),
    attempt: 1,
    firstSeq: 1,
    seqReserved: 1_000_000,
    now: Date.now,
    log: () => undefined,
  });
});

afterEach(async () => {
  hub.down = false;
  await flusher.stop();
  await log.close();
  await rm(dir, { recursive: true, force: true });
});

function start(extra: Partial<FlusherInit> = {}): void {
  flusher = new SegmentFlusher({
    hub,
    room: ROOM,
    job,
    attempt: 1,
    log,
    storedSeq: 0,
    flushMs: 30,
    onStored: () => undefined,
    onFailed: () => undefined,
    ...extra,
  });
  flusher.start();
}

const line = (text: string) => ({ type: "log", stream: "stdout", line: text }) as const;
const appends = () => hub.calls.filter((name) => name === "appendEvents").length;

describe("storing a job's events", () => {
  it("gathers events for a little while and stores them together", async () => {
    start();
    for (let i = 0; i < 100; i++) log.append(line(String(i)));
    await vi.waitFor(() => expect(hub.events(job)).toHaveLength(100), WAIT);
    expect(appends()).toBe(1);
  });

  it("stores at once what is large", async () => {
    start({ flushMs: 600_000 });
    log.appendAll(Array.from({ length: 300 }, () => line("z".repeat(1000))));
    await vi.waitFor(() => expect(hub.events(job)).toHaveLength(300), WAIT);
  });

  it("catches up in bounded requests after the hub was away", async () => {
    start();
    hub.down = true;
    for (let i = 0; i < 30; i++) {
      log.appendAll(Array.from({ length: 100 }, () => line("z".repeat(1000))));
      await log.written();
    }
    hub.down = false;
    await vi.waitFor(() => expect(hub.events(job)).toHaveLength(3000), WAIT);
    expect(appends()).toBeGreaterThanOrEqual(4);
    expect(appends()).toBeLessThan(12);
  });

  it("hands the last events over for the job's end instead of storing them", async () => {
    start({ flushMs: 600_000 });
    log.append(line("a"));
    log.seal({ type: "state", state: "completed" });
    const tail = await flusher.finish(AbortSignal.timeout(5000));
    expect(tail.map(({ type }) => type)).toEqual(["log", "state"]);
    expect(appends()).toBe(0);
  });

  it("goes on where the hub is when it holds more than was noted before a crash", async () => {
    log.appendAll([line("a"), line("b")]);
    await log.written();
    const events = await log.read(0, 9);
    await hub.call("appendEvents", {
      params: { room: ROOM, job },
      body: { attempt: 1, events: events.map((event) => Object.assign({}, event)) },
    });
    const original = hub.call.bind(hub);
    let first = true;
    hub.call = async (name, input, options) => {
      if (name === "appendEvents" && first) {
        first = false;
        throw new WaybillError("conflict", "stored differently");
      }
      return original(name, input, options);
    };
    start();
    log.append(line("c"));
    await vi.waitFor(() => expect(hub.events(job)).toHaveLength(3), WAIT);
  });

  it("tells the hub nothing that a loss of power could take back", async () => {
    const sync = log.sync.bind(log);
    const steps: string[] = [];
    log.sync = async () => {
      await sync();
      steps.push("sync");
    };
    const original = hub.call.bind(hub);
    hub.call = async (name, input, options) => {
      steps.push(name);
      return original(name, input, options);
    };
    start();
    log.append(line("a"));
    await vi.waitFor(() => expect(steps).toEqual(["sync", "appendEvents"]), WAIT);
    log.seal({ type: "state", state: "failed" });
    expect(await flusher.finish(new AbortController().signal)).toHaveLength(1);
    expect(steps).toEqual(["sync", "appendEvents", "sync"]);
  });

  it("reports that the attempt is no longer the job's", async () => {
    hub.stale = job;
    const onFailed = vi.fn<(error: unknown) => void>();
    start({ onFailed });
    log.append(line("a"));
    await vi.waitFor(() => expect(onFailed).toHaveBeenCalledOnce(), WAIT);
    expect(onFailed.mock.calls[0]?.[0]).toMatchObject({ code: "stale_attempt" });
  });
});
