import type { Adjustment, CommandName } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { callOf, workerIdOf } from "./call.fixture.ts";
import {
  START_MS,
  type TestHub,
  ToldWorker,
  createWorld,
  jobIdAt,
  member,
  replay,
  running,
  show,
  submit,
  until,
} from "./job-hub.fixture.ts";

const JOB = jobIdAt(1);
const params = { job: JOB };

const command = (hub: TestHub, name: CommandName, id = "c1", values?: Adjustment) =>
  hub.commandJob(
    callOf(member, {
      params,
      body: { id, name, by: "ada", ...(values === undefined ? {} : { values }) },
    }),
  );

/** Workers acknowledge every command. */
function answering(hub: TestHub) {
  hub.peers.onSend = (to, message) => {
    if (message.type !== "job.command") return;
    const { id } = message.command;
    queueMicrotask(() => hub.peers.hear(to, { type: "command.ack", id, stage: "received" }));
  };
}

describe("commands", () => {
  it("cancel a queued job at once, with an event by the hub", async () => {
    const hub = createWorld().hub();
    await submit(hub, JOB);
    await expect(command(hub, "pause")).rejects.toThrow(/it is queued/);
    expect(await command(hub, "cancel")).toEqual({ id: "c1", stage: "applied" });
    expect(await command(hub, "cancel")).toEqual({ id: "c1", stage: "applied" });
    await expect(command(hub, "cancel", "c2")).rejects.toThrow(/it is cancelled/);
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await hub.sweep(START_MS);
    expect(worker.offers).toEqual([]);
    expect((await replay(hub, JOB)).at(-1)).toMatchObject({
      state: "cancelled",
      reason: "cancelled by ada (member memberxx)",
    });
  });

  it("reach the worker once per id and are answered when it has them", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    await running(hub, JOB, worker);
    hub.peers.onSend = (to, message) => {
      if (message.type !== "job.command") return;
      const { id } = message.command;
      queueMicrotask(() => hub.peers.hear(to, { type: "command.ack", id, stage: "received" }));
    };
    const answers = await Promise.all([command(hub, "pause"), command(hub, "pause")]);
    const answer = { id: "c1", stage: "received", worker: worker.workerId };
    expect(answers).toEqual([answer, answer]);
    const by = "ada (member memberxx)";
    expect(worker.all("job.command")).toEqual([
      { type: "job.command", command: { id: "c1", job: JOB, name: "pause" }, by },
    ]);
    await expect(command(hub, "cancel")).rejects.toThrow(/command c1 of job .* is pause/);
  });

  it("tell the worker's reason when it rejects, and may be tried again", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    await running(hub, JOB, worker);
    let message: string | undefined = "not now";
    hub.peers.onSend = (to, sent) => {
      if (sent.type !== "job.command") return;
      const { id } = sent.command;
      const ack =
        message === undefined
          ? { stage: "received" as const }
          : { stage: "rejected" as const, message };
      queueMicrotask(() => hub.peers.hear(to, { type: "command.ack", id, ...ack }));
    };
    await expect(command(hub, "pause")).rejects.toThrow(/rejected pause .*: not now/);
    message = undefined;
    expect(await command(hub, "pause")).toMatchObject({ id: "c1", stage: "received" });
  });

  it("tell when what the worker has received takes effect", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    await running(hub, JOB, worker);
    const message = "it takes effect when the job is resumed";
    hub.peers.onSend = (to, sent) => {
      if (sent.type !== "job.command") return;
      const { id } = sent.command;
      const ack = { type: "command.ack", id, stage: "received", message } as const;
      queueMicrotask(() => hub.peers.hear(to, ack));
    };
    expect(await command(hub, "checkpoint")).toMatchObject({ stage: "received", message });
  });

  it("say which worker is away and since when, or that it does not answer", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub({ ackTimeoutMs: 20 });
    const worker = new ToldWorker("desk");
    await running(hub, JOB, worker);
    await expect(command(hub, "pause")).rejects.toMatchObject({ code: "timeout" });
    pass(1000);
    hub.peers.leave(worker);
    const away = command(hub, "pause");
    const since = new Date(START_MS + 1000).toISOString();
    await expect(away).rejects.toMatchObject({ code: "unreachable" });
    await expect(away).rejects.toThrow(`${workerIdOf("desk")} is not connected since ${since}`);
  });

  it("of an adjustment carry its values, and only those of an adjustment", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    await running(hub, JOB, worker);
    answering(hub);
    const values = { lr: 0.01, batch: 32, mixed: true, note: null };
    await command(hub, "adjust", "c1", values);
    expect(worker.all("job.command")).toMatchObject([{ command: { name: "adjust", values } }]);
    await expect(command(hub, "adjust", "c1", { lr: 1 })).rejects.toThrow(/has other values/);
    await expect(command(hub, "adjust", "c2")).rejects.toMatchObject({ code: "invalid_request" });
    await expect(command(hub, "checkpoint", "c3", values)).rejects.toMatchObject({
      code: "invalid_request",
    });
    expect(await command(hub, "checkpoint", "c4")).toMatchObject({ stage: "received" });
  });

  it("to a job in the queue say why they do not apply", async () => {
    const hub = createWorld().hub();
    await submit(hub, JOB);
    await expect(command(hub, "adjust", "c1", { lr: 1 })).rejects.toMatchObject({
      code: "conflict",
      hint: expect.stringMatching(/begins with the config/),
    });
  });

  it("that cancelled a queued job are answered the same by another hub", async () => {
    const { hub: makeHub } = createWorld();
    const hub = makeHub();
    await submit(hub, JOB);
    await command(hub, "cancel");
    expect(await command(makeHub(), "cancel")).toEqual({ id: "c1", stage: "applied" });
  });
});

