// The signaling session: one connection to the hub, kept up for ever: a WebSocket, or HTTP requests where the network
// lets none through. `session-state.ts` decides; this file performs: sockets, timers and the typed events.
import {
  CLOSE,
  HubToPeer,
  type KeyAgreement,
  LIMITS,
  type PeerToHub,
  type RoomId,
  type Serving,
  WaybillError,
  assertNever,
  decodeJson,
  messageOf,
  signalingPath,
} from "../protocol/index.ts";
import { abortReason, backoffMs } from "../timing/index.ts";
import { Dialing } from "./dialing.ts";
import { type Credential, answersHttp } from "./http.ts";
import { LongPollSocket } from "./long-poll-socket.ts";
import { type SessionClock, systemClock } from "./session-clock.ts";
import { makeHello } from "./session-hello.ts";
import { Emitter, type SessionEvents, type Welcome } from "./session-events.ts";
import {
  type SessionEffect,
  type SessionEvent,
  type SessionState,
  type Way,
  nextSession,
} from "./session-state.ts";
import { SessionUpgrade } from "./session-upgrade.ts";
import type { SocketConstructor, SocketLike } from "./socket-like.ts";

type Hello = Extract<PeerToHub, { type: "hello" }>;
/** What a peer may send once it is welcome. */
export type SessionMessage = Exclude<PeerToHub, { type: "hello" }>;

export type SessionInit = {
  /** A `HubClient` fits: its URL, and the credential of the moment at every connect. */
  readonly hub: { readonly url: string; readonly credential: Credential | undefined };
  readonly room: RoomId;
  /** Shown to the others in the room. */
  readonly name: string;
  /** 1–12 of a–z and 0–9; tells processes of one key apart. */
  readonly instance: string;
  /** What relayed messages to this process are encrypted for; told to the others in the room. */
  readonly agreement?: KeyAgreement;
  /** Asked at every hello: how this peer serves artifacts to the others, when it does. */
  readonly serves?: (() => Serving | undefined) | undefined;
  /** Asked at every hello when this peer is a worker: what it can do and which attempts it is running. */
  readonly worker?: () => NonNullable<Hello["worker"]>;
  readonly WebSocket?: SocketConstructor;
  /** For long polling. */
  readonly fetch?: typeof globalThis.fetch;
  readonly clock?: SessionClock;
  readonly random?: () => number;
};

export type SignalingSession = AsyncDisposable & {
  readonly phase: SessionState["phase"];
  /** Whether messages can be sent now. */
  readonly online: boolean;
  /** What carries the session, or did last. */
  readonly transport: Way["transport"];
  /** The hub's last welcome: our peer id, role, ICE servers. Stays while reconnecting. */
  readonly welcome: Welcome | undefined;
  /** Bytes given to the socket that have not left yet. */
  readonly bufferedBytes: number;
  start(): void;
  /** Says goodbye to the hub and never connects again; idempotent. */
  stop(): Promise<void>;
  /**
   * Sends now or throws: `unreachable` while there is no connection or the socket is choked, `too_large` for a
   * frame over the limit. Nothing is ever queued for later: what to repeat after a reconnect is the sender's to know.
   */
  send(message: SessionMessage): void;
  /** Resolves with the welcome once connected; rejects when the session failed, stopped or `signal` is aborted. */
  waitUntilOpen(options?: { readonly signal?: AbortSignal | undefined }): Promise<Welcome>;
  on<K extends keyof SessionEvents>(
    name: K,
    listener: (event: SessionEvents[K]) => void,
  ): () => void;
};

/** Above this the socket is choked: eight of the largest frames, more than any peer may have in flight. */
const MAX_BUFFERED_BYTES = 8 * LIMITS.signalingFrameBytes;
/** A hub that does not answer the closing frame for this long is left without a goodbye. */
const GOODBYE_MS = 500;
/** A hub that comes back is found within 0.6 s; while it works off the others' hellos it refuses what is more cheaply. */
const RETRY = { baseMs: 100, capMs: 600 } as const;

/**
 * Makes a session; it connects when started and reconnects until it is stopped or the hub refuses it for good
 * (bad token, other protocol version, peer id taken over).
 *
 * @example
 * const session = createSession({ hub, room, name: "laptop", instance: "a1" });
 * session.on("job.changed", ({ job, state }) => console.log(job, state));
 * session.start();
 * await session.waitUntilOpen();
 */
export function createSession(init: SessionInit): SignalingSession {
  return new Session(init);
}

