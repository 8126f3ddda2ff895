import { type JobEvent, LIMITS } from "@waybill/sdk/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BucketOperation, MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB } from "./call.fixture.ts";
import { EventLog } from "./event-log.ts";
import { jobIdAt, lines, numbered } from "./job-hub.fixture.ts";
import { segmentsPrefix } from "./job-keys.ts";

const JOB = jobIdAt(1);

function setUp() {
  const operations: BucketOperation[] = [];
  const bucket = new MemoryBucket({ before: (operation) => void operations.push(operation) });
  return { bucket, operations, log: () => new EventLog(bucket) };
}

const log = (first: number, count: number, attempt = 1, text?: string) =>
  numbered(first, attempt, lines(count, text));

async function all(events: EventLog, limit = 5000): Promise<JobEvent[]> {
  const found: JobEvent[] = [];
  for (;;) {
    const page = await events.read(LAB, JOB, found.at(-1)?.seq ?? 0, limit);
    found.push(...page.events);
    if (!page.more) return found;
  }
}

async function keys(bucket: MemoryBucket): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of bucket.list(segmentsPrefix(LAB, JOB))) found.push(key);
  return found;
}

describe("storing events", () => {
  it("makes a segment named by its first number", async () => {
    const { bucket, log: open } = setUp();
    const events = open();
    expect(await events.append(LAB, JOB, log(1, 3))).toBe(3);
    expect(await events.append(LAB, JOB, log(4, 2))).toBe(5);
    expect(await keys(bucket)).toEqual([
      `${segmentsPrefix(LAB, JOB)}0000000000000001.jsonl`,
      `${segmentsPrefix(LAB, JOB)}0000000000000004.jsonl`,
    ]);
    expect(await all(events)).toEqual(
      log(1, 5).map((each, i) => ({ ...each, line: `line ${i < 3 ? i : i - 3}` })),
    );
  });

  it("costs one PUT, and after a restart one LIST and one GET more", async () => {
    const { operations, log: open } = setUp();
    const events = open();
    await events.append(LAB, JOB, log(1, 3));
    operations.length = 0;
    await events.append(LAB, JOB, log(4, 3));
    expect(operations).toEqual(["put"]);
    operations.length = 0;
    await open().append(LAB, JOB, log(7, 3));
    expect(operations).toEqual(["list", "get", "put"]);
  });

  it("takes the same events again, by this hub or another", async () => {
    const { bucket, log: open } = setUp();
    const events = open();
    await events.append(LAB, JOB, log(1, 3));
    expect(await events.append(LAB, JOB, log(1, 3))).toBe(3);
    expect(await open().append(LAB, JOB, log(1, 3))).toBe(3);
    await events.append(LAB, JOB, log(4, 1));
    expect(await events.append(LAB, JOB, log(1, 3))).toBe(4);
    expect(await keys(bucket)).toHaveLength(2);
  });

  it("completes events that are partly stored", async () => {
    const events = setUp().log();
    await events.append(LAB, JOB, log(1, 10).slice(0, 4));
    expect(await events.append(LAB, JOB, log(1, 10).slice(2))).toBe(10);
    expect(await all(events)).toEqual(log(1, 10));
  });

  it("refuses different events under stored numbers, and gaps", async () => {
    const events = setUp().log();
    await events.append(LAB, JOB, log(1, 3));
    const other = events.append(LAB, JOB, log(2, 3, 1, "other"));
    await expect(other).rejects.toThrow(/event 2 of job .* is stored differently/);
    const gap = events.append(LAB, JOB, log(6, 2));
    await expect(gap).rejects.toThrow(/do not follow 3.* 4–5 are missing/);
    expect(await all(events)).toEqual(log(1, 3));
  });

  it("learns what another hub has stored before it takes something for a gap", async () => {
    const { log: open } = setUp();
    const [a, b] = [open(), open()];
    await a.append(LAB, JOB, log(1, 2));
    await b.append(LAB, JOB, log(3, 2));
    expect(await a.append(LAB, JOB, log(5, 1))).toBe(5);
    expect(await b.append(LAB, JOB, log(5, 1))).toBe(5);
  });

  it("lets a new attempt begin above a jump, and no old one write behind it", async () => {
    const events = setUp().log();
    await events.append(LAB, JOB, log(1, 2));
    expect(await events.append(LAB, JOB, log(100_003, 2, 2))).toBe(100_004);
    await expect(events.append(LAB, JOB, log(3, 1))).rejects.toMatchObject({ code: "conflict" });
    await expect(events.append(LAB, JOB, log(200_000, 1, 2))).rejects.toThrow(/missing/);
  });

  it("cuts long runs into segments of at most 1,000 events and 256 KiB", async () => {
    const { bucket, log: open } = setUp();
    const events = open();
    const many = log(1, 2500);
    await events.append(LAB, JOB, many);
    expect(await keys(bucket)).toHaveLength(3);
    const long = log(2501, 20, 1, "x".repeat(30_000));
    await events.append(LAB, JOB, long);
    expect(await keys(bucket)).toHaveLength(6);
    expect(await all(open())).toEqual([...many, ...long]);
  });

  it("refuses an event above the limit of one", async () => {
    const events = setUp().log();
    const huge = events.append(LAB, JOB, log(1, 1, 1, "x".repeat(LIMITS.eventBytes)));
    await expect(huge).rejects.toMatchObject({ code: "too_large" });
  });

  it("keeps a hub's own event once, wherever it comes", async () => {
    const { bucket, log: open } = setUp();
    const events = open();
    const [first, second] = log(1, 2);
    if (first === undefined || second === undefined) throw new Error("two events");
    await events.begin(LAB, JOB, first);
    await events.put(LAB, JOB, second);
    await events.put(LAB, JOB, first);
    await open().put(LAB, JOB, second);
    expect(await events.append(LAB, JOB, log(3, 1))).toBe(3);
    expect(await keys(bucket)).toHaveLength(3);
  });

  it("leaves a hub's number unused once the log goes on above it (I6)", async () => {
    const { bucket, log: open } = setUp();
    const [queued, assigned] = log(1, 2);
    if (queued === undefined || assigned === undefined) throw new Error("two events");
    const events = open();
    await events.begin(LAB, JOB, queued);
    await events.append(LAB, JOB, log(3, 2, 2));
    await events.put(LAB, JOB, assigned);
    await open().put(LAB, JOB, assigned);
    expect((await all(events)).map(({ seq }) => seq)).toEqual([1, 3, 4]);
    expect(await keys(bucket)).toHaveLength(2);
    expect(await events.append(LAB, JOB, log(5, 1, 2))).toBe(5);
  });

  it("leaves a hub's number unused when another hub has stored events above it since", async () => {
    const { log: open } = setUp();
    const [here, there] = [open(), open()];
    await here.append(LAB, JOB, log(1, 2));
    await there.append(LAB, JOB, log(3, 3));
    const [event] = log(4, 1, 1, "late");
    if (event !== undefined) await here.put(LAB, JOB, event);
    expect((await all(there)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
  });
});

describe("reading events", () => {
  it("pages through 100,000 events with few requests", { timeout: 60_000 }, async () => {
    const { operations, log: open } = setUp();
    const events = open();
    for (let first = 1; first <= 100_000; first += 5000) {
      await events.append(LAB, JOB, log(first, 5000));
    }
    operations.length = 0;
    const found = await all(events);
    expect(found.map(({ seq }) => seq)).toEqual(Array.from({ length: 100_000 }, (_, i) => i + 1));
    expect(operations.filter((each) => each === "list").length).toBeLessThan(30);
    expect(operations.filter((each) => each === "get").length).toBeLessThan(130);
  });

  it("keeps a page below the hub's body limit", async () => {
    const events = setUp().log();
    await events.append(LAB, JOB, log(1, 100, 1, "x".repeat(30_000)));
    const page = await events.read(LAB, JOB, 0, 5000);
    expect(page.more).toBe(true);
    expect(JSON.stringify(page).length).toBeLessThan(LIMITS.httpBodyBytes);
    expect(page.events.length).toBeGreaterThan(20);
  });

  it("finds the last events, whoever stored them and however they jump", async () => {
    const { operations, log: open } = setUp();
    const events = open();
    expect(await events.last(LAB, JOB, 3)).toEqual([]);
    await events.append(LAB, JOB, log(1, 5));
    await events.append(LAB, JOB, log(200_001, 2, 2));
    const seqs = async (of: EventLog, count: number) =>
      (await of.last(LAB, JOB, count)).map(({ seq }) => seq);
    for (const reader of [events, open()]) {
      expect(await seqs(reader, 1)).toEqual([200_002]);
      expect(await seqs(reader, 3)).toEqual([5, 200_001, 200_002]);
      expect(await seqs(reader, 100)).toEqual([1, 2, 3, 4, 5, 200_001, 200_002]);
    }
    await open().append(LAB, JOB, log(200_003, 1, 2));
    operations.length = 0;
    expect(await seqs(events, 1)).toEqual([200_003]);
    expect(operations).toEqual(["list", "get"]);
  });

  it("keeps the last events below the hub's body limit", async () => {
    const events = setUp().log();
    await events.append(LAB, JOB, log(1, 100, 1, "x".repeat(30_000)));
    const last = await events.last(LAB, JOB, 100);
    expect(last.at(-1)?.seq).toBe(100);
    expect(JSON.stringify(last).length).toBeLessThan(LIMITS.httpBodyBytes);
    expect(last.length).toBeGreaterThan(20);
  });

  it("asks for nothing but a listing when nothing is new", async () => {
    const { operations, log: open } = setUp();
    const events = open();
    await events.append(LAB, JOB, log(1, 10));
    operations.length = 0;
    expect(await events.read(LAB, JOB, 10, 5000)).toEqual({ events: [], more: false });
    expect(operations).toEqual(["list"]);
  });

  it("gives every number once, ascending, for any segments, limit and start (I6)", async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });
    const arbitrary = fc.record({
      sizes,
      limit: fc.integer({ min: 1, max: 50 }),
      since: fc.nat(300),
    });
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ sizes: runs, limit, since }) => {
        const { log: open } = setUp();
        const events = open();
        let seq = 1;
        for (const size of runs) {
          await events.append(LAB, JOB, log(seq, size));
          seq += size;
        }
        const found: number[] = [];
        let page = await events.read(LAB, JOB, since, limit);
        found.push(...page.events.map((each) => each.seq));
        while (page.more) {
          page = await events.read(LAB, JOB, found.at(-1) ?? since, limit);
          found.push(...page.events.map((each) => each.seq));
        }
        const last = seq - 1;
        expect(found).toEqual(
          Array.from({ length: Math.max(0, last - since) }, (_, i) => since + 1 + i),
        );
      }),
      { numRuns: 60 },
    );
  });
});
