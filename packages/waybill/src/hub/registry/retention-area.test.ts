import type { Alias, GcReport } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { planOf } from "../uploads/push.fixture.ts";
import { DAY_MS, HOUR_MS, openRoom, treeOf } from "./retention.fixture.ts";

const WEEK_MS = 7 * DAY_MS;
const named = ({ goes }: Pick<GcReport, "goes">) => goes.map(({ kind, name }) => `${kind} ${name}`);

describe("a removed model", () => {
  it("is no model any more, its bytes are there for the grace period, and it can come back", async () => {
    const { client, room, time, publish, remove, objects, read, hub } = await openRoom();
    const old = await publish("aaaaaaaa");
    await publish("bbbbbbbb");
    const { removals } = await remove(old);
    const bytesUntil = new Date(time.nowMs + WEEK_MS).toISOString();
    expect(removals).toMatchObject([{ model: old, modelType: "net", bytesUntil, heldBy: [] }]);
    const show = () => client.call("showModel", { params: { room, model: old } });
    await expect(show()).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("was removed by owner on 2026-01-01: too old"),
      hint: expect.stringContaining("waybill model restore"),
    });
    time.nowMs += WEEK_MS - 1;
    await hub.areas.sweep();
    expect(objects(old)).toHaveLength(2);
    expect(await read(treeOf("aaaaaaaa"))).toBe("weights of aaaaaaaa");
    await client.call("restoreModel", { params: { room, model: old }, body: {} });
    expect((await show()).model.id).toBe(old);
    time.nowMs += WEEK_MS;
    await hub.areas.sweep();
    expect(await read(treeOf("aaaaaaaa"))).toBe("weights of aaaaaaaa");
  });

  it("loses its bytes after the grace period, and leaves its trace for ever (I12)", async () => {
    const { client, params, room, time, publish, remove, objects, read, hub, logged, registry } =
      await openRoom();
    const old = await publish("aaaaaaaa");
    const kept = await publish("bbbbbbbb");
    await remove(old);
    time.nowMs += WEEK_MS;
    await hub.areas.sweep();
    expect([objects(old), objects(kept).length]).toEqual([[], 2]);
    await expect(read(treeOf("aaaaaaaa"))).rejects.toMatchObject({ code: "not_found" });
    const { removed } = await client.call("listRemoved", { params });
    const purgedAt = new Date(time.nowMs).toISOString();
    expect(removed).toMatchObject([
      { entry: { id: old }, who: "owner", why: "too old", state: "purged", purged_at: purgedAt },
    ]);
    const restore = client.call("restoreModel", { params: { room, model: old }, body: {} });
    await expect(restore).rejects.toMatchObject({ code: "expired" });
    expect(logged.map(({ message }) => message)).toContain("bytes of a removed model are gone");
    // Nothing is left to be done.
    const before = await registry();
    await hub.areas.sweep();
    expect(await registry()).toEqual(before);
  });

  it("is refused while a name holds it, and a dry run says which", async () => {
    const { client, params, publish, remove, registry } = await openRoom();
    const old = await publish("aaaaaaaa", { alias: "prod" as Alias });
    const free = await publish("bbbbbbbb");
    const newest = await publish("cccccccc");
    const body = { models: [old, free, newest], why: "x", dryRun: true };
    const { removals } = await client.call("removeModels", { params, body });
    expect(removals.map(({ heldBy }) => heldBy)).toEqual([["alias prod"], [], ["latest-net"]]);
    await expect(remove(free, "prod")).rejects.toMatchObject({ code: "conflict" });
    expect(Object.keys((await registry()).models)).toHaveLength(3);
  });

  it("and a move of an alias to it, asked of two hubs at once: one of them wins, and both agree", async () => {
    for (let round = 0; round < 10; round++) {
      const { client, params, room, publish, elsewhere, registry } = await openRoom();
      const model = await publish("aaaaaaaa");
      await publish("bbbbbbbb");
      const other = await elsewhere();
      const calls = [
        () => client.call("removeModels", { params, body: { models: [model], why: "x" } }),
        () =>
          other.client.call("setAlias", {
            params: { room, alias: "prod" },
            body: { model },
          }),
      ];
      const order = round % 2 === 0 ? calls : calls.toReversed();
      const outcomes = await Promise.allSettled(order.map((call) => call()));
      expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
      const { models, aliases, tombstones } = await registry();
      expect(models[model] === undefined).toBe(aliases["prod"] === undefined);
      expect(models[model] === undefined).toBe(tombstones[model] !== undefined);
    }
  });
});

