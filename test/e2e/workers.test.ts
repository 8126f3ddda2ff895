import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { QUICK_TRAINER } from "../support/scripts.ts";
import { runWaybill } from "../support/waybill-process.ts";

describe("the workers of a room", () => {
  let lab: Lab;
  let workerId: string;
  const run = (...args: string[]) => runWaybill(args, lab.machine("owner"));
  const trained = (...args: string[]) => {
    const words = ["train", "--dataset", lab.path("data"), "--code", lab.path("code")];
    return [...words, ...args, "--detach", "--", "node", "train.mjs"];
  };
  beforeAll(async () => {
    lab = await Lab.open();
    for (const folder of ["code", "data"]) await mkdir(lab.path(folder));
    await lab.write("code/train.mjs", QUICK_TRAINER);
    await lab.write("data/a.txt", "a");
    ({ workerId } = await lab.startWorker("desk", ["--label", "site=lab"]));
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("are listed with what they have and do, and by condition", async () => {
    expect((await run("worker", "ls")).lines).toMatchObject([
      {
        type: "worker",
        workerId,
        name: "desk",
        capabilities: { labels: { site: "lab" } },
        jobs: [],
        freeSlots: 1,
      },
    ]);
    expect((await run("worker", "ls", "--where", "labels.site == lab")).lines).toHaveLength(1);
    expect((await run("worker", "ls", "--where", "labels.site == pod")).lines).toEqual([]);
    const wrong = await run("worker", "ls", "--where", "labels.site is lab");
    expect(wrong.code).toBe(2);
    expect(wrong.errors).toMatch(/compared with ==, !=, ~ \(at character 13\)/);
  });

  it("take no jobs while drained, and say why those wait", async () => {
    const drained = await lab.ask(["worker", "drain", "desk", "--note", "new disk"]);
    expect(drained).toMatchObject({ type: "worker_mode", worker: workerId, mode: "drain" });
    const { job } = await lab.ask(trained());
    expect(await lab.ask(["job", "show", String(job)])).toMatchObject({
      state: "queued",
      reason: "no connected worker fits: desk is being drained (new disk)",
    });
    await lab.ask(["worker", "activate", workerId.slice(0, 10)]);
    expect((await run("job", "watch", String(job))).code).toBe(0);
  });

  it("are asked for by condition; a job that none fits is said to wait before it is sent", async () => {
    const fits = await lab.ask(trained("--where", "labels.site == lab"));
    expect((await run("job", "watch", String(fits["job"]))).code).toBe(0);
    const waits = await run(...trained("--where", "cpus >= 4096"));
    expect(waits.code).toBe(0);
    expect(waits.lines).toMatchObject([{ job: expect.stringMatching(/^j_/) }]);
    await lab.ask(["job", "cancel", String(waits.lines[0]?.["job"])]);
  });

  it("are asked for by name; one that is not there is said before anything is sent", async () => {
    const { job } = await lab.ask(trained("--worker", "desk"));
    expect(await lab.ask(["job", "show", String(job)])).toMatchObject({
      spec: { requirements: { worker: workerId } },
    });
    expect((await run("job", "watch", String(job))).code).toBe(0);
    const wrong = await run(...trained("--worker", "dusk"));
    expect(wrong.code).toBe(4);
    expect(wrong.errors).toContain("no worker dusk is connected");
    expect((await run("worker", "reserve", "desk", "--for", "")).code).toBe(2);
  });

  it("get no job whose fields are wrong: all are named, and nothing is uploaded", async () => {
    await lab.write("data/b.txt", "b");
    const { code, errors } = await run(
      ...trained("--where", "cpus > many", "--alias", "latest-x", "--max-attempts", "0"),
    );
    expect(code).toBe(2);
    for (const field of ["spec.requirements.where[0]", "spec.alias", "spec.maxAttempts"]) {
      expect(errors).toContain(`${field}: `);
    }
    const unknown = await run(...trained("--alias", "nightly", "--worker", "p_nobodynobodynob_x"));
    expect(unknown.code).toBe(4);
    const { lines } = await run("artifact", "ls");
    expect(lines.filter((line) => line["name"] === "data")).toHaveLength(1);
  });
});
