// Long synchronous work in short slices: sockets and timers are served in between.
import { nextTurn } from "#platform/turn";

/** Short enough that a relay, a heartbeat or a progress line is not late for a person. */
const SLICE_MS = 8;

/** Call `pause` often; it gives way when the slice is used up. */
export class TimeSlice {
  #since = performance.now();

  /** Throws the signal's reason when it is aborted. */
  async pause(signal?: AbortSignal): Promise<void> {
    if (performance.now() - this.#since < SLICE_MS) return;
    await nextTurn();
    signal?.throwIfAborted();
    this.#since = performance.now();
  }
}
