// Commands to one attempt: taken once each, and every stage told to whoever asked only when the log on disk has it.
import type { CommandAck } from "../ports.ts";
import { CommandLedger } from "./command-ledger.ts";
import type { LoggedSteps } from "./logged-steps.ts";
import type { RunParts } from "./run-parts.ts";
import type { RunEffect } from "./run-types.ts";

/** A person's name, or a program's; it is in every event of the command. */
const MAX_NAME = 128;

export class CommandDesk {
  readonly #parts: Pick<RunParts, "append" | "events">;
  readonly #ledger = new CommandLedger();
  /** Who sent a command, by its id. */
  readonly #askedBy = new Map<string, string>();
  /** Stages are told in their order. */
  #told: Promise<void> = Promise.resolve();

  constructor(parts: Pick<RunParts, "append" | "events">) {
    this.#parts = parts;
  }

  /** Takes up what a former daemon's log says of commands. */
  restore(commands: LoggedSteps["commands"]): void {
    for (const { id, by, last } of commands) {
      this.#ledger.restore(id, last);
      if (last.stage === "received") this.#askedBy.set(id, by);
    }
  }

  /** Whether the command is new; `reply` hears each stage in either case. */
  take(id: string, by: string, reply: (ack: CommandAck) => void): boolean {
    if (!this.#ledger.take(id, reply)) return false;
    this.#askedBy.set(id, by.slice(0, MAX_NAME));
    return true;
  }

  /** Logs a stage, then tells it; resolves when it is told. */
  answer({ command, stage, message, values }: Extract<RunEffect, { type: "ack" }>): Promise<void> {
    const by = this.#askedBy.get(command.id) ?? "unknown";
    const { append, events } = this.#parts;
    // A rejection far below its request says what it is about.
    const told = values ?? (stage === "rejected" ? command.values : undefined);
    const logged = append({
      type: "command",
      id: command.id,
      name: command.name,
      stage,
      by,
      ...(message === undefined ? {} : { message }),
      ...(told === undefined ? {} : { values: told }),
    });
    if (stage !== "received") this.#askedBy.delete(command.id);
    // Nobody is told of what a daemon that is killed now would not know of.
    const last = logged ? events.lastUsedSeq : 0;
    this.#told = this.#tell(this.#told, last, command.id, { stage, message });
    return this.#told;
  }

  async #tell(before: Promise<void>, seq: number, id: string, ack: CommandAck): Promise<void> {
    await before;
    await this.#parts.events.writtenTo(seq);
    this.#ledger.settle(id, ack);
  }
}
