import { describe, expect, it } from "vitest";
import { TestHub } from "../hub.fixture.ts";
import { MemoryBucket } from "../bucket/memory-bucket.ts";
import { Documents } from "../bucket/documents.ts";
import { silentLog } from "../log.ts";
import { RoomDirectory } from "./room-directory.ts";
import { RoomSessions } from "./sessions.ts";
import { RoomDoc } from "./room-doc.ts";
import { RoomId } from "@waybill/sdk/protocol";
import * as v from "valibot";

const HOUR_MS = 3_600_000;
const lab = v.parse(RoomId, "lab");

describe("rooms", () => {
  it("are created once, whoever asks", async () => {
    const hub = new TestHub();
    const second = new TestHub({ storage: hub.storage });
    const tries = await Promise.allSettled([hub.createRoom("lab"), second.createRoom("lab")]);
    expect(tries.map((entry) => entry.status).sort()).toEqual(["fulfilled", "rejected"]);
    await expect(hub.createRoom("lab")).rejects.toMatchObject({ code: "conflict" });
  });

  it("are created only with the admin token where there is one", async () => {
    const hub = new TestHub({ adminToken: "open sesame" });
    const create = (adminToken?: string) =>
      hub.anyone.call("createRoom", {
        body: { name: "lab", ...(adminToken === undefined ? {} : { adminToken }) },
      });
    await expect(create()).rejects.toMatchObject({ code: "forbidden" });
    await expect(create("open")).rejects.toMatchObject({ code: "forbidden" });
    expect(await create("open sesame")).toMatchObject({ room: "lab" });
  });

  it("cannot be made without bound", async () => {
    const hub = new TestHub({ clock: () => Date.UTC(2026, 0, 1) });
    for (let i = 0; i < 120; i++) await hub.createRoom(`room-${i}`);
    await expect(hub.createRoom("one-more")).rejects.toMatchObject({
      code: "rate_limited",
      retryAfterMs: 1000,
    });
  });

  it("are created again by who gives the nonce of a moment ago, when the answer was lost", async () => {
    const time = { nowMs: Date.UTC(2026, 0, 1) };
    const hub = new TestHub({ clock: () => time.nowMs });
    const nonce = "0123456789abcdef".repeat(2);
    const create = (of: TestHub, given?: string) =>
      of.anyone.call("createRoom", {
        body: { name: "lab", ...(given === undefined ? {} : { nonce: given }) },
      });
    const first = await create(hub, nonce);
    time.nowMs += 9 * 60_000;
    const second = new TestHub({ storage: hub.storage, clock: () => time.nowMs });
    const again = await create(second, nonce);
    expect(again.token).not.toBe(first.token);
    for (const { token } of [first, again]) {
      const { client } = await hub.member(token);
      expect(await client.call("showRoom", { params: { room: lab } })).toMatchObject({
        role: "owner",
      });
    }
    const conflict = { code: "conflict" };
    await expect(create(hub)).rejects.toMatchObject(conflict);
    await expect(create(hub, "f".repeat(32))).rejects.toMatchObject(conflict);
    const stored = new TextDecoder().decode(hub.storage.rooms.bucket.peek("lab/room.json"));
    expect(stored).not.toContain(nonce);
    time.nowMs += 61_000;
    await expect(create(hub, nonce)).rejects.toMatchObject(conflict);
    await expect(create(hub, "short")).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("created without a nonce are not given to who brings one", async () => {
    const hub = new TestHub();
    await hub.createRoom("lab");
    const body = { name: "lab", nonce: "0".repeat(32) };
    await expect(hub.anyone.call("createRoom", { body })).rejects.toMatchObject({
      code: "conflict",
    });
  });

  it("say who looks, and who is there", async () => {
    const hub = new TestHub();
    const { client, room } = await hub.createRoom("lab");
    expect(await client.call("showRoom", { params: { room } })).toMatchObject({
      room: "lab",
      role: "owner",
      session: "active",
      peers: [],
      workers: 0,
    });
  });
});

describe("a room's session", () => {
  it("ends after idle time and begins again with the next caller; storage stays", async () => {
    const time = { nowMs: Date.UTC(2026, 0, 1) };
    const hub = new TestHub({ clock: () => time.nowMs });
    const { client, room } = await hub.createRoom("lab");
    const stored = () => {
      const text = new TextDecoder().decode(hub.storage.rooms.bucket.peek("lab/room.json"));
      return v.parse(RoomDoc, JSON.parse(text)).session;
    };
    time.nowMs += 2 * HOUR_MS;
    await hub.areas.sweep();
    expect(stored()).toMatchObject({ state: "ended", endedAt: new Date(time.nowMs).toISOString() });
    time.nowMs += HOUR_MS;
    await client.call("showRoom", { params: { room } });
    await hub.areas.stop();
    expect(stored()).toEqual({
      state: "active",
      startedAt: new Date(time.nowMs).toISOString(),
      lastActiveAt: new Date(time.nowMs).toISOString(),
    });
  });

  function setup() {
    const time = { nowMs: Date.UTC(2026, 0, 1) };
    const operations: string[] = [];
    const ended: string[] = [];
    const bucket = new MemoryBucket({ before: (operation) => void operations.push(operation) });
    const hub = () => {
      const rooms = new RoomDirectory(new Documents({ bucket, now: () => time.nowMs }));
      const sessions = new RoomSessions({
        rooms,
        idleMs: 2 * HOUR_MS,
        clock: () => time.nowMs,
        log: silentLog,
        onEnded: (room) => void ended.push(room),
      });
      return { rooms, sessions };
    };
    return { time, operations, ended, hub };
  }

  it("lives as long as something happens, at the cost of a write each few minutes", async () => {
    const { time, operations, ended, hub } = setup();
    const { rooms, sessions } = hub();
    await rooms.create(lab, "test", time.nowMs);
    operations.length = 0;
    for (let second = 0; second < 4 * 3600; second += 5) {
      time.nowMs += 5000;
      sessions.touch(lab);
    }
    await sessions.stop();
    expect(operations.filter((name) => name === "put").length).toBeLessThan(100);
    expect(await sessions.endIfIdle(lab)).toBe(false);
    expect(ended).toEqual([]);
  });

  it("does not end at one hub while another one sees activity", async () => {
    const { time, ended, hub } = setup();
    const [one, two] = [hub(), hub()];
    await one.rooms.create(lab, "test", time.nowMs);
    time.nowMs += 1.9 * HOUR_MS;
    two.sessions.touch(lab);
    await two.sessions.stop();
    time.nowMs += 0.2 * HOUR_MS;
    expect(await one.sessions.endIfIdle(lab)).toBe(false);
    time.nowMs += 2 * HOUR_MS;
    expect(await one.sessions.endIfIdle(lab)).toBe(true);
    expect(ended).toEqual(["lab"]);
  });

  it("that another hub has ended is ended here, too", async () => {
    const { time, ended, hub } = setup();
    const [one, two] = [hub(), hub()];
    await one.rooms.create(lab, "test", time.nowMs);
    two.sessions.touch(lab);
    time.nowMs += 2 * HOUR_MS;
    await one.sessions.endIfIdle(lab);
    expect(await two.sessions.endIfIdle(lab)).toBe(true);
    expect(ended).toEqual(["lab", "lab"]);
  });
});