class Session implements SignalingSession {
  readonly #init: SessionInit;
  readonly #clock: SessionClock;
  readonly #events = new Emitter<SessionEvents>();
  #state: SessionState = { phase: "idle" };
  readonly #upgrade: SessionUpgrade;
  #socket: SocketLike | undefined;
  #openedAt = 0;
  #transport: Way["transport"] = "websocket";
  #dialing: Dialing | undefined;
  #cancelTimer: (() => void) | undefined;
  #heardAt = 0;
  #welcome: Welcome | undefined;
  #waiting = new Set<(error: WaybillError | undefined) => void>();

  constructor(init: SessionInit) {
    this.#init = init;
    this.#clock = init.clock ?? systemClock;
    this.#upgrade = new SessionUpgrade({
      connect: () => this.#webSocket(),
      hello: async (socket) => socket.send(JSON.stringify(await makeHello(this.#init))),
      takeOver: (socket, data) => this.#takeOver(socket, data),
      clock: this.#clock,
    });
  }

  get phase(): SessionState["phase"] {
    return this.#state.phase;
  }

  get online(): boolean {
    return this.#state.phase === "open";
  }

  get transport(): Way["transport"] {
    return this.#transport;
  }

  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  get bufferedBytes(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  on<K extends keyof SessionEvents>(
    name: K,
    listener: (event: SessionEvents[K]) => void,
  ): () => void {
    return this.#events.on(name, listener);
  }

  start(): void {
    this.#happen({ type: "start" });
  }

  async stop(): Promise<void> {
    const socket = this.#socket;
    const gone = new Promise<void>((resolve) => {
      if (socket === undefined) {
        resolve();
        return;
      }
      const cancel = this.#clock.after(GOODBYE_MS, resolve);
      socket.addEventListener("close", () => {
        cancel();
        resolve();
      });
    });
    this.#happen({ type: "stop" });
    this.#settle(stopped());
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  send(message: SessionMessage): void {
    if (this.#state.phase !== "open" || this.#socket === undefined) {
      throw new WaybillError("unreachable", `not connected to hub ${this.#init.hub.url}`);
    }
    const text = JSON.stringify(message);
    // The hub counts UTF-8 bytes; a UTF-16 unit is at most three of them.
    if (
      text.length * 3 > LIMITS.signalingFrameBytes &&
      new TextEncoder().encode(text).byteLength > LIMITS.signalingFrameBytes
    ) {
      throw new WaybillError("too_large", `a ${message.type} message exceeds the frame limit`);
    }
    if (this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) {
      throw new WaybillError("unreachable", "the connection to the hub is choked");
    }
    this.#socket.send(text);
  }

  waitUntilOpen(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Welcome> {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      const finish = (error: Error | undefined) => {
        this.#waiting.delete(finish);
        signal?.removeEventListener("abort", onAbort);
        if (error !== undefined) reject(error);
        else if (this.#welcome !== undefined) resolve(this.#welcome);
      };
      const onAbort = () => {
        if (signal !== undefined) finish(abortReason(signal));
      };
      this.#waiting.add(finish);
      if (signal?.aborted === true) onAbort();
      else if (this.#state.phase === "open") finish(undefined);
      else if (this.#state.phase === "failed") finish(this.#state.error);
      else if (this.#state.phase === "stopped") {
        finish(stopped());
      } else signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  #settle(error: WaybillError | undefined): void {
    for (const finish of this.#waiting) finish(error);
  }

  #happen(event: SessionEvent): void {
    const { state, effects } = nextSession(this.#state, event);
    if (state.phase !== this.#state.phase) this.#cancelTimer?.();
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
    if (this.#state !== state) return;
    if (state.phase === "open" && state.way.transport === "polling") this.#upgrade.begin();
    else this.#upgrade.end();
  }

  #perform(effect: SessionEffect): void {
    switch (effect.type) {
      case "connect":
        this.#connect(effect.transport);
        return;
      case "probe":
        void this.#probe();
        return;
      case "hello":
        void this.#hello();
        return;
      case "ping":
        this.#socket?.send(JSON.stringify({ type: "ping", t: this.#clock.now() }));
        return;
      case "drop": {
        this.#dialing?.stop();
        const socket = this.#socket;
        this.#socket = undefined;
        socket?.close(effect.code, effect.reason.slice(0, 100));
        return;
      }
      case "timer":
        this.#timer(effect.ms);
        return;
      case "backoff":
        this.#timer(
          backoffMs(effect.attempt, { ...RETRY, random: this.#init.random ?? Math.random }),
        );
        return;
      case "lost":
        this.#socket = undefined;
        this.#events.emit("closed", { code: effect.code, reason: effect.reason });
        return;
      case "fail":
        this.#socket = undefined;
        this.#events.emit("failed", effect.error);
        this.#settle(effect.error);
        return;
      default:
        assertNever(effect);
    }
  }

  #timer(ms: number): void {
    this.#cancelTimer?.();
    const dueMs = this.#clock.now() + ms;
    this.#cancelTimer = this.#clock.after(ms, () => {
      // What came while this process was held up has not been read yet.
      const silentMs = Math.min(this.#clock.now(), dueMs) - this.#heardAt;
      this.#happen({ type: "timer", silentMs, sending: this.bufferedBytes > 0 });
    });
  }

  #connect(transport: Way["transport"]): void {
    this.#dialing = new Dialing({
      open: () => (transport === "polling" ? new LongPollSocket(this.#init) : this.#webSocket()),
      clock: this.#clock,
      onOpened: (socket) => {
        this.#use(socket);
        this.#happen({ type: "opened" });
      },
      onClosed: (code, reason) => this.#happen({ type: "closed", code, reason, openMs: 0 }),
    });
    this.#dialing.start();
  }

  #webSocket(): SocketLike {
    const { hub, room, WebSocket: make = globalThis.WebSocket } = this.#init;
    return new make(`${hub.url.replace(/^http/, "ws")}${signalingPath(room)}`);
  }

  #use(socket: SocketLike): void {
    this.#socket = socket;
    this.#openedAt = this.#clock.now();
    socket.addEventListener("message", ({ data }) => {
      if (this.#socket === socket) this.#hear(data);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (this.#socket === socket) this.#onClose(code, reason);
    });
  }

  #onClose(code: number, reason: string): void {
    const openMs = this.#clock.now() - this.#openedAt;
    if (code !== CLOSE.replaced) {
      this.#happen({ type: "closed", code, reason, openMs });
    } else if (!this.#upgrade.supersede()) {
      // A hello of ours that we gave up and the hub accepted all the same is not another process.
      const ours = this.#upgrade.mayBeReplaced ? CLOSE.idle : code;
      this.#happen({ type: "closed", code: ours, reason, openMs });
    }
  }

  #takeOver(socket: SocketLike, data: unknown): void {
    const before = this.#socket;
    this.#use(socket);
    this.#happen({ type: "tookOver" });
    before?.close(1000, "");
    if (data !== undefined) this.#hear(data);
  }

  async #probe(): Promise<void> {
    const { hub, fetch } = this.#init;
    if (await answersHttp(hub.url, fetch)) this.#happen({ type: "httpWorks" });
  }

  async #hello(): Promise<void> {
    const socket = this.#socket;
    try {
      const text = JSON.stringify(await makeHello(this.#init));
      if (socket === this.#socket) socket?.send(text);
    } catch (cause) {
      if (socket !== this.#socket) return;
      const error =
        cause instanceof WaybillError
          ? cause
          : new WaybillError("unauthorized", `no hello could be made: ${messageOf(cause)}`, {
              cause,
            });
      this.#happen({ type: "unprovable", error });
    }
  }

  #hear(data: unknown): void {
    this.#heardAt = this.#clock.now();
    let message: HubToPeer;
    try {
      message = decodeJson(
        HubToPeer,
        typeof data === "string" ? data : "",
        "a frame of the hub",
        LIMITS.signalingFrameBytes,
      );
    } catch (error) {
      // Not a reason to reconnect: a newer hub may know messages this peer does not.
      if (error instanceof WaybillError) this.#events.emit("problem", error);
      return;
    }
    if (message.type === "pong") return;
    if (message.type !== "welcome") {
      this.#events.forward(message.type, message);
      return;
    }
    const { protocol, keepAliveMs } = message;
    this.#welcome = message;
    this.#happen({ type: "welcomed", protocol, keepAliveMs });
    if (this.#state.phase !== "open") return;
    this.#settle(undefined);
    const { transport } = this.#state.way;
    const isOther = transport !== this.#transport;
    this.#transport = transport;
    if (isOther) this.#events.emit("transport", { transport });
    this.#events.emit("welcome", message);
  }
}

function stopped(): WaybillError {
  return new WaybillError("unreachable", "the signaling session was stopped");
}
