import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Point, frameOf, sparkline } from "./sparkline.ts";

const drawn = (curves: Point[][], width = 40) => {
  const frame = frameOf(curves, width);
  return frame === undefined ? [] : curves.map((curve) => sparkline(curve, frame));
};
const line = (...ys: number[]): Point[] => ys.map((y, x) => [x, y]);

describe("a sparkline", () => {
  it("goes from the lowest to the highest level", () => {
    expect(drawn([line(0, 1, 2, 3, 4, 5, 6, 7)])).toEqual(["▁▂▃▄▅▆▇█"]);
  });

  it("shares its scale and its places with those beside it", () => {
    expect(drawn([line(0, 7), [[1, 3.5]]])).toEqual(["▁█", " ▅"]);
    expect(drawn([line(7, 6, 5, 4), line(7, 0)])).toEqual(["█▇▆▅", "█▁"]);
  });

  it("has means where there are more points than columns, and holds a value between points", () => {
    expect(drawn([line(0, 0, 0, 0, 8, 8, 8, 8)], 2)).toEqual(["▁█"]);
    const sparse: Point[] = [
      [0, 0],
      [9, 1],
    ];
    expect(drawn([sparse, line(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)])[0]).toBe("▁▁▁▁▁▁▁▁▁█");
  });

  it("draws a flat curve, and one point", () => {
    expect(drawn([line(3, 3, 3)])).toEqual(["▁▁▁"]);
    expect(drawn([line(3)])).toEqual(["▁"]);
    expect(drawn([[]])).toEqual([]);
  });

  it("is never wider than asked, whatever the points", () => {
    const finite = fc.double({ noNaN: true, min: -1e6, max: 1e6 });
    const curves = fc.array(fc.array(fc.tuple(finite, finite), { maxLength: 50 }), {
      minLength: 1,
    });
    fc.assert(
      fc.property(curves, fc.integer({ min: 1, max: 30 }), (points, width) => {
        for (const text of drawn(points, width)) {
          expect(text.length).toBeLessThanOrEqual(width);
          expect(text).toMatch(/^ *[▁▂▃▄▅▆▇█]*$/);
        }
      }),
    );
  });
});
