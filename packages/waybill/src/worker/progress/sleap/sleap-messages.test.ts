import { describe, expect, it } from "vitest";
import { SleapMessages } from "./sleap-messages.ts";

function messages() {
  let nowMs = 0;
  const sleap = new SleapMessages(() => nowMs);
  const read = (message: Record<string, unknown>) => sleap.read(JSON.stringify(message));
  return { sleap, read, pass: (ms: number) => (nowMs += ms) };
}

const metric = (data: Record<string, unknown>) => ({ type: "metric", data, source: "sleap" });

// What jsonpickle makes of numpy.float32(0.25), then of numpy.float32(0.5): the type is written out once.
const FLOAT32 =
  '{"py/reduce": [{"py/function": "numpy._core.multiarray.scalar"}, {"py/tuple": [{"py/reduce": [{"py/type": "numpy.dtype"}, {"py/tuple": ["f4", false, true]}, {"py/tuple": [3, "<", null, null, null, -1, -1, 0]}]}, {"py/b64": "AACAPg=="}]}]}';
const FLOAT32_AGAIN =
  '{"py/reduce": [{"py/type": "numpy.core.multiarray.scalar"}, {"py/tuple": [{"py/id": 2}, {"py/b64": "AAAAPw=="}]}]}';

describe("messages of SLEAP", () => {
  it("tell epochs with the values SLEAP logs, under its names", () => {
    const { read } = messages();
    expect(read({ what: "centroid", event: "train_begin", logs: null })).toEqual([
      { type: "log", stream: "waybill", line: "SLEAP: training of centroid begins" },
    ]);
    expect(read({ what: "centroid", event: "epoch_begin", epoch: 3, logs: null })).toEqual([]);
    expect(
      read({
        what: "centroid",
        event: "epoch_end",
        epoch: 3,
        logs: { loss: 0.5, val_loss: 0.25, lr: 1e-4 },
      }),
    ).toEqual([metric({ what: "centroid", epoch: 3, loss: 0.5, val_loss: 0.25, lr: 1e-4 })]);
    expect(read({ what: "centroid", event: "train_end", logs: null })).toEqual([
      { type: "log", stream: "waybill", line: "SLEAP: training of centroid ends" },
    ]);
  });

  it("tell batches four times a second at most, the newest one, and the last before an epoch's end", () => {
    const { read, pass } = messages();
    const batch = (n: number) =>
      read({ what: "", event: "batch_end", batch: n, logs: { loss: n } });
    read({ what: "", event: "epoch_begin", epoch: 1 });
    expect(batch(0)).toEqual([metric({ epoch: 1, batch: 0, loss: 0 })]);
    pass(100);
    expect(batch(1)).toEqual([]);
    expect(batch(2)).toEqual([]);
    pass(200);
    expect(batch(3)).toEqual([metric({ epoch: 1, batch: 3, loss: 3 })]);
    expect(batch(4)).toEqual([]);
    expect(read({ what: "", event: "epoch_end", epoch: 1, logs: { loss: 9 } })).toEqual([
      metric({ epoch: 1, batch: 4, loss: 4 }),
      metric({ epoch: 1, loss: 9 }),
    ]);
  });

  it("may hold NumPy's numbers as jsonpickle writes them, and values that are not finite", () => {
    const text = `{"what": "", "event": "epoch_end", "epoch": 0, "logs": {"a": ${FLOAT32}, "b": ${FLOAT32_AGAIN}, "lr": NaN, "name": "x"}}`;
    expect(messages().sleap.read(text)).toEqual([metric({ epoch: 0, a: 0.25, b: 0.5, lr: "NaN" })]);
  });

  it("that say nothing in numbers are nothing, and what is none of SLEAP's is told from them", () => {
    const { read, sleap } = messages();
    expect(read({ what: "", event: "batch_start", batch: 1, logs: null })).toEqual([]);
    expect(read({ what: "", event: "batch_end", batch: 1, logs: {} })).toEqual([]);
    expect(read({ hello: 1 })).toBeUndefined();
    expect(sleap.read("no json")).toBeUndefined();
  });
});
