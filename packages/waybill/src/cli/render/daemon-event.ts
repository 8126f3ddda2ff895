// What a process that stays connected to a hub tells of that: workers and caches alike.
import type { Output } from "./output.ts";

type DaemonEvent =
  | { readonly type: "online" }
  | { readonly type: "offline"; readonly reason: string }
  | {
      readonly type: "log";
      readonly level: "info" | "warn" | "error";
      readonly message: string;
    };

/** Prints one. */
export function showDaemonEvent(output: Output, event: DaemonEvent): void {
  output.record(event);
  switch (event.type) {
    case "online":
      output.note("connected to the hub");
      return;
    case "offline":
      output.note(`connection to the hub lost (${event.reason}); trying again`);
      return;
    case "log":
      output.note(`${event.level === "info" ? "" : `${event.level}: `}${event.message}`);
  }
}
