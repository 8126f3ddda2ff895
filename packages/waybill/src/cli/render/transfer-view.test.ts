import { Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { Output } from "./output.ts";
import { TransferView } from "./transfer-view.ts";

class Text extends Writable {
  text = "";
  readonly isTTY: boolean;
  readonly columns = 80;
  constructor(isTTY = false) {
    super();
    this.isTTY = isTTY;
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
  get lines(): string[] {
    return this.text.split("\n").filter((line) => line !== "");
  }
}

function viewOn(init: { json?: boolean; tty?: boolean }) {
  const stdout = new Text();
  const stderr = new Text(init.tty);
  const clock = { ms: 0 };
  const output = new Output({ json: init.json === true, stdout, stderr });
  const view = new TransferView({ output, label: "push digits", now: () => clock.ms });
  const at = (ms: number, bytes: number) => {
    clock.ms = ms;
    view.tick({ bytes, total: 1000, sentBytes: bytes });
  };
  return { stdout, stderr, clock, view, at };
}

describe("what a transfer shows", () => {
  it("is a JSON line at most every 200 ms, and the last facts at the end", () => {
    const { stdout, stderr, view, at } = viewOn({ json: true });
    for (let ms = 0; ms <= 1000; ms += 50) at(ms, ms);
    view.stop();
    view.stop();
    const records = stdout.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(records.map((one) => one["bytes"])).toEqual([0, 200, 400, 600, 800, 1000]);
    expect(records.at(-1)).toEqual({
      type: "progress",
      bytes: 1000,
      total: 1000,
      sentBytes: 1000,
      savedBytes: 0,
      rateBytesPerSecond: 1000,
      etaSeconds: 0,
      elapsedSeconds: 1,
      idleSeconds: 0,
    });
    expect(stderr.text).toBe("");
  });

  it("ends with the last facts even when they came too soon after others", () => {
    const { stdout, view, at } = viewOn({ json: true });
    at(0, 0);
    at(10, 1000);
    view.stop();
    expect(stdout.lines.map((line) => (JSON.parse(line) as { bytes: number }).bytes)).toEqual([
      0, 1000,
    ]);
  });

  it("goes on in JSON every five seconds while nothing comes", () => {
    const { stdout, clock, view, at } = viewOn({ json: true });
    at(0, 0);
    for (clock.ms = 1000; clock.ms <= 11_000; clock.ms += 1000) view.refresh();
    view.stop();
    const idle = stdout.lines.map(
      (line) => (JSON.parse(line) as { idleSeconds: number }).idleSeconds,
    );
    expect(idle).toEqual([0, 5, 10]);
  });

  it("is a plain line every ten seconds without a terminal, and none of a short transfer", () => {
    const short = viewOn({});
    for (let ms = 0; ms <= 9900; ms += 100) short.at(ms, ms / 10);
    short.view.stop();
    expect(short.stderr.text).toBe("");
    const long = viewOn({});
    for (let ms = 0; ms <= 30_000; ms += 100) long.at(ms, ms / 31);
    long.view.stop();
    expect(long.stderr.lines).toHaveLength(3);
    expect(long.stderr.lines[0]).toMatch(
      /^push digits {3}32 % {2}323 B of 1000 B {2}32 B\/s {2}ETA/,
    );
    expect(long.stderr.text).not.toContain("\u001B");
  });

  it("is redrawn on a terminal, also while nothing comes, and ends at 100 %", () => {
    const { stderr, clock, view, at } = viewOn({ tty: true });
    at(0, 0);
    at(1000, 500);
    clock.ms = 9000;
    view.refresh();
    at(10_000, 1000);
    view.stop();
    expect(stderr.text).toContain("100 %");
    expect(stderr.text).toContain("nothing for 8.0 s");
  });

  it("is a line every ten seconds also before anything has come", () => {
    const { stderr, clock, view, at } = viewOn({});
    for (; clock.ms <= 21_000; clock.ms += 1000) view.refresh();
    expect(stderr.lines).toEqual([
      "push digits  nothing has moved yet  10.0 s",
      "push digits  nothing has moved yet  20.0 s",
    ]);
    at(22_000, 0);
    for (clock.ms = 23_000; clock.ms <= 31_000; clock.ms += 1000) view.refresh();
    view.stop();
    expect(stderr.lines).toHaveLength(3);
    expect(stderr.lines[2]).toMatch(/^push digits .*nothing for 8.0 s$/);
  });

  it("is a line on a terminal while it waits, which is gone when it fails", () => {
    const { stderr, clock, view } = viewOn({ tty: true });
    clock.ms = 1000;
    view.refresh();
    expect(stderr.text).toBe("");
    clock.ms = 3000;
    view.refresh();
    expect(stderr.text).toContain("nothing has moved yet  3.0 s");
    view.stop();
    expect(stderr.text.endsWith("\u001B[1A\u001B[J")).toBe(true);
  });

  it("is nothing for a transfer that never began", () => {
    const { stdout, view } = viewOn({ json: true });
    view.refresh();
    view.stop();
    expect(stdout.text).toBe("");
  });
});
