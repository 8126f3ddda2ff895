// docs/protocol/peer-channel.md 47: what a stream may cost either side, whatever the other one sends.
import { describe, expect, it } from "vitest";
import { FramePool } from "./frame-pool.ts";
import { IncomingStream } from "./incoming-stream.ts";
import { OutgoingStream } from "./outgoing-stream.ts";

const MIB = 1024 * 1024;

describe("the sender of a stream", () => {
  const outgoing = () => {
    const stream = new OutgoingStream({
      id: 1,
      live: false,
      pool: new FramePool(),
      frameBytes: () => 64 * 1024,
    });
    let sent = 0;
    const ready = () => {
      for (let frame = stream.take(); frame !== undefined; frame = stream.take()) {
        sent += frame.length;
      }
    };
    return { stream, ready, sentBytes: () => sent };
  };

  it("keeps at most 16 MiB for a reader that gives credit without end and acknowledges nothing", () => {
    const { stream, ready, sentBytes } = outgoing();
    stream.credit(0, Number.MAX_SAFE_INTEGER);
    for (let i = 0; i < 64; i++) {
      stream.write(new Uint8Array(MIB), undefined, ready).catch(() => undefined);
    }
    expect(sentBytes()).toBeLessThanOrEqual(16 * MIB);
    expect(sentBytes()).toBeGreaterThan(15 * MIB);
    stream.credit(MIB, Number.MAX_SAFE_INTEGER);
    ready();
    expect(sentBytes()).toBeGreaterThan(16 * MIB - 64 * 1024);
    expect(sentBytes()).toBeLessThanOrEqual(17 * MIB);
  });

  it("takes no acknowledgement of what it has not sent, nor one that goes back", async () => {
    const { stream, ready, sentBytes } = outgoing();
    stream.credit(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    expect(stream.acknowledgedBytes).toBe(0);
    await stream.write(new Uint8Array(MIB), undefined, ready);
    expect(sentBytes()).toBe(MIB);
    expect(stream.acknowledgedBytes).toBe(0);
    stream.credit(MIB, MIB);
    stream.credit(0, MIB);
    expect(stream.acknowledgedBytes).toBe(MIB);
    expect(stream.unacknowledged).toEqual([]);
  });
});

describe("the receiver of a stream", () => {
  const incoming = () => {
    const stopped: string[] = [];
    let limit = 0;
    const stream = new IncomingStream(
      {
        id: 1,
        windowBytes: () => MIB,
        credit: (_offset, given) => (limit = given),
        onStopped: (reason) => stopped.push(reason),
        onSettled: () => undefined,
      },
      undefined,
    );
    return { stream, stopped, limit: () => limit };
  };

  it("stops one whose early frames overlap, at the credit it gave", () => {
    const { stream, stopped, limit } = incoming();
    let held = 0;
    expect(() => {
      for (let offset = 1; offset + 60_000 <= limit(); offset++) {
        stream.take({ offset, payload: new Uint8Array(60_000), end: false });
        held += 60_000;
      }
    }).toThrow(/overlap/);
    expect(held).toBeLessThanOrEqual(MIB);
    expect(stopped).toHaveLength(1);
  });

  it("stops one whose frames are too small to be worth their memory", () => {
    const { stream, stopped, limit } = incoming();
    expect(() => {
      for (let offset = 1; offset < limit(); offset += 2) {
        stream.take({ offset, payload: new Uint8Array(1), end: false });
      }
    }).toThrow(/too small/);
    expect(stopped).toHaveLength(1);
  });

  it("refuses an empty frame that ends nothing, and takes one that does", async () => {
    const { stream } = incoming();
    const empty = new Uint8Array();
    expect(() => stream.take({ offset: 7, payload: empty, end: false })).toThrow(/empty/);
    stream.take({ offset: 3, payload: empty, end: true });
    stream.take({ offset: 0, payload: new Uint8Array(3), end: false });
    const pieces = [];
    for await (const piece of stream) pieces.push(piece.length);
    expect(pieces).toEqual([3]);
  });
});
