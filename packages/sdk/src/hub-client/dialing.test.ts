import { describe, expect, it } from "vitest";
import { Dialing } from "./dialing.ts";
import type { SocketLike } from "./socket-like.ts";

type Heard = "open" | "close" | "error" | "message";

class FakeSocket implements SocketLike {
  readonly bufferedAmount = 0;
  closed = false;
  readonly #listeners: { type: Heard; run: (event: never) => void }[] = [];

  send(): void {}
  close(): void {
    this.closed = true;
  }
  addEventListener(type: Heard, run: (event: never) => void): void {
    this.#listeners.push({ type, run });
  }
  tell(type: "open" | "close"): void {
    const event: unknown = { code: 1006, reason: "refused" };
    for (const one of this.#listeners) if (one.type === type) one.run(event as never);
  }
}

function dialing() {
  const sockets: FakeSocket[] = [];
  const told: unknown[] = [];
  let tick = () => {};
  const dial = new Dialing({
    open: () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket;
    },
    clock: {
      now: () => 0,
      after: (_, run) => {
        tick = run;
        return () => (tick = () => {});
      },
    },
    onOpened: (socket) => told.push(sockets.indexOf(socket as FakeSocket)),
    onClosed: (code) => told.push(`closed ${code}`),
  });
  dial.start();
  return {
    dial,
    sockets,
    told,
    later: () => {
      const due = tick;
      tick = () => {};
      due();
    },
  };
}

describe("dialing", () => {
  it("begins another try twice a second, keeps the first that opens and closes the others", () => {
    const { sockets, told, later } = dialing();
    later();
    later();
    sockets[1]?.tell("open");
    later();
    sockets[0]?.tell("open");
    expect(told).toEqual([1]);
    expect(sockets.map(({ closed }) => closed)).toEqual([true, false, true]);
  });

  it("tells of a refusal once no other try is left", () => {
    const { sockets, told, later } = dialing();
    later();
    sockets[0]?.tell("close");
    expect(told).toEqual([]);
    sockets[1]?.tell("close");
    later();
    expect(told).toEqual(["closed 1006"]);
    expect(sockets).toHaveLength(2);
  });

  it("has at most twenty tries, and none when it was stopped", () => {
    const { dial, sockets, told, later } = dialing();
    for (let i = 0; i < 40; i++) later();
    expect(sockets).toHaveLength(20);
    dial.stop();
    sockets[3]?.tell("open");
    expect(told).toEqual([]);
    expect(sockets.every(({ closed }) => closed)).toBe(true);
  });
});
