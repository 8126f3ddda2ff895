import * as polyfill from "node-datachannel/polyfill";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { HubClient } from "../hub-client/index.ts";
import {
  EVENT_WINDOW,
  type JobEvent,
  JobId,
  type JobState,
  RoomId,
  WaybillError,
} from "../protocol/index.ts";
import {
  type Clock,
  type EventFeed,
  type PeerLinks,
  createEventFeed,
  createPeerLinks,
  systemClock,
} from "../swarm/index.ts";
import { MemoryHub, type MemoryPort } from "../swarm/memory-signaling.ts";
import { type TestPeer, makePeers } from "../testing/test-peers.ts";
import { delay } from "../timing/index.ts";
import { watchJob } from "./watch-job.ts";
import type { WatchPath } from "./watch-path.ts";

const room = v.parse(RoomId, "lab");
const job = v.parse(JobId, "j_0123456789abcdef");
const [viewerPeer, workerPeer, pod] = (await makePeers(3)) as [TestPeer, TestPeer, TestPeer];
const workerId = workerPeer.peerId;
const { RTCPeerConnection } = polyfill;
const time = "2026-01-01T00:00:00.000Z";

/** A job's log as a hub stores it and the document beside it. */
class StoredJob {
  events: JobEvent[] = [];
  state: JobState = "queued";
  worker: TestPeer["peerId"] | undefined;
  attempt = 0;
  pageSize = 5000;
  down = false;
  reads = 0;
  /** How long an answer takes. */
  delayMs = 0;

  append(...events: JobEvent[]): void {
    this.events.push(...events);
  }

  readonly client = {
    call: async (name: string, input: { query?: { since?: string; limit?: string } }) => {
      if (this.delayMs > 0) await delay(this.delayMs);
      else await Promise.resolve();
      if (this.down) throw new WaybillError("unreachable", "hub is down");
      if (name === "showJob") {
        return { job, room, state: this.state, worker: this.worker, attempt: this.attempt };
      }
      this.reads += 1;
      const since = Number(input.query?.since ?? 0);
      const { state } = this;
      const rest = this.events.filter(({ seq }) => seq > since);
      const events = rest.slice(0, Number(input.query?.limit ?? this.pageSize));
      const more = rest.length > events.length;
      return { events, more, lastSeq: events.at(-1)?.seq ?? since, state };
    },
  };
}

/** A worker's log, growing; serves the feed. */
class WorkerLog {
  readonly events: JobEvent[] = [];
  readonly firstSeq: number;
  #listeners = new Set<() => void>();

  constructor(firstSeq: number) {
    this.firstSeq = firstSeq;
  }

  get lastSeq(): number {
    return this.firstSeq + this.events.length - 1;
  }

  async read(sinceSeq: number, limit: number): Promise<JobEvent[]> {
    const from = sinceSeq + 1 - this.firstSeq;
    return this.events.slice(from, from + limit);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  line(text: string): void {
    this.#push({ type: "log", ...this.#base(), stream: "stdout", line: text });
  }

  state(state: JobState): void {
    this.#push({ type: "state", ...this.#base(), state });
  }

  #base() {
    return { seq: this.lastSeq + 1, attempt: 1, time };
  }

  #push(event: JobEvent): void {
    this.events.push(event);
    for (const listener of this.#listeners) listener();
  }
}

let hub: MemoryHub;
let store: StoredJob;
let ports: { viewer: MemoryPort; worker: MemoryPort };
let viewer: PeerLinks;
let worker: PeerLinks;
let feed: EventFeed;
let log: WorkerLog;
const paths: WatchPath["kind"][] = [];

function setUp(webrtc: boolean): void {
  const rtc = webrtc ? { RTCPeerConnection } : {};
  viewer = createPeerLinks({ signaling: ports.viewer, keys: viewerPeer.keys, ...rtc });
  worker = createPeerLinks({ signaling: ports.worker, keys: workerPeer.keys, ...rtc });
  feed = createEventFeed({ links: worker });
}

