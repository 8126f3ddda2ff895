import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { WaybillError } from "./errors.ts";
import { type MetricCondition, readMetricFilters, readMetricGate } from "./metric-condition.ts";
import { judgeMetric, metricOf } from "./metric-judgement.ts";

const gate = (text: string) => readMetricGate(text, "--if");

/** The error that reading gives; undefined when it can be read. */
function refusalOf(text: string): WaybillError | undefined {
  try {
    gate(text);
    return undefined;
  } catch (error) {
    return error as WaybillError;
  }
}

describe("a condition on a metric", () => {
  it.each<[string, Omit<MetricCondition, "text">]>([
    ["val_loss<0.03", { metric: "val_loss", operator: "<", value: 0.03 }],
    ["  val_loss  <=  -1.5e-3 ", { metric: "val_loss", operator: "<=", value: -0.0015 }],
    ["metrics/mAP50-95 > .5", { metric: "metrics/mAP50-95", operator: ">", value: 0.5 }],
    ["mAP@0.5 >= 5.", { metric: "mAP@0.5", operator: ">=", value: 5 }],
    ["val.loss == 1", { metric: "val.loss", operator: "==", value: 1 }],
    ['"map50(B), best" != 0', { metric: "map50(B), best", operator: "!=", value: 0 }],
    ["val_loss < current", { metric: "val_loss", operator: "<", value: { operator: "+", by: 0 } }],
    [
      "val_loss<current*0.98",
      { metric: "val_loss", operator: "<", value: { operator: "*", by: 0.98 } },
    ],
    [
      "current > current - -1",
      { metric: "current", operator: ">", value: { operator: "-", by: -1 } },
    ],
    ["genauigkeit_größe > +0.9", { metric: "genauigkeit_größe", operator: ">", value: 0.9 }],
  ])("%s", (text, read) => {
    expect(gate(text)).toEqual({ text: text.trim(), ...read });
  });

  it.each([
    ["", /name is missing.*character 1\)/],
    ["<3", /name is missing.*character 1\)/],
    ["val_loss", /an operator is missing; there are <=.*character 9\)/],
    ["val_loss = 3", /= is no operator.*character 10\)/],
    ["val_loss =< 3", /=< is no operator.*character 10\)/],
    ["val_loss < ", /a number, or `current`, is missing \(at character 12\)/],
    ["val_loss < curent", /curent is not a number, or `current` \(at character 12\)/],
    ["val_loss < NaN", /NaN is not a number/],
    ["val_loss < Infinity", /Infinity is not a number/],
    ["val_loss < 1e999", /1e999 is too large/],
    ["val_loss < 1.2.3", /1.2.3 is not a number/],
    ["val_loss < current /2", /\/2 is too much here \(at character 20\)/],
    ["val_loss < current *", /a number is missing \(at character 21\)/],
    ["val_loss < 0.3 && acc > 1", /&& is too much here \(at character 16\)/],
    ["val_loss < 0.3, acc > 1", /one condition only \(at character 17\)/],
    ["x".repeat(600), /too long/],
  ])("%s is refused, naming the character", (text, message) => {
    expect(() => gate(text)).toThrow(message);
    expect(() => gate(text)).toThrow(expect.objectContaining({ code: "invalid_request" }));
  });

  it("stands beside others in a query, with commas, and compares with numbers there", () => {
    const read = readMetricFilters('loss<0.1, "a,b" >= 2,acc>0.9', "--metric");
    expect(read.map(({ metric, value }) => [metric, value])).toEqual([
      ["loss", 0.1],
      ["a,b", 2],
      ["acc", 0.9],
    ]);
    expect(() => readMetricFilters("loss<1,acc>current", "--metric")).toThrow(
      /compares with numbers.*character 12\)/,
    );
  });

  it("is read again from its own text", () => {
    const name = fc.stringMatching(/^[a-z_][a-z0-9_./@:%-]{0,12}$/);
    const number = fc.double({ noNaN: true, noDefaultInfinity: true });
    const value = fc.oneof(
      number.map(String),
      fc.tuple(fc.constantFrom("*", "+", "-"), number).map(([sign, by]) => `current ${sign} ${by}`),
    );
    fc.assert(
      fc.property(name, fc.constantFrom("<", "<=", ">", ">=", "==", "!="), value, (n, op, val) => {
        const read = gate(`${n} ${op} ${val}`);
        expect(read).toMatchObject({ metric: n, operator: op });
        expect(gate(read.text)).toEqual(read);
      }),
    );
  });

  it("ends in a condition or in a clear refusal, whatever is written", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[ab_.<>=!"',*+ 019e/curent-]{0,20}$/), (text) => {
        const refusal = refusalOf(text);
        expect(refusal?.code ?? "invalid_request").toBe("invalid_request");
        expect(refusal?.message ?? "at character 1)").toMatch(/at character \d+\)$/);
      }),
    );
  });
});

