import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CLOSE, PROTOCOL_VERSION, WaybillError } from "../protocol/index.ts";
import {
  HANDSHAKE_MS,
  type SessionEffect,
  type SessionEvent,
  type SessionState,
  nextSession,
} from "./session-state.ts";

const error = new WaybillError("unauthorized", "no token");
const way = { transport: "websocket", failures: 0, http: false } as const;
const STATES: { readonly [P in SessionState["phase"]]: Extract<SessionState, { phase: P }> } = {
  idle: { phase: "idle" },
  connecting: { phase: "connecting", attempt: 2, way },
  greeting: { phase: "greeting", attempt: 2, way },
  open: { phase: "open", attempt: 2, way, keepAliveMs: 15_000, asked: false },
  waiting: { phase: "waiting", attempt: 2, way },
  failed: { phase: "failed", error },
  stopped: { phase: "stopped" },
};
const EVENTS = {
  start: { type: "start" },
  stop: { type: "stop" },
  opened: { type: "opened" },
  welcomed: { type: "welcomed", protocol: PROTOCOL_VERSION, keepAliveMs: 15_000 },
  otherProtocol: { type: "welcomed", protocol: PROTOCOL_VERSION + 1, keepAliveMs: 15_000 },
  restarting: { type: "closed", code: CLOSE.restarting, reason: "", openMs: 0 },
  unauthorized: { type: "closed", code: CLOSE.unauthorized, reason: "token expired", openMs: 0 },
  unsupported: { type: "closed", code: CLOSE.unsupportedVersion, reason: "", openMs: 0 },
  replaced: { type: "closed", code: CLOSE.replaced, reason: "", openMs: 0 },
  cut: { type: "closed", code: 1006, reason: "", openMs: 0 },
  tookOver: { type: "tookOver" },
  httpWorks: { type: "httpWorks" },
  unprovable: { type: "unprovable", error },
  timer: { type: "timer", silentMs: 1000, sending: false },
  silence: { type: "timer", silentMs: 30_000, sending: false },
} as const satisfies Record<string, SessionEvent>;

