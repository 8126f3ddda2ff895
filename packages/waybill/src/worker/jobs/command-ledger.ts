// Commands of one job by id: each acts once, and whoever sends it again is told where it stands.
import type { CommandAck } from "../ports.ts";

type Entry = { last: CommandAck | undefined; readonly replies: Set<(ack: CommandAck) => void> };

/** More commands than anybody sends to one job; the oldest are forgotten first. */
const MAX_COMMANDS = 1000;

export class CommandLedger {
  readonly #entries = new Map<string, Entry>();

  /** Whether the command is new; `reply` hears of its stages from here on, at once of the last one. */
  take(id: string, reply: (ack: CommandAck) => void): boolean {
    const known = this.#entries.get(id);
    if (known !== undefined) {
      known.replies.add(reply);
      if (known.last !== undefined) reply(known.last);
      return false;
    }
    this.#entries.set(id, { last: undefined, replies: new Set([reply]) });
    const oldest = this.#entries.size > MAX_COMMANDS ? this.#entries.keys().next() : undefined;
    if (oldest?.done === false) this.#entries.delete(oldest.value);
    return true;
  }

  /** Where a command stands that a former daemon has answered. */
  restore(id: string, last: CommandAck): void {
    this.#entries.set(id, { last, replies: new Set() });
  }

  /** Tells everybody who sent the command. */
  settle(id: string, ack: CommandAck): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.last = ack;
    for (const reply of entry.replies) reply(ack);
    if (ack.stage !== "received") entry.replies.clear();
  }
}