describe("a room's rules", () => {
  it("are the owner's to set, and everybody's to see", async () => {
    const { client, params, room, hub, setRules } = await openRoom();
    await setRules({ keep_per_type: 3, per_type: { net: 1 }, untagged_days: 30 });
    const member = await hub.join(client, room, "member");
    const rules = { keep_per_type: 3, per_type: { net: 1 }, untagged_days: 30, grace_hours: 168 };
    expect(await member.client.call("showRetention", { params })).toEqual(rules);
    const set = member.client.call("setRetention", { params, body: { keep_per_type: 1 } });
    await expect(set).rejects.toMatchObject({ code: "forbidden" });
    expect(await setRules({ clear: true })).toEqual({ per_type: {}, grace_hours: 168 });
  });

  it("are applied by the hub itself, round by round, and what they let go can be restored for good", async () => {
    const { client, params, room, time, publish, setRules, hub, registry, logged } =
      await openRoom();
    const pinned = await publish("aaaaaaaa");
    const old = await publish("bbbbbbbb");
    await publish("cccccccc");
    await client.call("pinModel", {
      params: { room, model: pinned },
      body: { why: "the paper's" },
    });
    await hub.areas.sweep();
    expect(Object.keys((await registry()).models)).toHaveLength(3);
    await setRules({ keep_per_type: 1, grace_hours: 24 });
    await hub.areas.sweep();
    const { models, tombstones } = await registry();
    expect(Object.keys(models)).toEqual([pinned, "cccccccc"]);
    expect(tombstones[old]).toMatchObject({
      who: "hub",
      why: "retention: 1 of type net are newer, and 1 are kept",
    });
    expect(logged.find(({ message }) => message === "model removed")).toMatchObject({ model: old });
    await client.call("restoreModel", { params: { room, model: old }, body: {} });
    time.nowMs += 3 * DAY_MS;
    await hub.areas.sweep();
    expect((await registry()).models[old]?.pinned?.why).toMatch(/^restored/);
    await client.call("unpinModel", { params: { room, model: old }, body: { why: "done" } });
    await hub.areas.sweep();
    expect((await registry()).tombstones[old]?.state).toBe("held");
    expect(await client.call("listRemoved", { params })).toMatchObject({
      removed: [{ who: "hub" }],
    });
  });
});

describe("a collection", () => {
  it("does what its plan says, and says what is kept and why", async () => {
    const { client, params, time, publish, setRules } = await openRoom();
    const ids: string[] = [];
    for (const digit of ["a", "b", "c", "d"]) {
      const alias = digit === "a" ? { alias: "prod" as Alias } : {};
      ids.push(await publish(digit.repeat(8), alias));
    }
    await setRules({ keep_per_type: 1, grace_hours: 1 });
    const plan = await client.call("planGc", { params });
    const until = new Date(time.nowMs + HOUR_MS).toISOString();
    expect(plan.goes).toMatchObject([
      { kind: "model", name: ids[1], modelType: "net", bytes: 19, until },
      { kind: "model", name: ids[2], why: "1 of type net are newer, and 1 are kept" },
    ]);
    expect(plan.kept).toMatchObject([
      { kind: "model", name: ids[3], why: ["latest-net"] },
      { kind: "model", name: ids[0], why: ["alias prod"] },
    ]);
    const done = await client.call("runGc", { params });
    expect([named(done), done.more]).toEqual([named(plan), false]);
    const later = await client.call("planGc", { params });
    expect([later.goes, later.kept.map(({ kind }) => kind)]).toEqual([
      [],
      ["model", "model", "bytes", "bytes"],
    ]);
    time.nowMs += HOUR_MS;
    const bytes = await client.call("planGc", { params });
    expect(named(bytes)).toEqual([`bytes ${ids[1]}`, `bytes ${ids[2]}`]);
    expect(named(await client.call("runGc", { params }))).toEqual(named(bytes));
    expect((await client.call("planGc", { params })).kept).toHaveLength(2);
  });

  it("ends uploads that have expired, and says so before", async () => {
    const { client, params, time, room } = await openRoom();
    await client.call("beginUpload", {
      params: { room },
      body: planOf(treeOf("x"), { name: "mice" }),
    });
    expect((await client.call("planGc", { params })).goes).toEqual([]);
    time.nowMs += 2 * DAY_MS;
    const plan = await client.call("planGc", { params });
    expect(plan.goes).toMatchObject([
      { kind: "upload", why: "the push of mice was never completed" },
    ]);
    expect(named(await client.call("runGc", { params }))).toEqual(named(plan));
    expect((await client.call("planGc", { params })).goes).toEqual([]);
  });
});
