// A worker that cannot reach its hub finishes, stores its model by itself and tells the hub later; partitions that heal with
// two attempts alive end with one result (I11).
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as v from "valibot";
import { ArtifactId, type RouteName } from "@waybill/sdk/protocol";
import type { StorePort } from "../ports.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

const WAIT = { timeout: 15_000, interval: 5 };
const ARTIFACT = v.parse(ArtifactId, "a".repeat(64));
let lab: WorkerLab;
let stored: { prefix: string; files: string[] }[];
let removed: string[];
let store: StorePort;

beforeEach(async () => {
  lab = await WorkerLab.open();
  stored = [];
  removed = [];
  store = {
    upload: async ({ prefix, dir }) => {
      stored.push({ prefix, files: await readdir(dir) });
      return { artifact: ARTIFACT, bytes: 7, sentBytes: 7, files: 1, seconds: 0.1, warnings: [] };
    },
    remove: async (prefix) => {
      removed.push(prefix);
    },
    close: () => undefined,
  };
});

afterEach(() => lab[Symbol.asyncDispose]());

/** Trains until the file `go` is there. */
const held = () =>
  trainer(`console.log("up"); save();
    const look = setInterval(() => fs.existsSync("${lab.path("go")}") && process.exit(0), 5);`);
const release = () => writeFile(lab.path("go"), "");

async function training(): Promise<ReturnType<typeof held>> {
  const assignment = held();
  lab.offer(assignment);
  await lab.logged(assignment.job, "up");
  await vi.waitFor(() => expect(lab.hub.calls).toContain("reserveModel"), WAIT);
  return assignment;
}

describe("a worker whose hub is away", () => {
  it("puts its model into the store by itself, and tells the hub when that is back", async () => {
    await lab.start({ store });
    const { job } = await training();
    lab.hub.down = true;
    lab.transfer.gate = new Promise(() => undefined);
    await release();
    await vi.waitFor(() => expect(stored).toHaveLength(1), WAIT);
    expect(stored[0]).toMatchObject({
      prefix: expect.stringMatching(/^lab\/models\/model_[0-9a-f]{8}\.1\/$/),
      files: ["model.bin"],
    });
    expect(lab.hub.calls).not.toContain("recordModel");
    lab.hub.down = false;
    expect((await lab.outcome(job))?.state).toBe("completed");
    const told: RouteName[] = ["recordModel", "publishModel", "endJob"];
    expect(lab.hub.calls.filter((name) => told.includes(name))).toEqual(told);
    expect(lab.hub.publications).toMatchObject([{ artifact: ARTIFACT }]);
    expect(lab.ofType(job, "log").at(-1)).toMatchObject({
      stream: "waybill",
      line: expect.stringMatching(/straight to the object store/),
    });
    const seqs = lab.hub.events(job).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, i) => 3 + i));
  });

  it("goes through the hub while that answers, and waits for it without a store of its own", async () => {
    await lab.start({ store });
    const first = await training();
    await release();
    expect((await lab.outcome(first.job))?.state).toBe("completed");
    expect(stored).toEqual([]);
  });

  it("removes what it stored when the job has passed to another attempt, and publishes nothing", async () => {
    await lab.start({ store });
    const { job } = await training();
    lab.hub.down = true;
    lab.transfer.gate = new Promise(() => undefined);
    await release();
    await vi.waitFor(() => expect(stored).toHaveLength(1), WAIT);
    lab.hub.stale = job;
    lab.hub.down = false;
    const dropped = expect.objectContaining({ type: "job.ended", outcome: "dropped" });
    await vi.waitFor(() => expect(lab.events).toContainEqual(dropped), WAIT);
    expect(lab.hub.publications).toEqual([]);
    expect(lab.hub.ended.size).toBe(0);
  });
});

describe("a partition that heals with two attempts alive", () => {
  it.each(["renewLease", "appendEvents"] as const)(
    "kills the trainer and drops the older one at a stale %s",
    async (name) => {
      await lab.start();
      const dir = await mkdtemp(join(tmpdir(), "waybill-pid-"));
      const assignment = trainer(
        `fs.writeFileSync("${dir}/pid", String(process.pid)); save(); console.log("up");
         setInterval(() => console.log("more"), 20);`,
      );
      const { job } = assignment;
      lab.offer(assignment);
      await lab.logged(job, "up");
      lab.hub.staleRoutes = new Set([name]);
      lab.hub.stale = job;
      const dropped = expect.objectContaining({ type: "job.ended", outcome: "dropped" });
      await vi.waitFor(() => expect(lab.events).toContainEqual(dropped), WAIT);
      await vi.waitFor(async () => expect(await readdir(lab.path("data/spool"))).toEqual([]), WAIT);
      expect(lab.hub.publications).toEqual([]);
      expect(lab.hub.ended.size).toBe(0);
      await rm(dir, { recursive: true });
    },
  );

  it("leaves the outcome to the newer one when the older one tells its own", async () => {
    await lab.start();
    const { job } = await training();
    lab.hub.staleRoutes = new Set<RouteName>(["endJob"]);
    lab.hub.stale = job;
    await release();
    const dropped = expect.objectContaining({ type: "job.ended", outcome: "dropped" });
    await vi.waitFor(() => expect(lab.events).toContainEqual(dropped), WAIT);
    expect(lab.hub.ended.size).toBe(0);
  });
});