type Row = { readonly [E in keyof typeof EVENTS]: readonly [SessionState["phase"], string] };
const GONE = "drop fail";
/** Every state and event: what follows, and the effects in order. A state or event without a row does not compile. */
const TABLE: { readonly [P in SessionState["phase"]]: Row } = {
  idle: {
    start: ["connecting", "connect timer"],
    stop: ["stopped", "drop"],
    opened: ["idle", ""],
    welcomed: ["idle", ""],
    otherProtocol: ["idle", ""],
    restarting: ["idle", ""],
    unauthorized: ["idle", ""],
    unsupported: ["idle", ""],
    replaced: ["idle", ""],
    cut: ["idle", ""],
    tookOver: ["idle", ""],
    httpWorks: ["idle", ""],
    unprovable: ["idle", ""],
    timer: ["idle", ""],
    silence: ["idle", ""],
  },
  connecting: {
    start: ["connecting", ""],
    stop: ["stopped", "drop"],
    opened: ["greeting", "hello timer"],
    welcomed: ["connecting", ""],
    otherProtocol: ["connecting", ""],
    restarting: ["waiting", "backoff lost"],
    unauthorized: ["failed", "fail"],
    unsupported: ["failed", "fail"],
    replaced: ["failed", "fail"],
    cut: ["waiting", "backoff lost"],
    tookOver: ["connecting", ""],
    httpWorks: ["connecting", ""],
    unprovable: ["failed", GONE],
    timer: ["waiting", "drop backoff lost"],
    silence: ["waiting", "drop backoff lost"],
  },
  greeting: {
    start: ["greeting", ""],
    stop: ["stopped", "drop"],
    opened: ["greeting", ""],
    welcomed: ["open", "timer"],
    otherProtocol: ["failed", GONE],
    restarting: ["waiting", "backoff lost"],
    unauthorized: ["failed", "fail"],
    unsupported: ["failed", "fail"],
    replaced: ["failed", "fail"],
    cut: ["waiting", "backoff lost"],
    tookOver: ["greeting", ""],
    httpWorks: ["greeting", ""],
    unprovable: ["failed", GONE],
    timer: ["waiting", "drop backoff lost"],
    silence: ["waiting", "drop backoff lost"],
  },
  open: {
    start: ["open", ""],
    stop: ["stopped", "drop"],
    opened: ["open", ""],
    welcomed: ["open", ""],
    otherProtocol: ["open", ""],
    restarting: ["waiting", "backoff lost"],
    unauthorized: ["failed", "fail"],
    unsupported: ["failed", "fail"],
    replaced: ["failed", "fail"],
    cut: ["waiting", "backoff lost"],
    tookOver: ["greeting", "timer"],
    httpWorks: ["open", ""],
    unprovable: ["failed", GONE],
    timer: ["open", "ping timer"],
    silence: ["waiting", "drop backoff lost"],
  },
  waiting: {
    start: ["waiting", ""],
    stop: ["stopped", "drop"],
    opened: ["waiting", ""],
    welcomed: ["waiting", ""],
    otherProtocol: ["waiting", ""],
    restarting: ["waiting", ""],
    unauthorized: ["waiting", ""],
    unsupported: ["waiting", ""],
    replaced: ["waiting", ""],
    cut: ["waiting", ""],
    tookOver: ["waiting", ""],
    httpWorks: ["waiting", ""],
    unprovable: ["waiting", ""],
    timer: ["connecting", "connect timer"],
    silence: ["connecting", "connect timer"],
  },
  failed: {
    start: ["connecting", "connect timer"],
    stop: ["stopped", "drop"],
    opened: ["failed", ""],
    welcomed: ["failed", ""],
    otherProtocol: ["failed", ""],
    restarting: ["failed", ""],
    unauthorized: ["failed", ""],
    unsupported: ["failed", ""],
    replaced: ["failed", ""],
    cut: ["failed", ""],
    tookOver: ["failed", ""],
    httpWorks: ["failed", ""],
    unprovable: ["failed", ""],
    timer: ["failed", ""],
    silence: ["failed", ""],
  },
  stopped: {
    start: ["stopped", ""],
    stop: ["stopped", ""],
    opened: ["stopped", ""],
    welcomed: ["stopped", ""],
    otherProtocol: ["stopped", ""],
    restarting: ["stopped", ""],
    unauthorized: ["stopped", ""],
    unsupported: ["stopped", ""],
    replaced: ["stopped", ""],
    cut: ["stopped", ""],
    tookOver: ["stopped", ""],
    httpWorks: ["stopped", ""],
    unprovable: ["stopped", ""],
    timer: ["stopped", ""],
    silence: ["stopped", ""],
  },
};

const names = (effects: readonly SessionEffect[]) => effects.map((one) => one.type).join(" ");

