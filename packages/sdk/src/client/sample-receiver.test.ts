import * as v from "valibot";
import { beforeEach, describe, expect, it } from "vitest";
import { blake3Hex } from "../platform/index.ts";
import { type JobEventOf, JobId, LIMITS } from "../protocol/index.ts";
import { type ReceivedSample, SampleReceiver } from "./sample-receiver.ts";

const job = v.parse(JobId, "j_0123456789abcdef");
const time = "2026-01-01T00:00:00.000Z";

class Image {
  readonly content: Uint8Array;
  readonly file: string;

  constructor(text: string) {
    this.content = new TextEncoder().encode(text);
    this.file = `${blake3Hex(this.content)}.png`;
  }

  said(stage: "waiting" | "sending" | "passed" | "stored", bytes = this.content.length) {
    const { file } = this;
    const facts = { id: "s1", job, file, series: "a.png", mime: "image/png", bytes };
    return {
      type: "sample" as const,
      ...facts,
      stage,
      ...(stage === "sending" ? { stream: 7 } : {}),
    };
  }

  event(): JobEventOf<"sample"> {
    const { file } = this;
    const facts = { file, mime: "image/png", bytes: this.content.length };
    return { type: "sample", seq: 5, attempt: 1, time, data: { file: "a.png" }, ...facts };
  }
}

let shown: ReceivedSample[];
let fetched: string[];
let store: Map<string, Uint8Array>;
let receiver: SampleReceiver;
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));
/** A stream that brings these, and breaks at the end when told so. */
const bring = (chunks: readonly Uint8Array[], breaks = false) =>
  async function* accept() {
    yield* chunks;
    if (breaks) throw new Error("broken");
  };
const one = new Image("one image");

beforeEach(() => {
  shown = [];
  fetched = [];
  store = new Map([[one.file, one.content]]);
  receiver = new SampleReceiver({
    onSample: (sample) => shown.push(sample),
    fetchStored: async (file) => {
      fetched.push(file);
      return store.get(file);
    },
  });
});

describe("a viewer's sample images (peer-channel.md §5)", () => {
  it("come over the bulk channel, and are not read in the store as well (26.11)", async () => {
    receiver.hear(one.said("waiting"), undefined);
    receiver.announced(one.event());
    const { content } = one;
    receiver.hear(one.said("sending"), bring([content.subarray(0, 4), content.subarray(4)]));
    await settle();
    receiver.announced(one.event());
    await settle();
    expect(shown).toMatchObject([{ file: one.file, series: "a.png", via: "webrtc" }]);
    expect(shown[0]?.bytes).toEqual(content);
    expect(fetched).toEqual([]);
  });

  it("are read in the store when their event comes and nothing is on its way", async () => {
    receiver.announced(one.event());
    receiver.announced(one.event());
    await settle();
    receiver.announced(one.event());
    await settle();
    expect(shown).toMatchObject([{ file: one.file, series: "a.png", via: "store" }]);
    expect(fetched).toEqual([one.file]);
  });

  it("are read in the store when their way breaks, whether their event came before or comes later", async () => {
    for (const early of [true, false]) {
      shown = [];
      const image = new Image(`image ${early}`);
      store.set(image.file, image.content);
      receiver.hear(image.said("sending"), bring([image.content.subarray(0, 3)], true));
      if (early) receiver.announced(image.event());
      await settle();
      if (!early) receiver.announced(image.event());
      await settle();
      expect(shown).toMatchObject([{ file: image.file, via: "store" }]);
    }
  });

  it("are read in the store when the worker says so, or is lost", async () => {
    const two = new Image("two");
    store.set(two.file, two.content);
    for (const image of [one, two]) {
      receiver.hear(image.said("waiting"), undefined);
      receiver.announced(image.event());
    }
    receiver.hear(one.said("stored"), undefined);
    receiver.lost();
    await settle();
    expect(shown.map(({ file }) => file)).toEqual([one.file, two.file]);
  });

  it("are not read at all when a newer one has taken their place", async () => {
    receiver.hear(one.said("waiting"), undefined);
    receiver.announced(one.event());
    receiver.hear(one.said("passed"), undefined);
    receiver.announced(one.event());
    await settle();
    expect([shown, fetched]).toEqual([[], []]);
  });

  it("are shown only when their bytes are what their name says (26.11)", async () => {
    const wrong = new TextEncoder().encode("not image");
    receiver.hear(one.said("sending"), bring([wrong]));
    await settle();
    expect(shown).toEqual([]);
    store.set(one.file, wrong);
    receiver.announced(one.event());
    await settle();
    expect(shown).toEqual([]);
    // Longer than it said, or than anything may be.
    receiver.hear(one.said("sending", 3), bring([one.content]));
    receiver.hear(one.said("sending", LIMITS.sampleBytes + 1), bring([one.content]));
    await settle();
    expect(shown).toEqual([]);
  });

  it("are declined when they come again", async () => {
    receiver.hear(one.said("sending"), bring([one.content]));
    await settle();
    let left = false;
    receiver.hear(one.said("sending"), async function* accept() {
      try {
        yield one.content;
      } finally {
        left = true;
      }
    });
    await settle();
    expect([shown.length, left]).toEqual([1, true]);
  });

  it("are not shown after the watch has ended", async () => {
    receiver.hear(one.said("sending"), bring([one.content]));
    receiver.stop();
    await settle();
    expect(shown).toEqual([]);
  });

  it("that were announced are all shown before a watch ends", async () => {
    const two = new Image("two");
    const timers: (() => void)[] = [];
    const clock = {
      now: () => 0,
      after: (_: number, run: () => void) => (timers.push(run), () => {}),
    };
    store.set(two.file, two.content);
    receiver.announced(one.event());
    receiver.hear(two.said("waiting"), undefined);
    receiver.announced(two.event());
    let settled = false;
    const settling = receiver.settled(clock).then(() => (settled = true));
    await settle();
    expect([shown.length, settled]).toEqual([1, false]);
    // It does not come after all.
    for (const run of timers) run();
    await settling;
    expect(shown.map(({ file }) => file)).toEqual([one.file, two.file]);
    await receiver.settled(clock);
  });
});