describe("cancelling a job whose worker is out of reach", () => {
  it("is noted, and done when its lease ends", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    const worker = new ToldWorker("desk");
    await running(hub, JOB, worker);
    hub.peers.leave(worker);
    const latest = new Date(START_MS + 60_000).toISOString();
    const { workerId } = worker;
    expect(await command(hub, "cancel")).toEqual({
      id: "c1",
      stage: "noted",
      worker: workerId,
      until: latest,
    });
    await hub.sweep(pass(60_001));
    expect(await show(hub, JOB)).toMatchObject({ state: "cancelled" });
    expect((await replay(hub, JOB)).at(-1)).toMatchObject({
      state: "cancelled",
      reason: "cancelled by ada (member memberxx)",
    });
    expect(await command(hub, "cancel")).toEqual({ id: "c1", stage: "applied" });
  });

  it("reaches the worker when it comes back, once, with the id of the command", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    const { attempt } = await running(hub, JOB, worker);
    hub.peers.leave(worker);
    await command(hub, "cancel");
    hub.peers.join(worker, [{ job: JOB, attempt }]);
    await until(() =>
      expect(worker.all("job.command")).toMatchObject([{ command: { id: "c1", name: "cancel" } }]),
    );
    hub.peers.hear(worker, { type: "command.ack", id: "c1", stage: "received" });
    const body = { attempt, state: "running" as const, lastSeq: 3 };
    await hub.renewLease(callOf(worker.caller, { params, body }));
    expect(worker.all("job.command")).toHaveLength(1);
  });

  it("is told again at every renewal until the worker says that it has it", async () => {
    const hub = createWorld().hub({ ackTimeoutMs: 1 });
    const worker = new ToldWorker("desk");
    const { attempt } = await running(hub, JOB, worker);
    // Its connection is dead and nobody knows: what is sent there is lost.
    expect(await command(hub, "cancel")).toMatchObject({ stage: "noted" });
    const body = { attempt, state: "running" as const, lastSeq: 3 };
    const renew = () => hub.renewLease(callOf(worker.caller, { params, body }));
    await renew();
    hub.peers.leave(worker);
    hub.peers.join(worker, [{ job: JOB, attempt }]);
    const before = worker.all("job.command").length;
    await renew();
    await until(() => expect(worker.all("job.command").length).toBeGreaterThan(before));
    hub.peers.hear(worker, { type: "command.ack", id: "c1", stage: "received" });
    const told = worker.all("job.command").length;
    await renew();
    expect(worker.all("job.command")).toHaveLength(told);
  });

  it("reaches a worker at another hub when it renews its lease there", async () => {
    const { hub: makeHub } = createWorld();
    const [here, there] = [makeHub(), makeHub()];
    const worker = new ToldWorker("desk");
    const { attempt } = await running(there, JOB, worker);
    expect(await command(here, "cancel")).toMatchObject({ stage: "noted" });
    const body = { attempt, state: "running" as const, lastSeq: 3 };
    await there.renewLease(callOf(worker.caller, { params, body }));
    expect(worker.all("job.command")).toMatchObject([{ command: { id: "c1", name: "cancel" } }]);
  });
});

it("a cancelled job whose worker is lost before it could is not tried again", async () => {
  const { hub: makeHub, pass } = createWorld();
  const hub = makeHub();
  const worker = new ToldWorker("desk");
  await running(hub, JOB, worker);
  answering(hub);
  await command(hub, "cancel");
  hub.peers.leave(worker);
  await hub.sweep(pass(60_001));
  expect(await show(hub, JOB)).toMatchObject({ state: "cancelled" });
});
