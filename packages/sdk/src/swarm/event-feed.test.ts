import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EVENT_WINDOW, type JobCommand, type JobEvent, JobId } from "../protocol/index.ts";
import { type TestPeer, makePeers } from "../testing/test-peers.ts";
import { type CommandHandler, type EventFeed, createEventFeed } from "./event-feed.ts";
import type { EventLogReader } from "./event-log.ts";
import { MemoryHub, type MemoryPort } from "./memory-signaling.ts";
import type { LinkMessage, LinkPeer } from "./peer-link.ts";
import { type ControlLink, type PeerLinks, createPeerLinks } from "./peer-links.ts";

const job = v.parse(JobId, "j_0123456789abcdef");
const other = v.parse(JobId, "j_fedcba9876543210");
const [memberPeer, viewerPeer, workerPeer] = (await makePeers(3)) as [TestPeer, TestPeer, TestPeer];
const workerId = workerPeer.peerId;
const peers = { member: memberPeer, viewer: viewerPeer };
const time = "2026-01-01T00:00:00.000Z";

class Log implements EventLogReader {
  readonly firstSeq = 11;
  readonly events: JobEvent[] = [];
  readonly #listeners = new Set<() => void>();

  get lastSeq(): number {
    return this.firstSeq - 1 + this.events.length;
  }

  async read(sinceSeq: number, limit: number): Promise<JobEvent[]> {
    const from = sinceSeq + 1 - this.firstSeq;
    return this.events.slice(from, from + limit);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  append(count: number, text = "x"): void {
    for (let i = 0; i < count; i++) {
      const base = { seq: this.lastSeq + 1, attempt: 1, time };
      this.events.push({ type: "log", ...base, stream: "stdout", line: text });
    }
    for (const listener of this.#listeners) listener();
  }

  get listeners(): number {
    return this.#listeners.size;
  }
}

let hub: MemoryHub;
let worker: PeerLinks;
let workerPort: MemoryPort;
let feed: EventFeed;
let log: Log;
const all: PeerLinks[] = [];

/** A viewer at the relay, with everything it was sent. */
function viewer(role: "member" | "viewer"): {
  link: ControlLink;
  heard: LinkMessage[];
  port: MemoryPort;
} {
  const { peerId, keys, shown } = peers[role];
  const port = hub.join(peerId, role, shown);
  const links = createPeerLinks({ signaling: port, keys });
  all.push(links);
  const link = links.linkTo(workerId);
  const heard: LinkMessage[] = [];
  link.onMessage((message) => heard.push(message));
  return { link, heard, port };
}
const seqs = (heard: readonly LinkMessage[], id = "s1") =>
  heard.flatMap((message) =>
    message.type === "events" && message.id === id ? message.events.map(({ seq }) => seq) : [],
  );
const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);
/** Lets everything that is under way arrive. */
const settle = (until: () => boolean) =>
  vi.waitFor(() => expect(until()).toBe(true), { timeout: 10_000, interval: 2 });

beforeEach(() => {
  hub = new MemoryHub();
  workerPort = hub.join(workerId, "worker", workerPeer.shown);
  worker = createPeerLinks({ signaling: workerPort, keys: workerPeer.keys });
  feed = createEventFeed({ links: worker });
  log = new Log();
  feed.add(job, log);
});
afterEach(async () => {
  feed.stop();
  await worker.stop();
  for (const links of all.splice(0)) await links.stop();
});

describe("the feed of a worker's events", () => {
  it("answers at once, sends what is there and then what comes", async () => {
    const { link, heard } = viewer("viewer");
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    await settle(() => heard.length === 1);
    expect(heard).toEqual([{ type: "events", id: "s1", job, events: [] }]);
    log.append(3);
    log.append(1);
    await settle(() => seqs(heard).length === 4);
    expect(seqs(heard)).toEqual([11, 12, 13, 14]);
  });

  it("refuses jobs it does not hold and events that are stored elsewhere", async () => {
    const { link, heard } = viewer("viewer");
    link.send({ type: "subscribe", id: "s1", job: other, sinceSeq: 0 });
    link.send({ type: "subscribe", id: "s2", job, sinceSeq: 5 });
    await settle(() => heard.length === 2);
    expect(heard.map(({ type }) => type)).toEqual(["refused", "refused"]);
    expect(heard[1]).toMatchObject({ id: "s2", reason: expect.stringContaining("before 11") });
  });

  it("begins anew when the same subscription is asked for again", async () => {
    const { link, heard } = viewer("viewer");
    log.append(5);
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    await settle(() => seqs(heard).length === 5);
    heard.length = 0;
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 13 });
    await settle(() => seqs(heard).length === 2);
    expect(seqs(heard)).toEqual([14, 15]);
    expect(log.listeners).toBe(1);
  });