describe("a metric", () => {
  const metrics = {
    loss: 0.1,
    "val.loss": 0.2,
    val: { loss: 0.3, acc: 0.9, "top.1": 0.5 },
    diverged: "NaN",
    gone: null,
    list: [1],
  };

  it("is found by its name, then by its parts", () => {
    expect(metricOf(metrics, "loss")).toBe(0.1);
    expect(metricOf(metrics, "val.loss")).toBe(0.2);
    expect(metricOf(metrics, "val.acc")).toBe(0.9);
    expect(metricOf(metrics, "val.top.1")).toBe(0.5);
  });

  it("is a finite number or nothing", () => {
    for (const name of ["diverged", "gone", "list", "list.0", "val", "toString", "__proto__.x"]) {
      expect(metricOf(metrics, name), name).toBeUndefined();
    }
    expect(metricOf({ loss: Number.NaN }, "loss")).toBeUndefined();
  });
});

describe("judging", () => {
  it.each([
    ["loss < 0.03", { loss: 0.02 }, undefined, true, "loss is 0.02, < 0.03"],
    ["loss < 0.03", { loss: 0.03 }, undefined, false, "loss is 0.03, not < 0.03"],
    ["loss <= 0.03", { loss: 0.03 }, undefined, true, "loss is 0.03, <= 0.03"],
    ["loss != 1", { loss: 1 }, undefined, false, "loss is 1, not != 1"],
    ["loss == 1", { loss: 1 }, undefined, true, "loss is 1, == 1"],
    ["loss < current", { loss: 1 }, { loss: 2 }, true, "loss is 1, < 2"],
    ["loss < current * 0.5", { loss: 1 }, { loss: 2 }, false, "loss is 1, not < 1"],
    ["acc > current + 0.5", { acc: 3 }, { acc: 2 }, true, "acc is 3, > 2.5"],
    ["acc >= current - 0.5", { acc: 1 }, { acc: 2 }, false, "acc is 1, not >= 1.5"],
    ["loss < current", { loss: 1 }, undefined, true, "there is no current model; loss is 1"],
    ["loss < current", { loss: 1 }, {}, true, "the current model has no metric loss; loss is 1"],
    [
      "loss < current",
      { loss: 1 },
      { loss: "NaN" },
      true,
      "the current model has no number as loss (NaN); loss is 1",
    ],
    ["loss < current", {}, undefined, false, "the model has no metric loss"],
    ["loss != 0", { loss: "NaN" }, undefined, false, "the model has no number as loss (NaN)"],
  ])("%s of %j against %j", (text, candidate, current, holds, reason) => {
    expect(judgeMetric(gate(text), candidate, current)).toMatchObject({ holds, reason });
  });

  it("tells both values of a comparison with the current model", () => {
    const judged = judgeMetric(gate("loss < current"), { loss: 1 }, { loss: 2 });
    expect(judged).toMatchObject({ candidate: 1, current: 2 });
    expect(judgeMetric(gate("loss < 3"), { loss: 1 }, { loss: 2 })).not.toHaveProperty("current");
  });
});
