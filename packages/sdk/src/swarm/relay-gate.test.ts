// docs/protocol/peer-channel.md 41.1.
import { describe, expect, it } from "vitest";
import { RelayGate } from "./relay-gate.ts";

const line = (address: string, type = "relay") =>
  `candidate:1 1 UDP 16777215 ${address} 50000 typ ${type} raddr 0.0.0.0 rport 9`;
const setup = (...urls: readonly string[]) => {
  const passed: string[] = [];
  const gate = new RelayGate([{ urls: [...urls] }], ({ candidate }) => passed.push(candidate));
  const take = (candidate: string) => gate.take({ kind: "candidate", connection: "c", candidate });
  return { gate, take, passed };
};

describe("a relayed candidate, where the stack sends checks from its own sockets", () => {
  it("is used at the address of a TURN server, and not of a STUN server or anywhere else", () => {
    const { take, passed } = setup(
      "turn:192.0.2.1:3478?transport=udp",
      "turns:[2001:DB8::1]:5349",
      "stun:192.0.2.2:3478",
      "turn:turn.example.org:3478",
    );
    for (const address of ["192.0.2.1", "2001:db8::1", "192.0.2.2", "198.51.100.7"]) {
      take(line(address));
    }
    take("candidate:1 1 UDP");
    expect(passed).toEqual([line("192.0.2.1"), line("2001:db8::1")]);
  });

  it("waits until a TURN server has given such an address to a candidate of our own", () => {
    const { gate, take, passed } = setup("turn:turn.example.org:3478");
    take(line("203.0.113.5"));
    gate.learn(line("203.0.113.5", "host"));
    expect(passed).toEqual([]);
    gate.learn(line("203.0.113.5"));
    expect(passed).toEqual([line("203.0.113.5")]);
  });
});
