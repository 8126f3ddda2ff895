// Random faults against one job: whatever is killed, cut off, silenced or slowed down, every event is seen once and in
// order (I6), the job ends with one result in the registry (I5), and no attempt writes after it was replaced (I11).
// Eighty schedules take about a minute and a half on two idle cores; `FAULT_COUNT=1000` runs more, `FAULT_SEEDS=7,19` those.
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Store, createStore } from "../../packages/waybill/src/store/index.ts";
import { describeSchedule, scheduleOf } from "../support/schedule.ts";
import { type Ended, STEPS, ScheduleWorld } from "../support/schedule-world.ts";

const COUNT = Number(process.env["FAULT_COUNT"] ?? 80);
const SEEDS = process.env["FAULT_SEEDS"]?.split(",").map(Number) ?? upTo(COUNT);
/** Runs at once: most of a run is waiting. */
const PARALLEL = Number(process.env["FAULT_PARALLEL"] ?? 8);
/** Longer than a trainer's start and most outages, shorter than the others. */
const LEASE_MS = 1200;
const LIMIT_MS = 60_000;

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function check({ seen, stored, doc, registry, model }: Ended): void {
  // I6: once and in order; what was stored was seen.
  const numbers = seen.map(({ seq }) => seq);
  expect(numbers, "the viewer's numbers").toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
  const known = new Map(seen.map((event) => [event.seq, event]));
  expect(
    stored.filter(({ seq }) => !known.has(seq)),
    "stored and never seen",
  ).toEqual([]);
  for (const event of stored) expect(known.get(event.seq)).toEqual(event);
  // What was seen and not stored is of an attempt that was taken from its worker.
  const kept = new Set(stored.map(({ seq }) => seq));
  const unstored = seen.filter(({ seq }) => !kept.has(seq));
  expect(
    unstored.filter(({ attempt }) => attempt === doc.attempt),
    "lost",
  ).toEqual([]);
  // I11: an attempt that was replaced writes no more.
  const attempts = stored.map(({ attempt }) => attempt);
  expect(attempts, "attempts").toEqual(attempts.toSorted((a, b) => a - b));
  // One result.
  expect(doc.state, doc.reason).toBe("completed");
  const ends = stored.filter((event) => event.type === "state" && event.state === "completed");
  expect(ends.map(({ seq }) => seq)).toEqual([stored.at(-1)?.seq]);
  const models = Object.values(registry.models).filter(({ training }) => training.job === doc.job);
  expect(
    models.map(({ id }) => id),
    "registry entries",
  ).toEqual([doc.model]);
  // Of the attempt that counts, every line of a trainer that is no more; its model is the one in the store.
  const last = stored.filter(({ attempt }) => attempt === doc.attempt);
  const steps = last.flatMap((event) => (event.type === "metric" ? [event.data["n"]] : []));
  expect(steps, "metrics of the last attempt").toEqual(upTo(STEPS));
  const pids = seen.flatMap((event) =>
    event.type === "log" && event.line.startsWith("pid ") ? [event.line.slice(4)] : [],
  );
  expect(
    pids.filter((pid) => alive(Number(pid))),
    "trainers still alive",
  ).toEqual([]);
  const maker = last.find((event) => event.type === "log" && event.line.startsWith("pid "));
  expect(maker).toMatchObject({ line: `pid ${model}` });
}

describe("random fault schedules", () => {
  let dir: string;
  let store: Store;
  let storeUrl: string;
  const credentials = { accessKeyId: "test", secretAccessKey: "a secret of the tests" };
  beforeAll(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), "waybill-schedules-"));
    store = createStore({
      dataDir: path.join(dir, "store"),
      host: "127.0.0.1",
      port: 0,
      credentials: [credentials],
      region: "us-east-1",
    });
    storeUrl = (await store.start()).endpoint;
  });
  afterAll(async () => {
    await store.stop();
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  });

  /** How many attempts the job took. */
  async function run(seed: number): Promise<number> {
    const init = {
      dataDir: path.join(dir, `seed-${seed}`),
      storeUrl,
      credentials,
      bucket: `seed-${seed}`,
      leaseMs: LEASE_MS,
    };
    const schedule = scheduleOf(seed, LEASE_MS);
    await using world = await ScheduleWorld.open(init, schedule);
    await world.suffer(schedule);
    const ended = await world.end(LIMIT_MS);
    check(ended);
    return ended.doc.attempt;
  }

  it(
    `leave one result and a whole log: ${SEEDS.length} of them`,
    async () => {
      const failures: string[] = [];
      const attempts: number[] = [];
      const left = SEEDS.values();
      const worker = async () => {
        for (const seed of left) {
          try {
            attempts.push(await run(seed));
          } catch (error) {
            const why = error instanceof Error ? error.message : String(error);
            failures.push(`${describeSchedule(scheduleOf(seed, LEASE_MS))}\n${why}`);
            console.log(failures.at(-1));
          }
        }
      };
      const began = performance.now();
      await Promise.all(Array.from({ length: PARALLEL }, worker));
      const seconds = Math.round((performance.now() - began) / 1000);
      const handed = attempts.filter((count) => count > 1).length;
      console.log(
        `seeds ${SEEDS[0]} to ${SEEDS.at(-1)} in ${seconds} s: ${failures.length} failed, ${handed} jobs took more than one attempt, at most ${Math.max(...attempts)}`,
      );
      expect(failures).toEqual([]);
    },
    SEEDS.length * LIMIT_MS,
  );
});
