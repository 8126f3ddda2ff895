// What a signaling session tells its listeners, and the small typed emitter it tells them with.
import type { HubToPeer, WaybillError } from "../protocol/index.ts";

type Message<T extends HubToPeer["type"]> = Extract<HubToPeer, { type: T }>;

export type Welcome = Message<"welcome">;

/** Events of a session: the hub's messages under their own names, and what becomes of the connection. */
export type SessionEvents = {
  readonly [T in Exclude<HubToPeer["type"], "pong">]: Message<T>;
} & {
  /** What carries the session has changed. */
  readonly transport: { readonly transport: "websocket" | "polling" };
  /** The connection is gone; the session goes on trying. */
  readonly closed: { readonly code: number; readonly reason: string };
  /** The session has ended for good. */
  readonly failed: WaybillError;
  /** A frame that could not be understood was dropped. */
  readonly problem: WaybillError;
};

type Listener<T> = (event: T) => void;

/** Typed listeners by name. A listener that throws does not keep the others from hearing. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<unknown>>();

  /** Adds a listener; the result removes it. */
  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): () => void {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    // A wrapper of its own, so that the same function added twice is removed once.
    const entry: Listener<Events[K]> = (event) => listener(event);
    set.add(entry);
    return () => set.delete(entry);
  }

  emit<K extends keyof Events>(name: K, event: Events[K]): void {
    this.forward(name, event);
  }

  /** As `emit`, for messages whose `type` is their name: the compiler cannot follow that through a union. */
  forward(name: keyof Events, event: Events[keyof Events]): void {
    const listeners = [...(this.#listeners.get(name) ?? [])] as Listener<unknown>[];
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        // As the DOM does: reported as uncaught, after this event was delivered to all.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
