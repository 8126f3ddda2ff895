// Performs what upgrade-state.ts decides: a second connection beside the one that works, until it takes over.
import { HubToPeer, LIMITS, assertNever, decodeJson } from "../protocol/index.ts";
import type { SessionClock } from "./session-clock.ts";
import type { SocketLike } from "./socket-like.ts";
import {
  type UpgradeEffect,
  type UpgradeEvent,
  type UpgradeState,
  nextUpgrade,
} from "./upgrade-state.ts";

export type UpgradeDeps = {
  readonly connect: () => SocketLike;
  /** Sends a hello on the socket; rejects when none could be made. */
  readonly hello: (socket: SocketLike) => Promise<void>;
  /** The socket is the session's from now on; `data` is what it has heard first. */
  readonly takeOver: (socket: SocketLike, data?: unknown) => void;
  readonly clock: SessionClock;
};

export class SessionUpgrade {
  readonly #deps: UpgradeDeps;
  #state: UpgradeState = { phase: "off" };
  #socket: SocketLike | undefined;
  #heard: unknown;
  #cancelTimer: (() => void) | undefined;
  #greetedAt = -Infinity;

  constructor(deps: UpgradeDeps) {
    this.#deps = deps;
  }

  begin(): void {
    this.#happen({ type: "begin" });
  }

  end(): void {
    this.#happen({ type: "end" });
  }

  /** The hub closed the session's connection because of a newer one: whether that is ours, and has taken over. */
  supersede(): boolean {
    const isOurs = this.#state.phase === "greeting";
    this.#happen({ type: "superseded" });
    return isOurs;
  }

  /** Whether a second hello of ours may still be on its way to the hub. */
  get mayBeReplaced(): boolean {
    return this.#deps.clock.now() - this.#greetedAt < LIMITS.keepAliveMs;
  }

  #happen(event: UpgradeEvent): void {
    const { state, effects } = nextUpgrade(this.#state, event);
    if (state.phase !== this.#state.phase) this.#cancelTimer?.();
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: UpgradeEffect): void {
    switch (effect.type) {
      case "connect":
        this.#connect();
        return;
      case "hello":
        this.#hello();
        return;
      case "drop": {
        const socket = this.#socket;
        this.#socket = undefined;
        socket?.close(1000, "");
        return;
      }
      case "takeOver": {
        const socket = this.#socket;
        this.#socket = undefined;
        if (socket !== undefined) this.#deps.takeOver(socket, this.#heard);
        return;
      }
      case "timer":
        this.#cancelTimer?.();
        this.#cancelTimer = this.#deps.clock.after(effect.ms, () =>
          this.#happen({ type: "timer" }),
        );
        return;
      default:
        assertNever(effect);
    }
  }

  #connect(): void {
    const socket = this.#deps.connect();
    this.#socket = socket;
    this.#heard = undefined;
    const ours = (event: UpgradeEvent) => {
      if (this.#socket === socket) this.#happen(event);
    };
    socket.addEventListener("open", () => ours({ type: "opened" }));
    socket.addEventListener("error", () => undefined);
    socket.addEventListener("close", () => ours({ type: "closed" }));
    socket.addEventListener("message", ({ data }) => {
      if (this.#socket !== socket || !isWelcome(data)) return;
      this.#heard = data;
      this.#happen({ type: "welcomed" });
    });
  }

  #hello(): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#greetedAt = this.#deps.clock.now();
    this.#deps.hello(socket).catch(() => {
      if (this.#socket === socket) this.#happen({ type: "timer" });
    });
  }
}

function isWelcome(data: unknown): boolean {
  try {
    const text = typeof data === "string" ? data : "";
    const limit = LIMITS.signalingFrameBytes;
    return decodeJson(HubToPeer, text, "a frame of the hub", limit).type === "welcome";
  } catch {
    return false;
  }
}