beforeEach(() => {
  hub = new MemoryHub();
  ports = {
    viewer: hub.join(viewerPeer.peerId, "member", viewerPeer.shown),
    worker: hub.join(workerId, "worker", workerPeer.shown),
  };
  store = new StoredJob();
  store.append({ type: "state", seq: 1, attempt: 0, time, state: "queued" });
  log = new WorkerLog(3);
  paths.length = 0;
});
afterEach(async () => {
  feed.stop();
  await viewer.stop();
  await worker.stop();
});

function assign(): void {
  store.append({ type: "state", seq: 2, attempt: 1, time, state: "assigned", worker: workerId });
  Object.assign(store, { state: "assigned", worker: workerId, attempt: 1 });
  feed.add(job, log);
  hub.changed({ type: "job.changed", job, state: "assigned", worker: workerId, attempt: 1 });
}
/** The outcome as `endJob` stores it, without telling the viewers live. */
function end(state: JobState): void {
  log.state(state);
  store.events = [...store.events.filter(({ seq }) => seq < log.firstSeq), ...log.events];
  store.state = state;
}
function watch(
  sinceSeq = 0,
  signal?: AbortSignal,
  clock: Clock = systemClock,
): AsyncGenerator<JobEvent, void, void> {
  const deps = {
    hub: store.client as Pick<HubClient, "call">,
    session: ports.viewer,
    links: viewer,
    clock,
  };
  const onPath = (path: WatchPath) => {
    if (paths.at(-1) !== path.kind) paths.push(path.kind);
  };
  return watchJob(deps, { room, job, sinceSeq, signal, onPath });
}
async function take(
  events: AsyncGenerator<JobEvent, void, void>,
  count: number,
): Promise<number[]> {
  const seen: number[] = [];
  while (seen.length < count) {
    const { value, done } = await events.next();
    if (done === true) break;
    seen.push(value.seq);
  }
  return seen;
}
const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("watching a job", () => {
  it("replays a job that has ended", async () => {
    setUp(false);
    assign();
    for (let i = 0; i < 20; i++) log.line("x");
    end("completed");
    store.pageSize = 7;
    expect(await take(watch(), 1000)).toEqual(range(1, 23));
    expect(await take(watch(20), 1000)).toEqual([21, 22, 23]);
    expect(await take(watch(23), 1000)).toEqual([]);
  });

  it("follows a job from the queue over the relay to its end", async () => {
    setUp(false);
    const events = watch();
    expect(await take(events, 1)).toEqual([1]);
    assign();
    expect(await take(events, 1)).toEqual([2]);
    log.line("a");
    log.line("b");
    expect(await take(events, 2)).toEqual([3, 4]);
    log.state("completed");
    expect(await take(events, 9)).toEqual([5]);
    expect(paths).toEqual(["stored", "relay"]);
  });

  it("moves to WebRTC in the middle without a gap or a repeat", async () => {
    setUp(true);
    assign();
    const events = watch();
    const writing = setInterval(() => log.line("x"), 1);
    const seen: number[] = [];
    while (!paths.includes("webrtc")) seen.push(...(await take(events, 10)));
    seen.push(...(await take(events, 20)));
    clearInterval(writing);
    log.state("completed");
    seen.push(...(await take(events, 10_000)));
    expect(seen).toEqual(range(1, log.lastSeq));
    expect(paths.at(-1)).toBe("webrtc");
  });

  it("goes on over WebRTC while the hub is away, and reads the end when it is back", async () => {
    setUp(true);
    assign();
    const events = watch();
    const seen = await take(events, 2);
    while (!paths.includes("webrtc")) {
      log.line("x");
      seen.push(...(await take(events, 1)));
    }
    store.down = true;
    ports.viewer.cut();
    ports.worker.cut();
    log.line("while the hub is away");
    seen.push(...(await take(events, 1)));
    store.down = false;
    ports.worker.restore();
    ports.viewer.restore();
    log.state("completed");
    seen.push(...(await take(events, 10_000)));
    expect(seen).toEqual(range(1, log.lastSeq));
  });

  it("reads the stored end when the worker is gone and the hub has taken over above a gap", async () => {
    setUp(false);
    assign();
    const events = watch();
    log.line("stored");
    log.line("seen live only");
    expect(await take(events, 4)).toEqual([1, 2, 3, 4]);
    feed.stop();
    ports.worker.cut();
    store.append(...log.events.slice(0, 1));
    const failed = { reason: "worker lost", state: "failed" } as const;
    store.append({ type: "state", seq: 100_003, attempt: 1, time, ...failed });
    store.state = "failed";
    hub.changed({ type: "job.changed", job, state: "failed", worker: workerId, attempt: 1 });
    expect(await take(events, 9)).toEqual([100_003]);
    expect(paths).toEqual(["stored", "relay", "stored"]);
  });

  it("goes on with the next attempt at another worker when one was interrupted", async () => {
    setUp(false);
    assign();
    const events = watch();
    log.line("a");
    expect(await take(events, 3)).toEqual([1, 2, 3]);
    end("interrupted");
    store.append({ type: "state", seq: 103, attempt: 1, time, state: "queued" });
    Object.assign(store, { state: "queued", worker: undefined });
    expect(await take(events, 2)).toEqual([4, 103]);
    const { peerId: podId, keys, shown } = pod;
    const podLinks = createPeerLinks({ signaling: hub.join(podId, "worker", shown), keys });
    const podFeed = createEventFeed({ links: podLinks });
    const podLog = new WorkerLog(105);
    store.append({ type: "state", seq: 104, attempt: 2, time, state: "assigned", worker: podId });
    Object.assign(store, { state: "assigned", worker: podId, attempt: 2 });
    podFeed.add(job, podLog);
    hub.changed({ type: "job.changed", job, state: "assigned", worker: podId, attempt: 2 });
    podLog.line("b");
    expect(await take(events, 2)).toEqual([104, 105]);
    podLog.state("completed");
    expect(await take(events, 9)).toEqual([106]);
    podFeed.stop();
    await podLinks.stop();
  });

  it("leaves a worker that was cut off from the hub and goes on sending, for the next attempt's", async () => {
    setUp(false);
    assign();
    const events = watch();
    log.line("a");
    expect(await take(events, 3)).toEqual([1, 2, 3]);
    const { peerId: podId, keys, shown } = pod;
    const podLinks = createPeerLinks({ signaling: hub.join(podId, "worker", shown), keys });
    const podFeed = createEventFeed({ links: podLinks });
    const podLog = new WorkerLog(106);
    podFeed.add(job, podLog);
    const base = { type: "state", time } as const;
    store.append(
      { ...base, seq: 103, attempt: 1, state: "interrupted", worker: workerId },
      { ...base, seq: 104, attempt: 1, state: "queued" },
    );
    Object.assign(store, { state: "queued", worker: undefined });
    hub.changed({ type: "job.changed", job, state: "queued", attempt: 1 });
    expect(await take(events, 2)).toEqual([103, 104]);
    store.append({ ...base, seq: 105, attempt: 2, state: "assigned", worker: podId });
    Object.assign(store, { state: "running", worker: podId, attempt: 2, delayMs: 20 });
    hub.changed({ type: "job.changed", job, state: "running", worker: podId, attempt: 2 });
    const late = setInterval(() => log.line("late"), 1);
    podLog.line("b");
    const seen: number[] = [];
    while (seen.at(-1) !== 106) seen.push(...(await take(events, 1)));
    clearInterval(late);
    expect(seen).toEqual([105, 106]);
    podFeed.stop();
    await podLinks.stop();
  });

  it("ends with an interruption when the job's document does", async () => {
    setUp(false);
    assign();
    const events = watch();
    expect(await take(events, 2)).toEqual([1, 2]);
    end("interrupted");
    hub.changed({ type: "job.changed", job, state: "interrupted", worker: workerId, attempt: 1 });
    expect(await take(events, 9)).toEqual([3]);
    expect(await take(watch(3), 9)).toEqual([]);
  });

  it("gives each event once over a relay that doubles, delays and loses, by live events alone", async () => {
    let n = 0;
    hub.fate = (message) => {
      n += 1;
      // Questions get through; of their answers every seventh is lost, others come late or twice.
      const isEvents = JSON.stringify(message.data).includes('"events"');
      if (!isEvents) return { times: 1, delayMs: 0 };
      return { times: n % 7 === 0 ? 0 : (n % 2) + 1, delayMs: n % 4 };
    };
    setUp(false);
    assign();
    const events = watch();
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { seq } of events) seen.push(seq);
    })();
    for (let i = 0; i < 400; i++) {
      log.line("x");
      await new Promise((resolve) => setImmediate(resolve));
      if (i % 100 === 50) {
        ports.viewer.cut();
        ports.viewer.restore();
      }
    }
    hub.fate = () => ({ times: 1, delayMs: 0 });
    log.state("completed");
    await reading;
    expect(seen).toEqual(range(1, log.lastSeq));
  });

  it("survives the loss of the viewer's connection", async () => {
    setUp(false);
    assign();
    const events = watch();
    log.line("a");
    expect(await take(events, 3)).toEqual([1, 2, 3]);
    ports.viewer.cut();
    log.line("b");
    log.line("c");
    ports.viewer.restore();
    expect(await take(events, 2)).toEqual([4, 5]);
  });

  it("lets a slow viewer hold back nobody, and the worker send no more than the window", async () => {
    setUp(false);
    assign();
    const slow = watch();
    const fast = watch();
    expect(await take(slow, 2)).toEqual([1, 2]);
    expect(await take(fast, 2)).toEqual([1, 2]);
    log.line("first");
    expect(await take(slow, 1)).toEqual([3]);
    expect(await take(fast, 1)).toEqual([3]);
    const sent = new Map<string, number>();
    viewer.onMessage(({ message }) => {
      if (message.type === "events") {
        sent.set(message.id, (sent.get(message.id) ?? 0) + message.events.length);
      }
    });
    for (let i = 0; i < 3000; i++) log.line("x");
    expect(await take(fast, 3000)).toEqual(range(4, 3003));
    expect(Math.min(...sent.values())).toBeLessThanOrEqual(EVENT_WINDOW);
    expect(await take(slow, 3000)).toEqual(range(4, 3003));
  });

  it("reports what the hub refuses for good", async () => {
    setUp(false);
    store.client.call = () => Promise.reject(new WaybillError("not_found", "no such job"));
    await expect(watch().next()).rejects.toMatchObject({ code: "not_found" });
  });

  it("waits for a hub that is down at the start", async () => {
    setUp(false);
    store.down = true;
    const first = watch().next();
    store.down = false;
    expect((await first).value).toMatchObject({ seq: 1 });
  });

  it("ends with AbortError when cancelled, also while waiting", async () => {
    setUp(false);
    const stop = new AbortController();
    const events = watch(1, stop.signal);
    const waiting = events.next().catch((error: unknown) => error);
    stop.abort();
    expect(await waiting).toMatchObject({ name: "AbortError" });
    await expect(watch(0, stop.signal).next()).rejects.toMatchObject({ name: "AbortError" });
  });

  it("refuses to step over a hole of the stored log", async () => {
    setUp(false);
    store.append({ type: "log", seq: 9, attempt: 0, time, stream: "waybill", line: "?" });
    // Its patience in a twentieth of the time.
    const after: Clock["after"] = (ms, run) => systemClock.after(ms / 20, run);
    const events = watch(0, undefined, { ...systemClock, after });
    expect(await take(events, 1)).toEqual([1]);
    await expect(events.next()).rejects.toMatchObject({ code: "internal" });
  });

  it("shows the newest to a viewer that asks for it while the path is choked, and names what it left out", async () => {
    setUp(false);
    assign();
    const deps = {
      hub: store.client as Pick<HubClient, "call">,
      session: ports.viewer,
      links: viewer,
    };
    const items = watchJob(deps, { room, job, sinceSeq: 0, latest: true });
    for (const seq of [1, 2]) expect((await items.next()).value).toMatchObject({ seq });
    log.line("first");
    expect((await items.next()).value).toMatchObject({ seq: 3 });
    hub.bufferedBytes = 1024 * 1024;
    for (let i = 0; i < 5000; i++) log.line("x");
    await new Promise((resolve) => setImmediate(resolve));
    hub.bufferedBytes = 0;
    expect((await items.next()).value).toEqual({ type: "skipped", from: 4, to: 4939, logs: 4936 });
    for (let seq = 4940; seq <= 5003; seq++) {
      expect((await items.next()).value).toMatchObject({ seq });
    }
    log.state("completed");
    expect((await items.next()).value).toMatchObject({ seq: 5004, state: "completed" });
    expect((await items.next()).done).toBe(true);
  });
});