describe("the signaling session", () => {
  for (const [phase, row] of Object.entries(TABLE)) {
    for (const [event, [after, effects]] of Object.entries(row)) {
      it(`${phase} on ${event} becomes ${after}${effects === "" ? "" : ` and does ${effects}`}`, () => {
        const state = STATES[phase as SessionState["phase"]];
        const step = nextSession(state, EVENTS[event as keyof typeof EVENTS]);
        expect([step.state.phase, names(step.effects)]).toEqual([after, effects]);
      });
    }
  }

  it("counts failures until it was open for a whole beat", () => {
    const lost = nextSession(STATES.open, EVENTS.restarting);
    expect(lost.state).toMatchObject({ attempt: 3 });
    expect(lost.effects[0]).toEqual({ type: "backoff", attempt: 2 });
    expect(nextSession(STATES.open, EVENTS.timer).state).toMatchObject({ attempt: 0 });
  });

  it("beats twice per keep-alive time and gives a handshake 10 s", () => {
    expect(nextSession(STATES.greeting, EVENTS.welcomed).effects).toEqual([
      { type: "timer", ms: 7500 },
    ]);
    expect(nextSession(STATES.waiting, EVENTS.timer).effects).toContainEqual({
      type: "timer",
      ms: HANDSHAKE_MS,
    });
  });

  it("takes a hub that leaves a ping unanswered for 5 s as gone, unless much is still being sent", () => {
    const asked = { ...STATES.open, asked: true };
    const after = (silentMs: number, sending: boolean) =>
      nextSession(asked, { type: "timer", silentMs, sending }).state;
    expect(nextSession(STATES.open, EVENTS.timer)).toMatchObject({
      state: { asked: true },
      effects: [{ type: "ping" }, { type: "timer", ms: 5000 }],
    });
    expect(after(4999, false)).toMatchObject({ phase: "open", asked: false });
    expect(after(5000, false)).toMatchObject({ phase: "waiting" });
    expect(after(5000, true)).toMatchObject({ phase: "open", asked: false });
    expect(after(30_000, true)).toMatchObject({ phase: "waiting" });
  });

  it("polls after three WebSockets in a row were cut while HTTP works, and begins anew when that fails", () => {
    const run = (isReached: boolean) => {
      let state: SessionState = nextSession(STATES.idle, EVENTS.start).state;
      const ways: string[] = [];
      for (let i = 0; i < 8; i++) {
        const cut = nextSession(state, EVENTS.cut);
        const probed = cut.effects.some(({ type }) => type === "probe");
        state = isReached && probed ? nextSession(cut.state, EVENTS.httpWorks).state : cut.state;
        const again = nextSession(state, EVENTS.timer);
        for (const effect of again.effects) {
          if (effect.type === "connect") ways.push(`${effect.transport}${probed ? "?" : ""}`);
        }
        state = again.state;
      }
      return ways;
    };
    const round = ["websocket", "websocket?", "polling", "websocket"];
    expect(run(true)).toEqual([...round, ...round]);
    expect(run(false)).toEqual(["websocket", ...Array<string>(7).fill("websocket?")]);
  });

  it("takes a hub that closes, and a connection that lived for 10 s, as no reason to poll", () => {
    const open = { ...STATES.open, way: { ...way, failures: 1 } };
    const close = (code: number, openMs: number) =>
      nextSession(open, { type: "closed", code, reason: "", openMs }).state;
    expect(close(CLOSE.restarting, 0)).toMatchObject({ way });
    expect(close(1006, 10_000)).toMatchObject({ way });
    expect(close(1006, 9999)).toMatchObject({ way: { failures: 2 } });
    const polled = { ...STATES.open, way: { ...way, transport: "polling" } } as const;
    expect(nextSession(polled, EVENTS.restarting).state).toMatchObject({ way: polled.way });
  });

  it("leaves a WebSocket that took over at its first cut", () => {
    const { state } = nextSession(STATES.open, EVENTS.tookOver);
    const open = nextSession(state, EVENTS.welcomed).state;
    expect(nextSession(open, EVENTS.cut).state).toMatchObject({ way: { transport: "polling" } });
  });

  it("says why the hub refused it", () => {
    const { state } = nextSession(STATES.greeting, EVENTS.unauthorized);
    expect(state).toMatchObject({ error: { code: "unauthorized" } });
    expect(state.phase === "failed" && state.error.message).toContain("token expired");
    expect(nextSession(STATES.greeting, EVENTS.unsupported).state).toMatchObject({
      error: { code: "unsupported_version" },
    });
    expect(nextSession(STATES.open, EVENTS.replaced).state).toMatchObject({
      error: { code: "conflict" },
    });
  });

  it("always has a timer or a socket to wait for while it is neither idle nor over", () => {
    const event = fc.constantFrom(...Object.values(EVENTS));
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        let state: SessionState = STATES.idle;
        let timer = false;
        for (const one of events) {
          const step = nextSession(state, one);
          if (step.state.phase !== state.phase || one.type === "timer") timer = false;
          if (step.effects.some(({ type }) => type === "timer" || type === "backoff")) timer = true;
          state = step.state;
          const waits = ["connecting", "greeting", "open", "waiting"].includes(state.phase);
          expect(timer || !waits).toBe(true);
        }
      }),
    );
  });
});
