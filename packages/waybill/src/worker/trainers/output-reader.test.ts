import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type JobEvent, LIMITS } from "@waybill/sdk/protocol";
import { EventLog } from "../events/event-log.ts";
import { OutputReader } from "./output-reader.ts";
import { Results } from "./results.ts";

const WAIT = { timeout: 10_000, interval: 2 };
let dir: string;
let log: EventLog;
let reader: OutputReader;
let results: Results;
let samples: string[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-output-"));
});

afterEach(async () => {
  await reader.stop();
  await log.close();
  await rm(dir, { recursive: true, force: true });
});

async function follow(seqReserved = 1_000_000): Promise<void> {
  await writeFile(join(dir, "out"), "");
  await writeFile(join(dir, "err"), "");
  log = await EventLog.open({
    path: join(dir, "events.jsonl"),
    attempt: 1,
    firstSeq: 1,
    seqReserved,
    now: Date.now,
    log: () => undefined,
  });
  results = new Results();
  samples = [];
  reader = new OutputReader({
    stdout: join(dir, "out"),
    stderr: join(dir, "err"),
    log,
    results,
    pollMs: 50,
    onSample: (file) => samples.push(file),
    listener: { onAdjusted: () => undefined, onCheckpoint: () => undefined },
    signal: AbortSignal.timeout(60_000),
  });
  await reader.start();
}

async function all(): Promise<JobEvent[]> {
  await reader.finish();
  await log.written();
  const events: JobEvent[] = [];
  for (;;) {
    const page = await log.read(events.length, 10_000);
    if (page.length === 0) return events;
    events.push(...page);
  }
}

const print = (text: string | Uint8Array) => appendFile(join(dir, "out"), text);

describe("reading a trainer's output", () => {
  it("tells messages from log", async () => {
    await follow();
    await print('{"loss": 0.5}\nhello\n{"type":"sample","file":"a.png"}\n{"type":"other","n":1}\n');
    await print(
      '{"type":"checkpoint","path":"c/1"}\n{"type":"result","acc":0.9}\n{"loss": 0.25}\n{broken\n',
    );
    await appendFile(join(dir, "err"), "oops\n");
    const events = await all();
    const brief = events.map((event) => (event.type === "log" ? event.line : event.type));
    expect(brief.filter((one) => one !== "oops")).toEqual([
      "metric",
      "hello",
      '{"type":"other","n":1}',
      "checkpoint",
      "metric",
      "{broken",
    ]);
    expect(samples).toEqual(["a.png"]);
    expect(results.final).toEqual({ loss: 0.25, acc: 0.9 });
    expect(reader.lastErrors).toBe("oops");
  });

  it("shows a line while the trainer runs, as soon as it is printed", async () => {
    await follow();
    await print("now\n");
    await vi.waitFor(() => expect(log.lastSeq).toBe(1), WAIT);
  });

  it("reads what Python's json writes for a loss that is not a number", async () => {
    await follow();
    await print('{"epoch": 1, "loss": NaN, "best": -Infinity, "note": "NaN"}\n');
    expect(await all()).toMatchObject([
      { type: "metric", data: { epoch: 1, loss: "NaN", best: "-Infinity", note: "NaN" } },
    ]);
  });

  it("cuts a line of 10 MB and keeps events within their limit", async () => {
    await follow();
    await print(`${"y".repeat(10 * 1024 * 1024)}\n${"\u0001".repeat(30_000)}\nend\n`);
    const events = await all();
    expect(events).toMatchObject([{ cut: true }, { cut: true }, { line: "end" }]);
    for (const event of events) {
      expect(JSON.stringify(event).length).toBeLessThanOrEqual(LIMITS.eventBytes);
    }
  });

  it("thins a progress bar but shows its last state", async () => {
    await follow();
    for (let i = 0; i <= 100; i++) await print(`\r${i}%`);
    await print("\ndone\n");
    const lines = (await all()).flatMap((event) => (event.type === "log" ? [event.line] : []));
    expect(lines.length).toBeLessThan(20);
    expect(lines.slice(-2)).toEqual(["100%", "done"]);
  });

  it("waits for numbers instead of losing lines, and the file keeps them", async () => {
    await follow(1000);
    await print(Array.from({ length: 3000 }, (_, i) => `${i}\n`).join(""));
    await vi.waitFor(() => expect(log.hasRoom).toBe(false), WAIT);
    expect(log.lastUsedSeq).toBeLessThanOrEqual(1000);
    log.reserve(100_000);
    const lines = (await all()).map((event) => (event.type === "log" ? event.line : ""));
    expect(lines).toEqual(Array.from({ length: 3000 }, (_, i) => String(i)));
  });

  it("keeps up with 200,000 lines without keeping them in memory", async () => {
    await follow();
    const block = Buffer.from("a line of log as trainers print them, not too short\n".repeat(1000));
    for (let i = 0; i < 200; i++) await print(block);
    await reader.finish();
    await log.written();
    expect(log.lastSeq).toBe(200_000);
    const [last] = await log.read(199_999, 1);
    expect(last?.seq).toBe(200_000);
  });
});
