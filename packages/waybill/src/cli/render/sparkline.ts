// A curve in one line of text: ▁▂▃▄▅▆▇█.

const LEVELS = "▁▂▃▄▅▆▇█";

export type Point = readonly [x: number, y: number];
/** What curves that are compared share, so that equal heights and places mean equal things. */
export type Frame = {
  readonly from: number;
  readonly to: number;
  readonly low: number;
  readonly high: number;
  readonly columns: number;
};

/** The frame that holds all curves, at most `width` columns wide; undefined when there is no point. */
export function frameOf(curves: readonly (readonly Point[])[], width: number): Frame | undefined {
  const points = curves.flat();
  const [first] = points;
  if (first === undefined) return undefined;
  let [from, to, low, high] = [first[0], first[0], first[1], first[1]];
  for (const [x, y] of points) {
    from = Math.min(from, x);
    to = Math.max(to, x);
    low = Math.min(low, y);
    high = Math.max(high, y);
  }
  const most = Math.max(...curves.map((curve) => curve.length));
  return { from, to, low, high, columns: Math.max(1, Math.min(width, most)) };
}

/** One curve in a frame: each column the mean of its points; between points the last one holds, outside nothing is drawn. */
export function sparkline(curve: readonly Point[], frame: Frame): string {
  const sums = Array.from({ length: frame.columns }, () => ({ sum: 0, count: 0 }));
  const span = frame.to - frame.from;
  for (const [x, y] of curve) {
    const share = span === 0 ? 0 : (x - frame.from) / span;
    const cell = sums[Math.round(share * (frame.columns - 1))];
    if (cell === undefined) continue;
    cell.sum += y;
    cell.count += 1;
  }
  const last = sums.findLastIndex(({ count }) => count > 0);
  let level = " ";
  return sums
    .slice(0, last + 1)
    .map(({ sum, count }) => {
      if (count > 0) level = levelOf(sum / count, frame);
      return level;
    })
    .join("");
}

function levelOf(value: number, { low, high }: Frame): string {
  const share = high === low ? 0 : (value - low) / (high - low);
  return LEVELS[Math.round(share * (LEVELS.length - 1))] ?? " ";
}
