import * as v from "valibot";
import { beforeEach, describe, expect, it } from "vitest";
import type { HubClient } from "../hub-client/index.ts";
import { type JobEvent, JobId, PeerId, RoomId, WaybillError } from "../protocol/index.ts";
import type { LinkMessage, LinkPath } from "../swarm/index.ts";
import { type CommandDeps, commandJob } from "./command-job.ts";
import { SeenJobs } from "./seen-jobs.ts";

const room = v.parse(RoomId, "lab");
const job = v.parse(JobId, "j_0123456789abcdef");
const worker = v.parse(PeerId, "p_bbbbbbbbbbbbbbbb_w1");
const time = "2026-01-01T00:00:00.000Z";
const request = { room, job, id: "c1", name: "adjust", values: { lr: 0.01 }, by: "ada" } as const;

/** A link whose other end is the test. */
class Link {
  path: LinkPath = { kind: "webrtc", candidateType: "host", rttMs: 1 };
  readonly sent: LinkMessage[] = [];
  released = 0;
  broken = false;
  readonly #messages = new Set<(message: LinkMessage) => void>();
  readonly #paths = new Set<(path: LinkPath) => void>();

  send(message: LinkMessage): void {
    if (this.broken) throw new Error("closed");
    this.sent.push(message);
  }

  onMessage(listener: (message: LinkMessage) => void): () => void {
    this.#messages.add(listener);
    return () => this.#messages.delete(listener);
  }

  onPath(listener: (path: LinkPath) => void): () => void {
    this.#paths.add(listener);
    return () => this.#paths.delete(listener);
  }

  onClose(): () => void {
    return () => undefined;
  }

  release(): void {
    this.released += 1;
  }

  ack(stage: "received" | "applied" | "rejected", message?: string): void {
    const said = message === undefined ? {} : { message };
    for (const one of this.#messages) one({ type: "ack", id: "c1", stage, ...said });
  }

  lose(): void {
    for (const one of this.#paths) one({ kind: "relay", rttMs: undefined });
  }

  get listeners(): number {
    return this.#messages.size + this.#paths.size;
  }
}

let link: Link;
let calls: { name: string; body: unknown }[];
let log: JobEvent[];
let timers: Set<() => void>;
let deps: CommandDeps;

beforeEach(() => {
  link = new Link();
  calls = [];
  log = [];
  timers = new Set();
  const call = async (name: string, input: { body?: unknown }) => {
    calls.push({ name, body: input.body });
    return name === "readEvents" ? { lastSeq: 7 } : { id: "c1", stage: "received" };
  };
  deps = {
    hub: { call } as unknown as Pick<HubClient, "call">,
    linkTo: () => link,
    seen: { worker, lastSeq: 40 },
    watch: async function* (since) {
      yield* log.filter(({ seq }) => seq > since);
    },
    clock: {
      now: () => 0,
      after: (_ms, run) => {
        timers.add(run);
        return () => timers.delete(run);
      },
    },
  };
});
const late = () => {
  for (const run of timers) run();
};
const commandEvent = (seq: number, stage: "received" | "applied" | "rejected"): JobEvent => ({
  type: "command",
  seq,
  attempt: 1,
  time,
  id: "c1",
  name: "adjust",
  stage,
  by: "ada",
});

describe("a command to a job", () => {
  it("goes over the direct channel, and is acknowledged twice there", async () => {
    const sending = commandJob(deps, request);
    expect(link.sent).toEqual([
      { type: "command", command: { id: "c1", job, name: "adjust", values: { lr: 0.01 } } },
    ]);
    link.ack("received");
    const sent = await sending;
    expect(sent.via).toBe("webrtc");
    const applied = sent.applied();
    link.ack("applied", "lr is 0.01");
    expect(await applied).toEqual({ message: "lr is 0.01" });
    expect(await sent.applied()).toEqual({ message: "lr is 0.01" });
    expect([calls, link.released, link.listeners]).toEqual([[], 1, 0]);
  });

  it("is refused by a worker that rejects it, at once or later", async () => {
    const atOnce = commandJob(deps, request);
    link.ack("rejected", "a viewer may not");
    await expect(atOnce).rejects.toMatchObject({ code: "conflict" });
    const sending = commandJob(deps, request);
    link.ack("received");
    const applied = (await sending).applied();
    link.ack("rejected", "the trainer said nothing");
    await expect(applied).rejects.toThrow(/rejected adjust.*the trainer said nothing/);
  });

  it("goes through the hub with the same id when the worker is silent for a second", async () => {
    const sending = commandJob(deps, request);
    late();
    expect((await sending).via).toBe("hub");
    const body = { id: "c1", name: "adjust", by: "ada", values: { lr: 0.01 } };
    expect(calls).toEqual([{ name: "commandJob", body }]);
    expect([link.released, link.listeners, timers.size]).toEqual([1, 0, 0]);
  });

  it("goes through the hub at once when the channel is lost or cannot send", async () => {
    const sending = commandJob(deps, request);
    link.lose();
    expect((await sending).via).toBe("hub");
    link.broken = true;
    expect((await commandJob(deps, request)).via).toBe("hub");
  });

  it("reads what became of it in the log when the channel is lost in between", async () => {
    const sending = commandJob(deps, request);
    link.ack("received");
    const sent = await sending;
    link.lose();
    log = [commandEvent(39, "rejected"), commandEvent(41, "received"), commandEvent(42, "applied")];
    expect(await sent.applied()).toEqual({});
    log = [];
    await expect(sent.applied()).rejects.toThrow(/ended before adjust was applied/);
  });

  it("goes through the hub when there is no direct channel, and nobody watches", async () => {
    link.path = { kind: "relay", rttMs: 1 };
    expect((await commandJob(deps, request)).via).toBe("hub");
    expect([link.sent, link.released]).toEqual([[], 1]);
    calls = [];
    log = [commandEvent(8, "applied")];
    const sent = await commandJob({ ...deps, seen: undefined }, request);
    expect(calls.map(({ name }) => name)).toEqual(["readEvents", "commandJob"]);
    expect(await sent.applied()).toEqual({});
  });

  it("throws what the hub says of it, and AbortError when cancelled", async () => {
    const refuse = () => Promise.reject(new WaybillError("conflict", "the job has ended"));
    const hub = { call: refuse } as Pick<HubClient, "call">;
    await expect(commandJob({ ...deps, hub, linkTo: undefined }, request)).rejects.toMatchObject({
      code: "conflict",
    });
    const stop = new AbortController();
    const sending = commandJob(deps, { ...request, signal: stop.signal });
    stop.abort();
    await expect(sending).rejects.toMatchObject({ name: "AbortError" });
    expect(link.released).toBe(1);
  });
});

describe("what watches have seen of a job", () => {
  const state = (seq: number, name: "queued" | "running" | "completed"): JobEvent => ({
    type: "state",
    seq,
    attempt: 1,
    time,
    state: name,
    ...(name === "running" ? { worker } : {}),
  });

  it("is who works on it and how far it is, while a watch lasts", async () => {
    const seen = new SeenJobs();
    const items = seen.noting(
      job,
      (async function* () {
        yield state(1, "running");
        yield { type: "skipped" as const, from: 2, to: 90, logs: 0 };
        yield state(91, "queued");
      })(),
    );
    expect(seen.of(job)).toBeUndefined();
    const found = [];
    for await (const _ of items) found.push({ ...seen.of(job) });
    expect(found).toEqual([
      { worker, lastSeq: 1 },
      { worker, lastSeq: 90 },
      { worker: undefined, lastSeq: 91 },
    ]);
    expect(seen.of(job)).toBeUndefined();
  });
});
