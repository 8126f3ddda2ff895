import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  PROVE_MS,
  UPGRADE_EVERY_MS,
  type UpgradeEvent,
  type UpgradeState,
  nextUpgrade,
} from "./upgrade-state.ts";

type Phase = UpgradeState["phase"];
type Row = { readonly [E in UpgradeEvent["type"]]: readonly [Phase, string] };

/** Every state and event: what follows, and the effects in order. One without a row does not compile. */
const TABLE: { readonly [P in Phase]: Row } = {
  off: {
    begin: ["resting", "timer"],
    end: ["off", ""],
    opened: ["off", ""],
    closed: ["off", ""],
    welcomed: ["off", ""],
    superseded: ["off", ""],
    timer: ["off", ""],
  },
  resting: {
    begin: ["resting", ""],
    end: ["off", ""],
    opened: ["resting", ""],
    closed: ["resting", ""],
    welcomed: ["resting", ""],
    superseded: ["resting", ""],
    timer: ["opening", "connect timer"],
  },
  opening: {
    begin: ["opening", ""],
    end: ["off", "drop"],
    opened: ["proving", "timer"],
    closed: ["resting", "timer"],
    welcomed: ["opening", ""],
    superseded: ["opening", ""],
    timer: ["resting", "drop timer"],
  },
  proving: {
    begin: ["proving", ""],
    end: ["off", "drop"],
    opened: ["proving", ""],
    closed: ["resting", "timer"],
    welcomed: ["proving", ""],
    superseded: ["proving", ""],
    timer: ["greeting", "hello timer"],
  },
  greeting: {
    begin: ["greeting", ""],
    end: ["off", "drop"],
    opened: ["greeting", ""],
    closed: ["resting", "timer"],
    welcomed: ["off", "takeOver"],
    superseded: ["off", "takeOver"],
    timer: ["resting", "drop timer"],
  },
};

const EVENTS = Object.keys(TABLE.off) as UpgradeEvent["type"][];

describe("the way back to a WebSocket", () => {
  for (const [phase, row] of Object.entries(TABLE)) {
    for (const [type, [after, effects]] of Object.entries(row)) {
      it(`${phase} on ${type} becomes ${after}${effects === "" ? "" : ` and does ${effects}`}`, () => {
        const event = { type: type as UpgradeEvent["type"] };
        const step = nextUpgrade({ phase: phase as Phase }, event);
        expect(step.state.phase).toBe(after);
        expect(step.effects.map((one) => one.type).join(" ")).toBe(effects);
      });
    }
  }

  it("is tried once a minute, and a WebSocket must live for 8 s before it says hello", () => {
    const waits = (phase: Phase, type: UpgradeEvent["type"]) =>
      nextUpgrade({ phase }, { type }).effects.find((one) => one.type === "timer");
    expect([UPGRADE_EVERY_MS, PROVE_MS]).toEqual([60_000, 8000]);
    expect(waits("off", "begin")).toMatchObject({ ms: 60_000 });
    expect(waits("opening", "opened")).toMatchObject({ ms: 8000 });
    expect(waits("proving", "closed")).toMatchObject({ ms: 60_000 });
  });

  it("has at most one socket, and gives away only one that has said hello", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...EVENTS), { maxLength: 60 }), (types) => {
        let state: UpgradeState = { phase: "off" };
        let sockets = 0;
        let greeted = false;
        for (const type of types) {
          // The socket's own end.
          if (type === "closed") sockets = 0;
          const step = nextUpgrade(state, { type });
          for (const effect of step.effects) {
            if (effect.type === "connect") {
              sockets += 1;
              greeted = false;
            }
            if (effect.type === "hello") greeted = true;
            expect(effect.type !== "takeOver" || greeted).toBe(true);
            if (effect.type === "drop" || effect.type === "takeOver") sockets -= 1;
          }
          state = step.state;
          expect(sockets).toBe(state.phase === "off" || state.phase === "resting" ? 0 : 1);
        }
      }),
    );
  });
});
