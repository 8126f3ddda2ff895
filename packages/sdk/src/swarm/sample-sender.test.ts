import { beforeEach, describe, expect, it } from "vitest";
import { type SampleImage, SampleSender } from "./sample-sender.ts";

type Stream = {
  readonly id: number;
  written: number;
  aborted: string | undefined;
  /** The viewer has it, or the stream breaks. */
  arrive(): void;
  fail(): void;
};

let streams: Stream[];
let usable: boolean;
let told: string[];
let timers: Set<() => void>;
let sender: SampleSender;

const image = (series: string, step: number, bytes = 10): SampleImage => ({
  file: `${String(step).padStart(64, "0")}.png`,
  series,
  mime: "image/png",
  bytes,
  content: new Uint8Array(bytes),
});
const settle = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  streams = [];
  usable = true;
  told = [];
  timers = new Set();
  let ids = 0;
  sender = new SampleSender({
    streams: {
      get usable() {
        return usable;
      },
      newStreamId: () => (ids += 1),
      openStream: (id) => {
        const end = Promise.withResolvers<void>();
        const stream: Stream = {
          id,
          written: 0,
          aborted: undefined,
          arrive: () => end.resolve(),
          fail: () => end.reject(new Error("broken")),
        };
        streams.push(stream);
        return {
          acknowledgedBytes: 0,
          write: async (bytes) => {
            stream.written += bytes.length;
          },
          end: () => end.promise,
          abort: (reason) => {
            stream.aborted = reason;
            end.reject(new Error(reason));
          },
        };
      },
    },
    clock: {
      now: () => 0,
      after: (_ms, run) => {
        timers.add(run);
        return () => timers.delete(run);
      },
    },
    tell: ({ series, file }, stage, stream) =>
      told.push(
        `${series}${Number(file.split(".")[0])} ${stage}${stream === undefined ? "" : ` ${stream}`}`,
      ),
  });
});

describe("sample images on their way to a viewer (peer-channel.md §5)", () => {
  it("go one at a time of a series, the newest in the place of those that wait (26.10)", async () => {
    for (let step = 1; step <= 5; step++) sender.offer(image("a", step));
    expect(told).toEqual([
      "a1 sending 1",
      "a2 waiting",
      "a2 passed",
      "a3 waiting",
      "a3 passed",
      "a4 waiting",
      "a4 passed",
      "a5 waiting",
    ]);
    told = [];
    streams[0]?.arrive();
    await settle();
    expect(told).toEqual(["a5 sending 2"]);
    streams[1]?.arrive();
    await settle();
    expect(streams.map(({ written }) => written)).toEqual([10, 10]);
    expect(timers.size).toBe(0);
  });

  it("go four at a time of all series, and the others in turn", async () => {
    for (const [i, series] of ["a", "b", "c", "d", "e", "f"].entries())
      sender.offer(image(series, i));
    expect(streams).toHaveLength(4);
    streams[2]?.arrive();
    await settle();
    expect(told.slice(-2)).toEqual(["f5 waiting", "e4 sending 5"]);
  });

  it("are left to the store above 128, or 32 MiB, that wait", () => {
    for (let i = 0; i < 4; i++) sender.offer(image(`u${i}`, 0));
    for (let i = 0; i < 130; i++) sender.offer(image(`w${i} `, 0));
    expect(told.filter((one) => one.endsWith("stored"))).toEqual(["w0 0 stored", "w1 0 stored"]);
    told = [];
    for (let i = 0; i < 33; i++) sender.offer(image(`big${i} `, 0, 1024 * 1024));
    expect(told.filter((one) => one.startsWith("big") && one.endsWith("stored"))).toEqual([
      "big0 0 stored",
    ]);
  });

  it("are left to the store when their stream breaks, or takes too long", async () => {
    sender.offer(image("a", 1));
    sender.offer(image("b", 2));
    streams[0]?.fail();
    await settle();
    for (const run of timers) run();
    await settle();
    expect(told).toEqual(["a1 sending 1", "b2 sending 2", "a1 stored", "b2 stored"]);
    expect(streams[1]?.aborted).toBe("it takes too long");
  });

  it("are left to the store without a bulk channel, those that wait as well", async () => {
    sender.offer(image("a", 1));
    sender.offer(image("a", 2));
    usable = false;
    sender.offer(image("b", 3));
    streams[0]?.fail();
    await settle();
    expect(told).toEqual(["a1 sending 1", "a2 waiting", "a1 stored", "a2 stored"]);
  });

  it("end when nobody wants them any more", async () => {
    sender.offer(image("a", 1));
    sender.offer(image("a", 2));
    sender.stop();
    await settle();
    expect(streams.map(({ aborted }) => aborted)).toEqual(["nobody wants it any more"]);
    sender.offer(image("b", 3));
    expect(told).toEqual(["a1 sending 1", "a2 waiting"]);
  });
});
