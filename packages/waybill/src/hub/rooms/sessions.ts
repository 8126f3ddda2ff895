// A room's session is its presence. It ends after idle time and begins again with the next caller; what
// the room stores stays.
//
//            touch (written at most each few minutes)
//   active ──────────────────────────────────────────▶ active
//   active ── idle for roomIdleMs, seen by the sweeper ─▶ ended ── touch ─▶ active
//
// Activity is kept in memory between writes: a crash forgets minutes of it, never more than that.
import { type RoomId, messageOf } from "@waybill/sdk/protocol";
import type { Clock, Log } from "../log.ts";
import type { RoomDoc } from "./room-doc.ts";
import type { RoomDirectory } from "./room-directory.ts";

export type SessionsInit = {
  readonly rooms: RoomDirectory;
  readonly idleMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** The session has ended: peers of the room must go. May be called again for a session that ended elsewhere. */
  readonly onEnded: (room: RoomId) => void | Promise<void>;
};

/** Longest time between activity and its record; shorter when sessions are short. */
const WRITE_EVERY_MS = 180_000;

type Activity = {
  /** Latest request or message. */
  lastMs: number;
  /** When it was last written to the room's document. */
  writtenMs: number;
};

export class RoomSessions {
  readonly #init: SessionsInit;
  readonly #activity = new Map<RoomId, Activity>();
  readonly #writing = new Set<Promise<void>>();

  constructor(init: SessionsInit) {
    this.#init = init;
  }

  /** Notes that somebody did something in the room; cheap, never throws. */
  touch(room: RoomId): void {
    const nowMs = this.#init.clock();
    const known = this.#activity.get(room);
    if (known !== undefined && nowMs - known.writtenMs < this.#writeEveryMs) {
      known.lastMs = nowMs;
      return;
    }
    this.#activity.set(room, { lastMs: nowMs, writtenMs: nowMs });
    this.#keep(this.#record(room, nowMs));
  }

  /** Ends the session if it has been idle long enough; answers whether it has ended. */
  async endIfIdle(room: RoomId): Promise<boolean> {
    const { idleMs, clock, rooms, log, onEnded } = this.#init;
    const nowMs = clock();
    const isIdle = (doc: RoomDoc) =>
      nowMs - Math.max(lastActive(doc), this.#activity.get(room)?.lastMs ?? 0) >= idleMs;
    const before = await rooms.get(room);
    if (!isIdle(before)) return false;
    if (before.session.state === "active") {
      const after = await rooms.update(room, (doc) => {
        if (doc.session.state === "ended" || !isIdle(doc)) return undefined;
        const endedAt = new Date(nowMs).toISOString();
        return { ...doc, session: { ...doc.session, state: "ended", endedAt } };
      });
      if (after.session.state !== "ended") return false;
      log("info", "room session ended after idle time", { room });
    }
    this.#activity.delete(room);
    await onEnded(room);
    return true;
  }

  /** Writes what is only in memory and waits for writes under way. */
  async stop(): Promise<void> {
    for (const [room, activity] of this.#activity) {
      if (activity.lastMs > activity.writtenMs) this.#keep(this.#record(room, activity.lastMs));
    }
    this.#activity.clear();
    await Promise.all(this.#writing);
  }

  get #writeEveryMs(): number {
    return Math.min(WRITE_EVERY_MS, this.#init.idleMs / 4);
  }

  #keep(writing: Promise<void>): void {
    this.#writing.add(writing);
    void writing.finally(() => this.#writing.delete(writing));
  }

  async #record(room: RoomId, activeMs: number): Promise<void> {
    try {
      await this.#init.rooms.update(room, (doc) => {
        const lastActiveAt = new Date(activeMs).toISOString();
        if (doc.session.state === "ended") {
          return { ...doc, session: { state: "active", startedAt: lastActiveAt, lastActiveAt } };
        }
        if (activeMs - lastActive(doc) < this.#writeEveryMs) return undefined;
        return { ...doc, session: { ...doc.session, lastActiveAt } };
      });
    } catch (error) {
      // The next touch tries again.
      this.#activity.delete(room);
      this.#init.log("warn", "could not record activity", { room, reason: messageOf(error) });
    }
  }
}

function lastActive(doc: RoomDoc): number {
  return Date.parse(doc.session.lastActiveAt);
}
