// What the hub tells of an artifact that is arriving, asked for again and again: often while it grows, seldom while it
// does not. Ends when the artifact is there, or when it has stopped arriving (docs/protocol/arriving.md §3).
//
//   arriving ──grown──▶ arriving          done: the room holds it
//      ├── not_found for goneMs ─▶ failed
//      └── nothing new for waitMs ─▶ failed, unless the caller has got bytes elsewhere
import {
  type ArrivingObject,
  type ArtifactId,
  type DirectAddress,
  type RoomId,
  WaybillError,
  isAbort,
} from "../../protocol/index.ts";
import { delay } from "../../timing/index.ts";
import type { HubCalls } from "../push.ts";

/** What can be read now. */
export type ArrivingAccount = {
  readonly done: boolean;
  readonly unitBytes: number;
  readonly objects: readonly ArrivingObject[];
  readonly direct: readonly DirectAddress[];
  /** Nothing is sent to the store for now. */
  readonly held: boolean;
  /** Whose machine pushes it, when that was said. */
  readonly by?: string | undefined;
};

export type ArrivingFeedInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly artifact: ArtifactId;
  /** For messages. */
  readonly name: string;
  /** Gives up when nothing has come for this long. */
  readonly waitMs: number;
  /** An upload that is gone may be begun anew this long. */
  readonly goneMs?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
};

/** A new account is worth a request this often while the upload grows: what has landed last is read that much later. */
const POLL_MS = 250;
/** Pauses grow to this when the upload has not grown for `QUIET_MS`. */
const MAX_POLL_MS = 3000;
const QUIET_MS = 30_000;
const GONE_MS = 15_000;

export class ArrivingFeed {
  readonly #init: ArrivingFeedInit;
  readonly #now: () => number;
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #failed = new AbortController();
  #account: ArrivingAccount = { done: false, unitBytes: 1, objects: [], direct: [], held: false };
  #revision: string | undefined;
  #grownMs = 0;
  #goneSinceMs: number | undefined;
  #running: Promise<void> | undefined;

  constructor(init: ArrivingFeedInit) {
    this.#init = init;
    this.#now = init.now ?? performance.now.bind(performance);
    this.#sleep = init.sleep ?? delay;
  }

  get account(): ArrivingAccount {
    return this.#account;
  }

  /** Aborted with a `WaybillError` when the artifact has stopped arriving. */
  get failed(): AbortSignal {
    return this.#failed.signal;
  }

  /** Tells after the account has changed; gives what ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Bytes have come from wherever: the wait begins anew. */
  noteProgress(): void {
    this.#grownMs = this.#now();
  }

  start(): void {
    this.#grownMs = this.#now();
    this.#running ??= this.#run();
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    try {
      for (let pauseMs = POLL_MS; ;) {
        const startedMs = this.#now();
        const answered = await this.#ask(signal);
        if (this.#account.done || this.#failed.signal.aborted) return;
        // The hub's absence is not the pusher's.
        if (!answered) this.#grownMs += this.#now() - startedMs + pauseMs;
        const quietMs = this.#now() - this.#grownMs;
        pauseMs = quietMs > QUIET_MS || !answered ? Math.min(MAX_POLL_MS, pauseMs * 1.5) : POLL_MS;
        if (answered && quietMs > this.#init.waitMs) this.#fail(this.#stalled());
        if (this.#failed.signal.aborted) return;
        await this.#sleep(pauseMs, signal);
      }
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  /** One question; whether the hub has answered. */
  async #ask(signal: AbortSignal): Promise<boolean> {
    const { hub, room, artifact, goneMs = GONE_MS } = this.#init;
    try {
      const query = this.#revision === undefined ? {} : { revision: this.#revision };
      const answer = await hub.call(
        "showArriving",
        { params: { room, artifact }, query },
        { signal, retryForMs: 0 },
      );
      this.#goneSinceMs = undefined;
      const { done, unitBytes, revision, objects, direct, held = false, by } = answer;
      if (revision === this.#revision) return true;
      this.#revision = revision;
      const before = this.#account;
      this.#account = {
        done,
        unitBytes,
        objects: objects ?? before.objects,
        direct: direct ?? before.direct,
        held: held && !done,
        by,
      };
      this.noteProgress();
      for (const listener of this.#listeners) listener();
      return true;
    } catch (error) {
      if (isAbort(error) || !(error instanceof WaybillError)) throw error;
      if (error.code !== "not_found" && error.code !== "expired") {
        if (error.retryable) return false;
        throw error;
      }
      this.#goneSinceMs ??= this.#now();
      if (this.#now() - this.#goneSinceMs >= goneMs) this.#fail(this.#gone(error));
      return true;
    }
  }

  #fail(error: unknown): void {
    this.#failed.abort(error);
  }

  #gone(cause: WaybillError): WaybillError {
    return new WaybillError(
      "expired",
      `${this.#init.name} stopped arriving: its upload was given up or has expired`,
      { cause, hint: "push it again" },
    );
  }

  #stalled(): WaybillError {
    const minutes = Math.round(this.#init.waitMs / 60_000);
    const time = minutes < 1 ? `${this.#init.waitMs / 1000} s` : `${minutes} min`;
    const { held, by = "the machine that has it" } = this.#account;
    const whose = held ? `; its bytes are only at ${by}, which has gone or cannot be reached` : "";
    return new WaybillError(
      "no_source_left",
      `${this.#init.name} stopped arriving: nothing has come for ${time}${whose}`,
      { hint: "go on with the push, from any machine that has the files, and start again" },
    );
  }
}
