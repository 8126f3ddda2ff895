// Progress of a push or a pull: JSON lines, a redrawn bar on a terminal, or a plain line now and then.
import { bar, formatBytes, formatRate, formatSeconds } from "./format.ts";
import type { Output } from "./output.ts";

export type TransferTick = {
  /** Bytes that are where they belong, whatever way they came. */
  readonly bytes: number;
  readonly total: number;
  /** Bytes this process put on the wire, resends included (uploads only). */
  readonly sentBytes?: number;
};

/** JSON progress lines come at most this often. */
const JSON_EVERY_MS = 200;
/** Plain lines for logs. */
const PLAIN_EVERY_MS = 5000;
/** Window over which the shown rate is averaged. */
const RATE_WINDOW_MS = 3000;

/** Returns the callback to feed with ticks. */
export function transferProgress(
  output: Output,
  label: string,
  now = performance.now.bind(performance),
) {
  let lastMs = -Infinity;
  const startMs = now();
  let window: { atMs: number; bytes: number }[] = [];
  return (tick: TransferTick): void => {
    const nowMs = now();
    const last = tick.bytes >= tick.total;
    const everyMs = output.json ? JSON_EVERY_MS : output.interactive ? 0 : PLAIN_EVERY_MS;
    if (!last && nowMs - lastMs < everyMs) return;
    lastMs = nowMs;
    output.record({ type: "progress", ...tick });
    window = [
      ...window.filter((one) => nowMs - one.atMs <= RATE_WINDOW_MS),
      { atMs: nowMs, bytes: tick.bytes },
    ];
    const first = window[0] ?? { atMs: startMs, bytes: 0 };
    const seconds = (nowMs - first.atMs) / 1000;
    const rate = seconds > 0 ? (tick.bytes - first.bytes) / seconds : 0;
    const eta = rate > 0 ? formatSeconds((tick.total - tick.bytes) / rate) : "–";
    const share = tick.total === 0 ? 1 : tick.bytes / tick.total;
    const text = `${(share * 100).toFixed(0).padStart(3)} %  ${formatBytes(tick.bytes)} of ${formatBytes(tick.total)}  ${formatRate(rate, 1)}  ETA ${eta}`;
    if (output.interactive) output.status([`${label}  ${bar(share)} ${text}`], last);
    else if (!last && nowMs - startMs > PLAIN_EVERY_MS / 2) output.note(`${label}  ${text}`);
  };
}
