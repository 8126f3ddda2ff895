import { LIMITS, type RoomId } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { TestHub, newIdentity } from "../hub.fixture.ts";

async function setup() {
  const time = { nowMs: Date.UTC(2026, 0, 1) };
  const hub = new TestHub({ clock: () => time.nowMs });
  const owner = await hub.createRoom("lab");
  const invite = async (room: RoomId = owner.room) =>
    owner.client.call("createInvite", { params: { room }, body: { role: "worker" } });
  const join = async (code: string, publicKey?: string) => {
    const key = publicKey ?? (await newIdentity()).publicKey;
    return hub.anyone.call("join", { body: { code, publicKey: key, name: "box" } });
  };
  return { time, hub, owner, room: owner.room, invite, join };
}

describe("invites", () => {
  it("admit one key, read without regard to case and hyphens", async () => {
    const { invite, join } = await setup();
    const { code } = await invite();
    expect(code).toMatch(/^[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}$/);
    expect(await join(code.toLowerCase().replace("-", " "))).toMatchObject({
      room: "lab",
      role: "worker",
    });
    await expect(join(code)).rejects.toMatchObject({ code: "expired" });
  });

  it("answer the same key again, because an answer may be lost", async () => {
    const { invite, join } = await setup();
    const { code } = await invite();
    const { publicKey } = await newIdentity();
    await join(code, publicKey);
    expect(await join(code, publicKey)).toMatchObject({ room: "lab" });
  });

  it("admit exactly one of many who try at once at two hubs", async () => {
    const { hub, invite } = await setup();
    const second = new TestHub({ storage: hub.storage });
    const { code } = await invite();
    const tries = await Promise.allSettled(
      Array.from({ length: 16 }, async (_, i) => {
        const { publicKey } = await newIdentity();
        const at = i % 2 === 0 ? hub : second;
        return at.anyone.call("join", { body: { code, publicKey, name: "box" } });
      }),
    );
    expect(tries.filter((entry) => entry.status === "fulfilled")).toHaveLength(1);
  });

  it("expire after ten minutes, and unknown codes are not found", async () => {
    const { time, invite, join } = await setup();
    const { code } = await invite();
    time.nowMs += LIMITS.inviteMs;
    await expect(join(code)).rejects.toMatchObject({ code: "expired" });
    await expect(join("ZZZZ-ZZZZ")).rejects.toMatchObject({ code: "not_found" });
  });

  it("keep no code in the bucket and are swept a day after they expire", async () => {
    const { time, hub, invite } = await setup();
    const { code } = await invite();
    const keys = () => hub.storage.rooms.bucket.keys.filter((key) => key.startsWith("_invites/"));
    expect(keys()).toHaveLength(1);
    expect(keys()[0]).not.toContain(code.replace("-", ""));
    time.nowMs += 25 * 3_600_000;
    await hub.areas.sweep();
    expect(keys()).toEqual([]);
  });

  it("cannot be guessed: failed joins are limited, successful ones are not", async () => {
    const { invite, join } = await setup();
    for (let i = 0; i < 80; i++) await join((await invite()).code);
    for (let i = 0; i < 64; i++) await join("ZZZZ-ZZZZ").catch(() => undefined);
    await expect(join("ZZZZ-ZZZZ")).rejects.toMatchObject({ code: "rate_limited" });
  });
});

describe("tokens", () => {
  it("are renewed with the same rights and key", async () => {
    const { hub, owner, room, time } = await setup();
    const viewer = await hub.join(owner.client, room, "viewer");
    time.nowMs += LIMITS.tokenMs / 2;
    const renewed = await viewer.client.call("renewToken", { params: { room } });
    expect(Date.parse(renewed.expiresAt)).toBe(time.nowMs + LIMITS.tokenMs);
    time.nowMs += LIMITS.tokenMs - 60_000;
    const again = await hub.member(renewed.token, viewer.identity);
    expect(await again.client.call("showRoom", { params: { room } })).toMatchObject({
      role: "viewer",
    });
    await expect(viewer.client.call("renewToken", { params: { room } })).rejects.toMatchObject({
      code: "token_expired",
    });
  });
});

describe("worker keys", () => {
  async function withKey() {
    const context = await setup();
    const identity = await newIdentity();
    const create = () =>
      context.owner.client.call("createWorkerKey", {
        params: { room: context.room },
        body: { publicKey: identity.publicKey, label: "pod", days: 10 },
      });
    const created = await create();
    const pod = await context.hub.member(created.token, identity);
    return { ...context, create, created, pod };
  }

  it("act as a worker until they expire, however often they are renewed", async () => {
    const { pod, room, created, time } = await withKey();
    expect(await pod.client.call("showRoom", { params: { room } })).toMatchObject({
      role: "worker",
    });
    time.nowMs += 5 * 86_400_000;
    const renewed = await pod.client.call("renewToken", { params: { room } });
    expect(renewed.expiresAt).toBe(created.key.expiresAt);
  });

  it("are useless once revoked, also for renewal, at other hubs within seconds", async () => {
    const { hub, owner, pod, room, created, time } = await withKey();
    const second = new TestHub({ storage: hub.storage, clock: () => time.nowMs });
    const elsewhere = await second.member(created.token, pod.identity);
    await elsewhere.client.call("showRoom", { params: { room } });
    const key = created.key.id;
    await owner.client.call("revokeWorkerKey", { params: { room, key } });
    await owner.client.call("revokeWorkerKey", { params: { room, key } });
    await expect(pod.client.call("showRoom", { params: { room } })).rejects.toMatchObject({
      code: "unauthorized",
    });
    await expect(pod.client.call("renewToken", { params: { room } })).rejects.toMatchObject({
      code: "unauthorized",
    });
    time.nowMs += 5001;
    await expect(elsewhere.client.call("showRoom", { params: { room } })).rejects.toMatchObject({
      code: "unauthorized",
    });
    const { keys } = await owner.client.call("listWorkerKeys", { params: { room } });
    expect(keys).toMatchObject([{ id: key, label: "pod" }]);
    expect(keys[0]?.revokedAt).toBeDefined();
  });

  it("are listed once when the same one is asked for twice", async () => {
    const { create, created, owner, room } = await withKey();
    const again = await create();
    expect(again.key).toEqual(created.key);
    const { keys } = await owner.client.call("listWorkerKeys", { params: { room } });
    expect(keys).toHaveLength(1);
    expect(Object.keys(keys[0] ?? {}).sort()).toEqual(["createdAt", "expiresAt", "id", "label"]);
  });
});
