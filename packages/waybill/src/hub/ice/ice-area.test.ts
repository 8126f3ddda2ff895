import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import { IceServers, iceServersOf } from "./ice-servers.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const TURN = { secret: "shared with coturn", ttlMs: 3_600_000 };
const servers = [
  { urls: ["stun:stun.lab:3478"] },
  { urls: ["turn:turn.lab:3478?transport=udp"] },
  { urls: ["turn:other.lab"], username: "fixed", credential: "known" },
];
const hubWith = (over: ConstructorParameters<typeof TestHub>[0] = {}) =>
  new TestHub({ clock: () => NOW_MS, iceServers: servers, turn: TURN, ...over });

describe("ICE servers", () => {
  it("come with a credential of the caller's own, which ends, and which coturn can check", async () => {
    const hub = hubWith();
    const owner = await hub.createRoom("lab");
    for (const role of ["member", "worker", "viewer"] as const) {
      const { client, identity } = await hub.join(owner.client, owner.room, role);
      const answer = await client.call("iceServers", { params: { room: owner.room } });
      const username = `${NOW_MS / 1000 + 3600}:lab/${identity.thumbprint}`;
      const credential = createHmac("sha1", TURN.secret).update(username).digest("base64");
      expect(answer).toEqual({
        iceServers: [servers[0], { ...servers[1], username, credential }, servers[2]],
        expiresAt: "2026-01-01T01:00:00.000Z",
        icePolicy: "all",
      });
    }
  });

  it("are asked for a bounded number of times by each key", async () => {
    const hub = hubWith();
    const { client, room } = await hub.createRoom("lab");
    const member = await hub.join(client, room, "member");
    const ask = () => member.client.call("iceServers", { params: { room } });
    for (let i = 0; i < 20; i++) await ask();
    await expect(ask()).rejects.toMatchObject({ code: "rate_limited", retryAfterMs: 15_000 });
    await client.call("iceServers", { params: { room } });
  });

  it("are told as they are where no credential is to be made", () => {
    const plain = new IceServers({ servers: () => servers.slice(0, 1), clock: () => NOW_MS });
    expect(plain.mint("lab" as never, "u")).toEqual({ iceServers: servers.slice(0, 1) });
  });

  it("are refused when they are no addresses, when nobody could use them, or credentials too short", () => {
    expect(iceServersOf(["stun:a.b:1", "turns:[::1]:5349?transport=tcp"], true)).toHaveLength(2);
    expect(() => iceServersOf(["http://a.b"], true)).toThrow(/no address/);
    expect(() => iceServersOf(["turn:a.b"], false)).toThrow(/secret/);
    const turn = { secret: "s", ttlMs: 599_999 };
    expect(() => new IceServers({ servers: () => [], turn, clock: Date.now })).toThrow(/10 min/);
  });
});

describe("a room's policy", () => {
  it("is the hub's until the owner sets it, and only the owner can", async () => {
    const hub = hubWith({ policy: { icePolicy: "relay", relayBudgetBytes: 1000 } });
    const { client, room } = await hub.createRoom("lab");
    const params = { room };
    const member = await hub.join(client, room, "member");
    const seen = async () => (await member.client.call("showRoom", { params })).policy;
    expect(await seen()).toEqual({ icePolicy: "relay", relayBudgetBytes: 1000 });
    await expect(
      member.client.call("setRoomPolicy", { params, body: { icePolicy: "all" } }),
    ).rejects.toMatchObject({ code: "forbidden" });
    const body = { icePolicy: "all", relayBudgetBytes: 5 } as const;
    expect(await client.call("setRoomPolicy", { params, body })).toEqual(body);
    expect(await client.call("setRoomPolicy", { params, body: {} })).toEqual(body);
    expect(await seen()).toEqual(body);
    await client.call("setRoomPolicy", { params, body: { relayBudgetBytes: null } });
    expect(await seen()).toEqual({ icePolicy: "all", relayBudgetBytes: 1000 });
    expect(await member.client.call("iceServers", { params })).toMatchObject({ icePolicy: "all" });
  });

  it("survives a hub that changes it at the same time", async () => {
    const hub = hubWith();
    const second = hubWith({ storage: hub.storage });
    const { client, room, token } = await hub.createRoom("lab");
    const other = await second.member(token);
    await Promise.all([
      client.call("setRoomPolicy", { params: { room }, body: { icePolicy: "relay" } }),
      other.client.call("setRoomPolicy", { params: { room }, body: { relayBudgetBytes: 7 } }),
    ]);
    expect(await client.call("setRoomPolicy", { params: { room }, body: {} })).toEqual({
      icePolicy: "relay",
      relayBudgetBytes: 7,
    });
  });
});
