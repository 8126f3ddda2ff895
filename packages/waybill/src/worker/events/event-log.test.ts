import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { EventLog, type EventLogInit } from "./event-log.ts";

let dir: string;
let init: EventLogInit;
const open: EventLog[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-log-"));
  init = {
    path: join(dir, "events.jsonl"),
    attempt: 2,
    firstSeq: 101,
    seqReserved: 100_100,
    now: () => 0,
    log: () => undefined,
  };
});

afterEach(async () => {
  for (const log of open.splice(0)) await log.close();
  await rm(dir, { recursive: true, force: true });
});

async function openLog(extra: Partial<EventLogInit> = {}): Promise<EventLog> {
  const log = await EventLog.open({ ...init, ...extra });
  open.push(log);
  return log;
}

const line = (text: string) => ({ type: "log", stream: "stdout", line: text }) as const;
const lines = (count: number) => Array.from({ length: count }, (_, i) => line(String(i)));

describe("a job's event log", () => {
  it("numbers events from the assignment's first and shows them once they are on the disk", async () => {
    const log = await openLog();
    const shown: number[] = [];
    log.subscribe(() => shown.push(log.lastSeq));
    expect(log.append(line("a"))).toMatchObject({ seq: 101, attempt: 2 });
    expect(log.lastSeq).toBe(100);
    await log.written();
    expect(shown).toEqual([101]);
    expect(await readFile(init.path, "utf8")).toBe(
      '{"type":"log","stream":"stdout","line":"a","seq":101,"time":"1970-01-01T00:00:00.000Z","attempt":2}\n',
    );
  });

  it("reads any range, from memory and from the file", async () => {
    const log = await openLog();
    for (let i = 0; i < 10; i++) log.appendAll(lines(1000));
    await log.written();
    for (const [since, limit] of [
      [100, 3],
      [1000, 700],
      [5000, 1],
      [10_098, 50],
      [10_100, 5],
    ] as const) {
      const events = await log.read(since, limit);
      const first = Math.max(since + 1, 101);
      const count = Math.min(limit, 10_100 - first + 1);
      const expected = Array.from({ length: count }, (_, i) => ({
        seq: first + i,
        line: String((first + i - 101) % 1000),
      }));
      expect(events).toMatchObject(expected);
    }
  });

  it("goes on after a crash where the last whole line ends", async () => {
    const before = await openLog();
    before.appendAll(lines(700));
    await before.close();
    await appendFile(init.path, '{"type":"log","stre');
    const log = await openLog();
    expect(log.lastSeq).toBe(800);
    log.append(line("next"));
    await log.written();
    expect(await log.read(799, 9)).toMatchObject([
      { seq: 800, line: "699" },
      { seq: 801, line: "next" },
    ]);
  });

  it("hides the sealed event until it is released, and takes nothing after it", async () => {
    const log = await openLog();
    log.append(line("a"));
    log.seal({ type: "state", state: "completed" });
    await log.written();
    expect(log.lastSeq).toBe(101);
    expect(await log.read(100, 9)).toHaveLength(1);
    expect(await log.readStored(100, 9)).toHaveLength(2);
    expect(() => log.append(line("late"))).toThrow(/ended/);
    const told = vi.fn<() => void>();
    log.subscribe(told);
    log.release();
    expect(told).toHaveBeenCalledOnce();
    expect(log.lastSeq).toBe(102);
  });

  it("finds itself sealed again after a crash", async () => {
    const before = await openLog();
    before.append(line("a"));
    before.seal({ type: "state", state: "completed" });
    await before.close();
    const log = await openLog();
    log.resealLast();
    expect(log.lastSeq).toBe(101);
    log.release();
    expect(log.lastSeq).toBe(102);
  });

  it("uses no number above the reservation", async () => {
    const log = await openLog({ seqReserved: 700 });
    expect(log.hasRoom).toBe(true);
    log.appendAll(lines(256));
    expect(log.hasRoom).toBe(false);
    log.appendAll(lines(344));
    expect(() => log.append(line("one more"))).toThrow(/used up at 700/);
    log.reserve(2000);
    await log.written();
    expect(log.hasRoom).toBe(true);
    expect(log.append(line("one more")).seq).toBe(701);
  });
});
