import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameReader, decodeCommand, encodeFrame, encodeGreeting, encodeReady } from "./frames.ts";

// Recorded from libzmq 4.3.5: a PUB socket that connects, is subscribed to, and sends two strings.
const GREETING_31 = `ff00000000000000017f0301${Buffer.from("NULL").toString("hex")}${"00".repeat(48)}`;
const READY_PUB = "04190552454144590b536f636b65742d5479706500000003505542";
const READY_SUB = "04190552454144590b536f636b65742d5479706500000003535542";
const SHORT = "00077b2261223a317d";
const LONG = `02000000000000012c${"78".repeat(300)}`;
/** What a SUB socket says to a peer of version 3.0 to have everything. */
const SUBSCRIBE_ALL = "000101";

const bytes = (hex: string) => Buffer.from(hex, "hex");

describe("frames of ZMTP 3.0", () => {
  it("are read as libzmq writes them, however they are cut", () => {
    const all = bytes(GREETING_31 + READY_PUB + SHORT + LONG + SUBSCRIBE_ALL);
    fc.assert(
      fc.property(fc.array(fc.nat(all.length), { maxLength: 12 }), (cuts) => {
        const reader = new FrameReader();
        const ends = [...cuts.sort((a, b) => a - b), all.length];
        const frames = ends.flatMap((end, i) => reader.push(all.subarray(ends[i - 1] ?? 0, end)));
        expect(frames.map(({ command }) => command)).toEqual([true, false, false, false]);
        expect(frames.map(({ body }) => body.toString("latin1"))).toEqual([
          "\u0005READY\u000bSocket-Type\u0000\u0000\u0000\u0003PUB",
          '{"a":1}',
          "x".repeat(300),
          "\u0001",
        ]);
      }),
    );
  });

  it("are written as libzmq writes them", () => {
    expect(encodeReady("PUB").toString("hex")).toBe(READY_PUB);
    expect(encodeReady("SUB").toString("hex")).toBe(READY_SUB);
    const message = (text: string) =>
      encodeFrame({ command: false, more: false, body: Buffer.from(text) }).toString("hex");
    expect(message('{"a":1}')).toBe(SHORT);
    expect(message("x".repeat(300))).toBe(LONG);
    expect(message("\u0001")).toBe(SUBSCRIBE_ALL);
  });

  it("begin with the greeting of version 3.0, without authentication", () => {
    const greeting = encodeGreeting();
    expect(greeting).toHaveLength(64);
    expect(greeting.toString("hex")).toBe(GREETING_31.replace("7f0301", "7f0300"));
  });

  it("name their commands", () => {
    const [ready] = new FrameReader().push(bytes(GREETING_31 + READY_SUB));
    expect(decodeCommand(ready?.body ?? Buffer.alloc(0)).name).toBe("READY");
    expect(() => decodeCommand(bytes("0552"))).toThrow("shorter than its name");
  });

  it("of what is no ZeroMQ peer are refused", () => {
    const push = (chunk: Buffer) => () => new FrameReader().push(chunk);
    expect(push(Buffer.from("GET / HTTP/1.1\r\n"))).toThrow("greeting");
    expect(push(bytes("ff00000000000000017f0100"))).toThrow("version below 3");
    const curve = bytes(GREETING_31);
    curve.write("CURVE", 12);
    expect(push(curve)).toThrow("authenticated");
    expect(push(bytes(`${GREETING_31}02000000ffffffffff`))).toThrow("a frame has");
  });
});
