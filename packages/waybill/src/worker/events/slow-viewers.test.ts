// A trainer that prints 10,000 metrics a second and three viewers: what the slow ones do costs neither the
// trainer, nor the fast one, nor this process's memory (I3).
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EVENT_WINDOW, type JobEvent, JobId, PeerId, decodeValue } from "@waybill/sdk/protocol";
import {
  type ControlLink,
  type LinkMessage,
  type PeerLinks,
  createEventFeed,
} from "@waybill/sdk/swarm";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { OutputReader } from "../trainers/output-reader.ts";
import { Results } from "../trainers/results.ts";
import { EventLog } from "./event-log.ts";

const job = decodeValue(JobId, "j_0123456789abcdef", "job");
const SECONDS = 2;
const PER_SECOND = 10_000;
const LINES = SECONDS * PER_SECOND;

/** Prints at its pace and says at the end how many milliseconds it took. */
const TRAINER = `
const begin = performance.now();
let step = 0;
const timer = setInterval(() => {
  const due = Math.min(${LINES}, Math.ceil((performance.now() - begin) * ${PER_SECOND / 1000}));
  let text = "";
  while (step < due) text += JSON.stringify({ step: ++step, loss: 1 / step }) + "\\n";
  require("node:fs").writeSync(1, text);
  if (step < ${LINES}) return;
  clearInterval(timer);
  process.send(performance.now() - begin);
}, 5);
`;

/** A viewer's link in the test's hands. */
class Viewer {
  readonly events: JobEvent[] = [];
  readonly link: ControlLink;
  left = 0;
  /** Messages its path takes until it is choked. */
  room = Number.POSITIVE_INFINITY;
  takes = true;
  #freed: (() => void)[] = [];

  constructor(name: string, tell: (message: LinkMessage, link: ControlLink) => void) {
    const peerId = decodeValue(PeerId, `p_aaaaaaaaaaaaaaaa_${name}`, "peer");
    const writable = () => this.room > 0;
    this.link = {
      peerId,
      peer: { peerId, role: "member", name },
      path: { kind: "relay", rttMs: undefined },
      closed: false,
      get writable() {
        return writable();
      },
      send: (message: LinkMessage) => {
        if (message.type !== "events") return;
        this.room -= 1;
        this.events.push(...message.events);
        for (const { from, to } of message.left ?? []) this.left += to - from + 1;
        const seq = this.events.at(-1)?.seq;
        if (seq !== undefined && this.takes) {
          setImmediate(() => tell({ type: "taken", id: message.id, seq }, this.link));
        }
      },
      drain: () => new Promise<void>((resolve) => this.#freed.push(resolve)),
      onMessage: () => () => undefined,
      onPath: () => () => undefined,
      share: () => undefined,
      onLost: () => () => undefined,
      onClose: () => () => undefined,
    } as unknown as ControlLink;
  }

  /** The path takes so many messages more. */
  free(room: number): void {
    this.room = room;
    for (const resolve of this.#freed.splice(0)) resolve();
  }
}

let dir: string;
let log: EventLog;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-viewers-"));
  log = await EventLog.open({
    path: join(dir, "events.jsonl"),
    attempt: 1,
    firstSeq: 1,
    seqReserved: 10_000_000,
    now: Date.now,
    log: () => undefined,
  });
});
afterEach(async () => {
  await log.close();
  await rm(dir, { recursive: true, force: true });
});

it("slow viewers hold up neither a trainer of 10,000 lines a second nor the fast one", async () => {
  let hear: (message: LinkMessage, link: ControlLink) => void = () => undefined;
  const links = {
    onMessage: (listener: (event: { message: LinkMessage; link: ControlLink }) => void) => {
      hear = (message, link) => listener({ message, link });
      return () => undefined;
    },
  } as Partial<PeerLinks> as PeerLinks;
  const feed = createEventFeed({ links });
  feed.add(job, log);
  const tell = (message: LinkMessage, link: ControlLink) => hear(message, link);
  const fast = new Viewer("fast", tell);
  const choked = new Viewer("choked", tell);
  const still = new Viewer("still", tell);
  still.takes = false;
  tell({ type: "subscribe", id: "s1", job, sinceSeq: 0 }, fast.link);
  tell({ type: "subscribe", id: "s2", job, sinceSeq: 0, latest: true }, choked.link);
  tell({ type: "subscribe", id: "s3", job, sinceSeq: 0, latest: true }, still.link);
  // Five messages a second.
  const trickle = setInterval(() => choked.free(1), 200);
  choked.free(1);

  const [stdout, stderr] = [join(dir, "out"), join(dir, "err")];
  const [out, err] = [await open(stdout, "w"), await open(stderr, "w")];
  const reader = new OutputReader({
    stdout,
    stderr,
    log,
    results: new Results(),
    pollMs: 50,
    onSample: () => undefined,
    listener: { onAdjusted: () => undefined, onCheckpoint: () => undefined },
    signal: AbortSignal.timeout(60_000),
  });
  await reader.start();
  const heap = process.memoryUsage().heapUsed;
  const trainer = spawn(process.execPath, ["-e", TRAINER], {
    stdio: ["ignore", out.fd, err.fd, "ipc"],
  });
  const [[tookMs]] = (await Promise.all([once(trainer, "message"), once(trainer, "exit")])) as [
    [number],
    unknown,
  ];
  await reader.finish();
  log.append({ type: "state", state: "completed" });
  const end = LINES + 1;
  await vi.waitFor(() => expect(fast.events.at(-1)?.seq).toBe(end), { timeout: 10_000 });
  const grown = process.memoryUsage().heapUsed - heap;
  await vi.waitFor(() => expect(choked.events.at(-1)?.seq).toBe(end), { timeout: 10_000 });
  clearInterval(trickle);

  expect(tookMs).toBeLessThan(SECONDS * 1000 * 1.5);
  expect(fast.events.map(({ seq }) => seq)).toEqual(Array.from({ length: end }, (_, i) => i + 1));
  // About ten of them went through while it ran, each a handful of events long.
  expect(choked.events.length + choked.left).toBe(end);
  expect(choked.left).toBeGreaterThan(LINES * 0.8);
  expect(still.events.length).toBeLessThanOrEqual(EVENT_WINDOW);
  // The fast viewer's own events are most of it; a backlog of everything for the slow ones would double it.
  expect(grown).toBeLessThan(64 * 1024 * 1024);

  // Who comes back sees the present at once, and what must be seen.
  still.takes = true;
  const seq = still.events.at(-1)?.seq ?? 0;
  tell({ type: "taken", id: "s3", seq }, still.link);
  await vi.waitFor(() => expect(still.events.at(-1)?.seq).toBe(end), { timeout: 10_000 });
  expect(still.events.length + still.left).toBe(end);
  expect(still.events.at(-1)).toMatchObject({ type: "state", state: "completed" });
  feed.stop();
  await reader.stop();
  await Promise.all([out.close(), err.close()]);
}, 60_000);
