// Tells the hub how many bytes each connection has moved through a TURN server, as this end's own statistics count them
// (signaling.md, `relay.usage`), and knows whether the room's budget for them is used up.
import type { PeerId, RelayBudget } from "../protocol/index.ts";
import { type SelectedPair, isRelayed } from "./selected-pair.ts";
import type { SignalingPort } from "./signaling-port.ts";

export class RelayMeter {
  readonly #signaling: SignalingPort;
  readonly #expected = new Set<Promise<void>>();
  #budget: RelayBudget | undefined;

  constructor(signaling: SignalingPort) {
    this.#signaling = signaling;
    this.#budget = signaling.welcome?.relayBudget;
  }

  /** Whether bulk may go through a TURN server; control always may. */
  get bulkAllowed(): boolean {
    return this.#budget?.exhausted !== true;
  }

  setBudget(budget: RelayBudget | undefined): void {
    this.#budget = budget;
  }

  /** A connection was closed, and is counted for the last time when this resolves. */
  expect(counted: Promise<void>): void {
    const settled = counted.finally(() => this.#expected.delete(settled));
    this.#expected.add(settled);
  }

  /** Resolves when every connection that was closed is counted. */
  async settled(): Promise<void> {
    await Promise.all(this.#expected);
  }

  /** Counts are cumulative, so one that is lost is made good by the next. */
  report(connection: string, peer: PeerId, pair: SelectedPair): void {
    if (!isRelayed(pair)) return;
    const { sentBytes, receivedBytes } = pair;
    try {
      this.#signaling.send({ type: "relay.usage", connection, peer, sentBytes, receivedBytes });
    } catch {
      // The hub is away.
    }
  }
}
