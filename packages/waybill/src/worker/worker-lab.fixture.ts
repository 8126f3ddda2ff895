// A worker on a temporary directory with fakes around it, and what tests ask of its jobs.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { JobAssignment, JobEvent, JobId, RouteInput } from "@waybill/sdk/protocol";
import {
  FakeFeed,
  FakeHub,
  FakeSession,
  ROOM,
  TEST_TIMING,
  assign,
  fakeDigest,
  fakeTransfers,
} from "./fakes.fixture.ts";
import type { WorkerEvent } from "./worker-events.ts";
import { type Worker, type WorkerInit, createWorker } from "./worker.ts";

/** Far more than anything here takes on a busy machine. */
const LIMIT_MS = 15_000;

export class WorkerLab implements AsyncDisposable {
  readonly dir: string;
  readonly hub = new FakeHub();
  readonly transfer = fakeTransfers();
  readonly events: WorkerEvent[] = [];
  /** Of the worker started last. */
  session = new FakeSession();
  feed = new FakeFeed();
  readonly #workers: Worker[] = [];

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async open(): Promise<WorkerLab> {
    return new WorkerLab(await mkdtemp(join(tmpdir(), "waybill-worker-")));
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  async start(extra: Partial<WorkerInit> = {}): Promise<Worker> {
    const session = new FakeSession();
    const feed = new FakeFeed();
    this.session = session;
    this.feed = feed;
    const worker = createWorker({
      hub: this.hub,
      room: ROOM,
      name: "lab-1",
      kind: "desktop",
      dataDir: this.path("data"),
      version: "0.0.0",
      createSession: () => session,
      createFeed: () => feed,
      transfer: this.transfer,
      digest: fakeDigest,
      onEvent: (event) => this.events.push(event),
      timing: TEST_TIMING,
      ...extra,
    });
    this.#workers.push(worker);
    await worker.start();
    return worker;
  }

  offer(assignment: JobAssignment): JobId {
    this.session.receive({ type: "job.offer", assignment });
    return assignment.job;
  }

  /** Stored events of one type. */
  ofType<T extends JobEvent["type"]>(job: JobId, type: T): Extract<JobEvent, { type: T }>[] {
    return this.hub
      .events(job)
      .filter((event): event is Extract<JobEvent, { type: T }> => event.type === type);
  }

  states(job: JobId): string[] {
    return this.ofType(job, "state").map(({ state }) => state);
  }

  /** How the job ended, once the hub has heard. */
  async outcome(job: JobId): Promise<RouteInput<"endJob">["body"]> {
    return until(() => this.hub.ended.get(job), `the end of ${job}`);
  }

  /** Waits for a stored line of log. */
  async logged(job: JobId, line: string): Promise<void> {
    const has = () => this.ofType(job, "log").some((event) => event.line === line) || undefined;
    await until(has, `the line ${line}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hub.down = false;
    for (const worker of this.#workers) await worker.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** A trainer in JavaScript: `say` prints a message, `save` writes a model of 7 bytes. */
export function trainer(
  code: string,
  spec: Omit<Parameters<typeof assign>[0], "command"> = {},
): JobAssignment {
  const full = `const fs = require("node:fs"); const env = process.env;
    const say = (value) => console.log(JSON.stringify(value));
    const save = () => fs.writeFileSync(env.WAYBILL_OUTPUT + "/model.bin", "weights");
    ${code}`;
  return assign({ command: [process.execPath, "-e", full], ...spec });
}

async function until<T>(look: () => T | undefined, what: string): Promise<T> {
  for (const end = performance.now() + LIMIT_MS; performance.now() < end; await sleep(5)) {
    const found = look();
    if (found !== undefined) return found;
  }
  throw new Error(`waited in vain for ${what}`);
}
