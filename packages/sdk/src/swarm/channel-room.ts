// When a data channel's buffer is low again. `bufferedamountlow` fires on crossing the threshold only.
import type { Clock } from "./clock.ts";

/** Calls `run` once when `channel` holds at most `lowBytes`, its threshold; the result cancels it. */
export function whenChannelLow(
  channel: RTCDataChannel,
  lowBytes: number,
  clock: Clock,
  run: () => void,
): () => void {
  if (channel.bufferedAmount <= lowBytes) {
    // The event will not come: the threshold was crossed already.
    return clock.after(0, run);
  }
  const onLow = () => {
    channel.removeEventListener("bufferedamountlow", onLow);
    run();
  };
  channel.addEventListener("bufferedamountlow", onLow);
  return () => channel.removeEventListener("bufferedamountlow", onLow);
}
