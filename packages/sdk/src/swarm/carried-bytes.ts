// What a connection's channels have carried since its pair goes through a TURN server, beside what its statistics say:
// those leave out some bytes, or are gone when the connection is.
import { type SelectedPair, isRelayed } from "./selected-pair.ts";

export class CarriedBytes {
  /** The counts of the channels when the pair was last seen to be none of a TURN server: those cost nobody anything. */
  #free = { sent: 0, received: 0 };

  /** The pair with counts that are no less than what the channels have carried through a TURN server. */
  least(pair: SelectedPair, sent: number, received: number): SelectedPair {
    if (!isRelayed(pair)) this.#free = { sent, received };
    return {
      ...pair,
      sentBytes: Math.max(pair.sentBytes, sent - this.#free.sent),
      receivedBytes: Math.max(pair.receivedBytes, received - this.#free.received),
    };
  }
}
