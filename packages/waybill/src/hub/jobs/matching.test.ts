import type { ArtifactId, PeerId, WorkerMode } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { ToldWorker, jobIdAt } from "./job-hub.fixture.ts";
import { type Candidate, type QueuedJob, chooseWorker, outlookOf } from "./matching.ts";

const [DATA, CHECKPOINT] = ["a", "b"].map((digit) => digit.repeat(64)) as ArtifactId[];
const ADAS_KEY = "1bC4x9Zq".padEnd(43, "x");

function candidate(name: string, over: Partial<Candidate> = {}): Candidate {
  const { peer, workerId } = new ToldWorker(name, { slots: 2 });
  if (peer.worker === undefined) throw new Error("no worker");
  return {
    workerId,
    name,
    capabilities: peer.worker.capabilities,
    mode: { mode: "active" },
    cached: [],
    busy: 0,
    idleSinceMs: 0,
    ...over,
  };
}

function job(wanted: Partial<QueuedJob["wanted"]> = {}): QueuedJob {
  return {
    job: jobIdAt(1),
    submittedAt: "",
    submitter: ADAS_KEY,
    refusals: new Map(),
    wanted: {
      requirements: {},
      submittedBy: "ada@desk",
      submitter: ADAS_KEY,
      artifacts: [DATA, CHECKPOINT].filter((id) => id !== undefined),
      ...wanted,
    },
  };
}

const chosen = (workers: readonly Candidate[], wanted = job()) =>
  chooseWorker(wanted, workers, 0)?.name;
const holding = (...ids: (ArtifactId | undefined)[]) => ({
  cached: ids.filter((id) => id !== undefined),
});

describe("of several workers that fit", () => {
  it.each<[string, readonly Candidate[], string | undefined]>([
    [
      "one that holds the data set is preferred to one with less to do",
      [candidate("idle"), candidate("has", { ...holding(DATA), busy: 1 })],
      "has",
    ],
    [
      "one that holds the checkpoint, too, is preferred to one that holds less",
      [candidate("has", holding(DATA)), candidate("all", holding(DATA, CHECKPOINT))],
      "all",
    ],
    ["else the one with the least to do", [candidate("a", { busy: 1 }), candidate("b")], "b"],
    [
      "else the one that waited longest",
      [candidate("a", { idleSinceMs: 2 }), candidate("b", { idleSinceMs: 1 })],
      "b",
    ],
    [
      "one without a free slot is none",
      [candidate("full", { ...holding(DATA), busy: 2 }), candidate("free")],
      "free",
    ],
    ["one whose mode is not known yet is none", [candidate("a", { mode: undefined })], undefined],
  ])("%s", (_, workers, expected) => {
    expect(chosen(workers)).toBe(expected);
  });

  it("one that holds something is not preferred for a job that does not need it", () => {
    const workers = [candidate("a", { ...holding(DATA), busy: 1 }), candidate("b")];
    expect(chosen(workers, job({ artifacts: [] }))).toBe("b");
  });
});

describe("a worker's mode", () => {
  const why = (mode: WorkerMode) => outlookOf(job(), [candidate("desk", { mode })], 0).reason;

  it.each<[WorkerMode, string]>([
    [{ mode: "drain" }, "no connected worker fits: desk is being drained"],
    [
      { mode: "maintenance", note: "new disk" },
      "no connected worker fits: desk is in maintenance (new disk)",
    ],
    [{ mode: "reserved", for: "bo" }, "no connected worker fits: desk is reserved for bo"],
  ])("%j keeps jobs away, and is the reason they wait", (mode, reason) => {
    expect(chosen([candidate("desk", { mode })])).toBeUndefined();
    expect(why(mode)).toBe(reason);
  });

  it.each(["ada", "ada@desk", ADAS_KEY, "1bC4x9Zq"])("reserved for %s takes ada's jobs", (name) => {
    expect(chosen([candidate("desk", { mode: { mode: "reserved", for: name } })])).toBe("desk");
  });

  it.each(["ad", "desk", "1bC4x9Z", "bo"])("reserved for %s takes none of ada's", (name) => {
    expect(chosen([candidate("desk", { mode: { mode: "reserved", for: name } })])).toBeUndefined();
  });
});

it("conditions are reasons, too", () => {
  const requirements = { where: ["gpu.memoryMb >= 24000"] };
  const { reason } = outlookOf(job({ requirements }), [candidate("desk")], 0);
  expect(reason).toBe(
    "no connected worker fits: desk has no GPU that meets gpu.memoryMb >= 24000 (it has none)",
  );
});

it("a worker that declined is not asked again before its pause is over", () => {
  const desk = candidate("desk");
  const refusals = new Map<PeerId, { times: number; untilMs: number; reason: string }>([
    [desk.workerId, { times: 1, untilMs: 10, reason: "disk full" }],
  ]);
  expect(chosen([desk], { ...job(), refusals })).toBeUndefined();
  expect(chooseWorker({ ...job(), refusals }, [desk], 10)).toBe(desk);
});
