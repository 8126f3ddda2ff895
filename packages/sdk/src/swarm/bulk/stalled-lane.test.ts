// docs/protocol/peer-channel.md 48, 49: a connection that stalls holds up no stream while there is another one.
import { beforeEach, describe, expect, it } from "vitest";
import { type BulkFrame, decodeBulkFrame } from "../../protocol/index.ts";
import { BulkReceiver } from "./bulk-receiver.ts";
import { BulkSender } from "./bulk-sender.ts";
import { type Lane, Lanes } from "./lanes.ts";
import { ManualClock } from "./manual-clock.fixture.ts";

const MIB = 1024 * 1024;
const rttMs = () => 20;

let clock: ManualClock;
let lanes: Lanes;
/** What went over the connection that delivers nothing, and over the other one. */
let stalled: BulkFrame[];
let good: BulkFrame[];
let goodLane: Lane;

const add = (connection: string, sent: BulkFrame[]) =>
  lanes.add({
    connection,
    shared: false,
    maxFrameBytes: 64 * 1024,
    relayed: false,
    bufferedBytes: 0,
    send: (bytes) => {
      const frame = decodeBulkFrame(bytes.slice().buffer);
      if (frame !== undefined) sent.push(frame);
    },
    whenLow: () => () => undefined,
  });
const dataOf = (frames: readonly BulkFrame[]) =>
  frames.flatMap((frame) => (frame.type === "data" ? [frame] : []));
const bytesOf = (frames: readonly BulkFrame[]) =>
  dataOf(frames).reduce((sum, { payload }) => sum + payload.length, 0);

beforeEach(() => {
  clock = new ManualClock();
  lanes = new Lanes({ clock, rttMs, relayAllowed: () => true });
  [stalled, good] = [[], []];
  add("stalled", stalled);
  goodLane = add("good", good);
});

describe("a stream of which one connection delivers nothing", () => {
  it("is sent over the other one to its last frame, credit or not", async () => {
    const sender = new BulkSender({ lanes, clock, rttMs });
    const writer = sender.open(1, {});
    sender.credit(1, { offset: 0, limit: 16 * MIB });
    void writer.write(new Uint8Array(900_000)).then(() => writer.end());
    for (let i = 0; i < 40; i++) {
      await Promise.resolve();
      clock.advance(50);
      goodLane.confirmed(bytesOf(good));
      sender.pump();
    }
    expect(dataOf(stalled).length).toBeGreaterThan(0);
    const offsets = new Set(dataOf(good).map(({ offset }) => offset));
    for (const { offset } of dataOf(stalled)) expect(offsets).toContain(offset);
  });

  it("is not sent twice when all that is missing is the acknowledgement", async () => {
    lanes.remove("stalled");
    const other: BulkFrame[] = [];
    const otherLane = add("other", other);
    const sender = new BulkSender({ lanes, clock, rttMs });
    const writer = sender.open(1, {});
    sender.credit(1, { offset: 0, limit: 16 * MIB });
    void writer.write(new Uint8Array(900_000));
    for (let i = 0; i < 40; i++) {
      await Promise.resolve();
      clock.advance(50);
      goodLane.confirmed(bytesOf(good));
      otherLane.confirmed(bytesOf(other));
      sender.pump();
    }
    expect(bytesOf(good) + bytesOf(other)).toBe(900_000);
  });

  it("is given its credit over every connection, once a second", () => {
    const receiver = new BulkReceiver({ lanes, clock });
    receiver.accept(1, undefined);
    clock.advance(3000);
    const credits = (frames: readonly BulkFrame[]) =>
      frames.filter(({ type }) => type === "credit").length;
    expect(credits(good)).toBeGreaterThanOrEqual(3);
    expect(credits(stalled)).toBeGreaterThanOrEqual(3);
  });

  it("is given the news of its credit over both in turn", () => {
    const frame = { type: "credit", stream: 1, offset: 0, limit: 1 } as const;
    for (let i = 0; i < 4; i++) lanes.tell(frame);
    expect([stalled.length, good.length]).toEqual([2, 2]);
  });
});

describe("a frame of a stream that nobody reads", () => {
  it("is answered with abort: it is one of a link that was let go", () => {
    const receiver = new BulkReceiver({ lanes, clock });
    receiver.take(7, { offset: 0, payload: new Uint8Array(1), end: false });
    expect(good).toMatchObject([{ type: "abort", stream: 7 }]);
  });
});
