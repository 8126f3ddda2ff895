import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { JobEvent, NewJobEvent } from "@waybill/sdk/protocol";
import { EventLog } from "../events/event-log.ts";
import { OutputReader } from "./output-reader.ts";
import { Results } from "./results.ts";

const out = (line: string): NewJobEvent => ({ type: "log", stream: "stdout", line });
const err = (line: string): NewJobEvent => ({ type: "log", stream: "stderr", line });
const metric = (data: Record<string, unknown>): NewJobEvent => ({ type: "metric", data });

const STDOUT = [
  "begin\n",
  '{"loss":-0.0,"at":NaN}\n',
  '{"loss":1}\n',
  "10 %\r20 %\r30 %\r",
  "same\nsame\nsame\n",
  '{"type":"sample","file":"a.png"}\n',
  '{"type":"checkpoint","path":"c","step":1}\n',
  "half done\r",
  '{"loss":0.5}\n',
  '{"type":"sample","file":"b.png"}\n',
  `${"ü".repeat(20_000)}\n`,
  '{"type":"result","best":3}\n',
  "end",
].join("");
const STDERR = "warned\nwarned\n1/2\r2/2\nfailed";

/** What a daemon that read everything may have logged, other events among it. */
const LOGGED: NewJobEvent[] = [
  out("begin"),
  { type: "state", state: "running" },
  err("warned"),
  metric({ loss: 0, at: "NaN" }),
  metric({ loss: 1 }),
  out("10 %"),
  out("30 %"),
  out("same"),
  { type: "log", stream: "waybill", line: "same" },
  err("warned"),
  err("1/2"),
  out("same"),
  out("same"),
  { type: "checkpoint", data: { type: "checkpoint", path: "c", step: 1 } },
  err("2/2"),
  out("half done"),
  metric({ loss: 0.5 }),
  err("failed"),
];

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-again-"));
  await writeFile(join(dir, "out"), STDOUT);
  await writeFile(join(dir, "err"), STDERR);
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function readAgain(logged: readonly NewJobEvent[]) {
  const open = () =>
    EventLog.open({
      path: join(dir, `${logged.length}.jsonl`),
      attempt: 1,
      firstSeq: 7,
      seqReserved: 100_000,
      now: Date.now,
      log: () => undefined,
    });
  const former = await open();
  former.appendAll(logged);
  await former.close();
  const log = await open();
  const results = new Results();
  const samples: string[] = [];
  const reader = new OutputReader({
    stdout: join(dir, "out"),
    stderr: join(dir, "err"),
    log,
    results,
    pollMs: 50,
    onSample: (file) => samples.push(file),
    listener: { onAdjusted: () => undefined, onCheckpoint: () => undefined },
    signal: AbortSignal.timeout(60_000),
    again: true,
  });
  await reader.start();
  await reader.finish();
  await log.written();
  const events: JobEvent[] = [];
  while (events.length < log.lastSeq - 6) {
    events.push(...(await log.read(6 + events.length, 10_000)));
  }
  await reader.stop();
  await log.close();
  return { events, samples, final: results.final, lastErrors: reader.lastErrors };
}

/** Lines whose place in the log is promised: those of one stream, but for a progress bar's states. */
function lines(events: readonly (JobEvent | NewJobEvent)[], stream: "stdout" | "stderr") {
  return events.flatMap((event) => {
    if (event.type === "log") {
      const shown = event.stream === stream && !/%|\/|half/.test(event.line);
      return shown ? [event.line.slice(0, 10)] : [];
    }
    if (stream === "stderr" || (event.type !== "metric" && event.type !== "checkpoint")) return [];
    return [JSON.stringify(event.data)];
  });
}

describe("output that is read again", () => {
  it("adds what the log lacks, wherever the former daemon died", async () => {
    const whole = lines([...LOGGED, out("ü".repeat(10)), out("end")], "stdout");
    for (let logged = 0; logged <= LOGGED.length; logged++) {
      const { events, final, lastErrors } = await readAgain(LOGGED.slice(0, logged));
      expect(lines(events, "stdout")).toEqual(whole);
      expect(lines(events, "stderr")).toEqual(["warned", "warned", "failed"]);
      expect(final).toEqual({ loss: 0.5, at: "NaN", best: 3 });
      expect(lastErrors).toMatch(/warned \| .*failed$/);
    }
  });

  it("takes the samples that were printed after the last logged line", async () => {
    expect((await readAgain([])).samples).toEqual(["a.png", "b.png"]);
    const upTo = LOGGED.findIndex(({ type }) => type === "checkpoint") + 1;
    expect((await readAgain(LOGGED.slice(0, upTo))).samples).toEqual(["b.png"]);
  });

  it("adds nothing a second time", async () => {
    const { events: first } = await readAgain(LOGGED);
    const { events: second } = await readAgain(
      first.map(({ seq: _seq, time: _time, attempt: _attempt, ...event }) => event),
    );
    expect(second.length).toBe(first.length);
  });

  it("repeats a line that the log has otherwise, and nothing else", async () => {
    const otherwise = LOGGED.map((event) =>
      event.type === "metric" && event.data["loss"] === 1 ? metric({ loss: 1, more: 2 }) : event,
    );
    const { events } = await readAgain(otherwise);
    const added = lines(events.slice(otherwise.length), "stdout");
    expect(added).toEqual(['{"loss":1}', "ü".repeat(10), "end"]);
  });

  it("knows a metric again whose keys JavaScript gives a meaning", async () => {
    const special = '{"loss":1,"constructor":2,"prototype":3,"__proto__":{"a":1}}\n';
    await writeFile(join(dir, "out"), `a\n${special}b\n`);
    const { events: first } = await readAgain([]);
    expect(lines(first, "stdout")).toEqual(["a", '{"loss":1}', "b"]);
    const { events: second } = await readAgain(
      first.map(({ seq: _seq, time: _time, attempt: _attempt, ...event }) => event),
    );
    expect(second.length).toBe(first.length);
  });

  it("goes along a log of many pages", async () => {
    const many = Array.from({ length: 5000 }, (_, i) => out(`line ${i % 7}`));
    await writeFile(join(dir, "out"), many.map((_, i) => `line ${i % 7}\n`).join(""));
    for (const logged of [0, 3333, 5000]) {
      const { events } = await readAgain(many.slice(0, logged));
      expect(lines(events, "stdout")).toEqual(lines(many, "stdout"));
    }
  });
});