  it("sends no more than a window ahead of what was taken (I3)", async () => {
    const { link, heard } = viewer("viewer");
    log.append(3000);
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    await settle(() => seqs(heard).length === EVENT_WINDOW);
    link.send({ type: "taken", id: "s1", seq: 110 });
    await settle(() => seqs(heard).length === EVENT_WINDOW + 100);
    expect(seqs(heard)).toEqual(range(11, 10 + EVENT_WINDOW + 100));
  });

  it("carries events of the largest size", async () => {
    const { link, heard } = viewer("viewer");
    log.append(200, "y".repeat(31_000));
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    await settle(() => seqs(heard).length === 200);
    expect(seqs(heard)).toEqual(range(11, 210));
  });

  it("waits while the path is choked and goes on when it is not", async () => {
    const { link, heard } = viewer("viewer");
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    await settle(() => heard.length === 1);
    hub.bufferedBytes = 1024 * 1024;
    log.append(100);
    await new Promise((resolve) => setImmediate(resolve));
    expect(seqs(heard)).toEqual([]);
    hub.bufferedBytes = 0;
    await settle(() => seqs(heard).length === 100);
  });

  it("sends again what was not taken after the hub has lost something", async () => {
    const { link, heard, port } = viewer("viewer");
    log.append(10);
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    await settle(() => seqs(heard).length === 10);
    hub.passed.length = 0;
    link.send({ type: "taken", id: "s1", seq: 14 });
    await settle(() => hub.passed.length > 0);
    heard.length = 0;
    // The hub answers in place of a receiver that reads too slowly.
    const told = { code: "rate_limited", message: "slow", to: port.welcome?.peerId ?? workerId };
    hub.tell(workerId, { type: "error", ...told });
    // Told again by a timer.
    await vi.waitFor(() => expect(seqs(heard).length).toBeGreaterThanOrEqual(6), 10_000);
    expect(seqs(heard)).toEqual(range(15, 20));
  });

  it("gives what is left and then refuses when the job is over", async () => {
    const { link, heard } = viewer("viewer");
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    log.append(2);
    feed.remove(job);
    link.send({ type: "subscribe", id: "s2", job, sinceSeq: 10 });
    await settle(() => heard.some(({ type }) => type === "refused"));
    log.append(2);
    feed.add(job, log);
    link.send({ type: "subscribe", id: "s3", job, sinceSeq: 10 });
    await settle(() => seqs(heard, "s3").length === 4);
    feed.remove(job);
    await settle(() => heard.some((m) => m.type === "refused" && m.id === "s3"));
    expect(log.listeners).toBe(0);
  });

  it("ends subscriptions of a viewer that unsubscribes or leaves", async () => {
    const { link, heard, port } = viewer("viewer");
    link.send({ type: "subscribe", id: "s1", job, sinceSeq: 10 });
    link.send({ type: "subscribe", id: "s2", job, sinceSeq: 10 });
    await settle(() => heard.length === 2);
    expect(log.listeners).toBe(2);
    link.send({ type: "unsubscribe", id: "s1" });
    await settle(() => log.listeners === 1);
    port.cut();
    await settle(() => log.listeners === 0);
  });
});

describe("commands over a link", () => {
  const command: JobCommand = { id: "c1", job, name: "pause" };
  const acks = (heard: readonly LinkMessage[]) =>
    heard.flatMap((message) => (message.type === "ack" ? [message.stage] : []));

  it("are acknowledged by who carries them out, who knows who asked", async () => {
    const { link, heard } = viewer("member");
    let asked: LinkPeer | undefined;
    const handler: CommandHandler = (given, from, ack) => {
      expect(given).toEqual(command);
      asked = from;
      ack("received");
      ack("applied");
    };
    feed.onCommand(handler);
    link.send({ type: "command", command });
    await settle(() => acks(heard).length === 2);
    expect(acks(heard)).toEqual(["received", "applied"]);
    expect(asked).toEqual({
      peerId: memberPeer.peerId,
      role: "member",
      name: `name of ${memberPeer.peerId}`,
    });
  });

  it("are refused from viewers, and when nobody carries them out or it fails", async () => {
    const weak = viewer("viewer");
    const { link, heard } = viewer("member");
    link.send({ type: "command", command });
    await settle(() => acks(heard).length === 1);
    let calls = 0;
    feed.onCommand(() => {
      calls += 1;
      throw new Error("no such job");
    });
    weak.link.send({ type: "command", command });
    link.send({ type: "command", command });
    await settle(() => acks(heard).length === 2 && acks(weak.heard).length === 1);
    expect(acks(heard)).toEqual(["rejected", "rejected"]);
    expect(weak.heard[0]).toMatchObject({ message: "a viewer may not command a job" });
    expect(heard.at(-1)).toMatchObject({ message: "no such job" });
    expect(calls).toBe(1);
  });
});
