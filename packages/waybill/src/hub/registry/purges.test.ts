// Bytes that go while hubs die, race each other, and others come to need the same content.
import { artifactId } from "@waybill/sdk/artifact";
import { WaybillError } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { crcOf, manifestOf, planOf, push, tinyTree } from "../uploads/push.fixture.ts";
import { DAY_MS, JOB, type Room, openRoom, treeOf } from "./retention.fixture.ts";

const WEEK_MS = 7 * DAY_MS;
/** More requests than a purge of one model makes. */
const MOST_STEPS = 60;

/** A room whose model `aaaaaaaa` was removed a week ago; `bbbbbbbb` stays. */
async function overdue() {
  const room = await openRoom();
  const old = await room.publish("aaaaaaaa");
  await room.publish("bbbbbbbb");
  await room.remove(old);
  room.time.nowMs += WEEK_MS;
  return { ...room, old };
}

/** Calls `act` before the n-th request that a hub makes of the store from now on; answers whether there was one. */
function atStep(room: Room, n: number, act: () => void | Promise<void>): () => boolean {
  let steps = 0;
  room.storage.interceptBy(async () => {
    steps += 1;
    if (steps === n) await act();
  });
  return () => steps >= n;
}

/** Every request from the n-th on fails. */
function dieAtStep(room: Room, n: number): () => boolean {
  let steps = 0;
  room.storage.interceptBy(() => {
    steps += 1;
    if (steps >= n) throw new WaybillError("storage_failed", "killed");
  });
  return () => steps >= n;
}

/** What is left of the model, and of the one that stays. */
async function left({ registry, objects, old, storage, read }: Room & { readonly old: string }) {
  const artifact = artifactId(manifestOf(treeOf("aaaaaaaa")));
  return {
    state: (await registry()).tombstones[old]?.state ?? "kept",
    objects: objects(old).length,
    isKnown: storage.rooms.bucket.keys.includes(`lab/artifacts/${artifact}.json`),
    other: await read(treeOf("bbbbbbbb")),
  };
}
const PURGED = { state: "purged", objects: 0, isKnown: false, other: "weights of bbbbbbbb" };
const RESTORED = { ...PURGED, state: "kept", objects: 2, isKnown: true };

describe("purging", () => {
  it("goes on after a hub was killed at any of its steps (I12)", async () => {
    let steps = 0;
    for (let n = 1; n < MOST_STEPS; n++) {
      const room = await overdue();
      // From its n-th request on this hub gets nothing done.
      const reached = dieAtStep(room, n);
      await room.hub.areas.sweep();
      room.storage.interceptBy(() => {});
      const next = await room.elsewhere();
      await next.hub.areas.sweep();
      expect(await left(room)).toEqual(PURGED);
      steps = n;
      if (!reached()) break;
    }
    expect(steps).toBeGreaterThan(10);
    expect(steps).toBeLessThan(MOST_STEPS);
  });

  it("is done once by two hubs that sweep at the same time", async () => {
    const room = await overdue();
    const other = await room.elsewhere();
    room.storage.interceptBy(() => new Promise(setImmediate));
    await Promise.all([room.hub.areas.sweep(), other.hub.areas.sweep()]);
    expect(await left(room)).toEqual(PURGED);
  });

  it("loses to a restore that comes before it, at whatever step of a sweep", async () => {
    const outcomes = new Set<string>();
    for (let n = 1; n < MOST_STEPS; n++) {
      const room = await overdue();
      const other = await room.elsewhere();
      let restored: string | undefined;
      const reached = atStep(room, n, async () => {
        const params = { room: room.room, model: room.old };
        restored = await other.client.call("restoreModel", { params, body: {} }).then(
          () => "restored",
          (error: unknown) => (error as WaybillError).code,
        );
      });
      await room.hub.areas.sweep();
      if (!reached()) break;
      room.storage.interceptBy(() => {});
      await room.hub.areas.sweep();
      outcomes.add(restored ?? "none");
      expect(await left(room)).toEqual(restored === "restored" ? RESTORED : PURGED);
    }
    expect([...outcomes].toSorted()).toEqual(["expired", "restored"]);
  });
});

describe("content that a removed model shares", () => {
  const twins = treeOf("twins");
  const artifact = artifactId(manifestOf(twins));

  it("with another model stays readable, from that one's folder", async () => {
    const { publish, remove, time, hub, objects, read } = await openRoom();
    const first = await publish("aaaaaaaa", {}, twins);
    const second = await publish("cccccccc", {}, twins);
    await publish("bbbbbbbb");
    await remove(first);
    time.nowMs += WEEK_MS;
    await hub.areas.sweep();
    expect([objects(first), objects(second).length]).toEqual([[], 2]);
    expect(await read(twins)).toBe("weights of twins");
    await remove(second);
    time.nowMs += WEEK_MS;
    await hub.areas.sweep();
    expect(objects(second)).toEqual([]);
    await expect(read(twins)).rejects.toMatchObject({ code: "not_found" });
  });

  it("with a model that is published meanwhile stays readable, at whatever step", async () => {
    let steps = 0;
    for (let n = 1; n < MOST_STEPS; n++) {
      const room = await openRoom();
      const first = await room.publish("aaaaaaaa", {}, twins);
      await room.publish("bbbbbbbb");
      await room.remove(first);
      room.time.nowMs += WEEK_MS;
      const other = await room.elsewhere();
      const training = { trained_by: "ada", metrics: {}, config: {} };
      const { model } = await room.pushModel("cccccccc", twins);
      const reached = atStep(room, n, async () => {
        const body = { id: model, artifact, model_type: "net" as never, tags: [], training };
        await other.client.call("publishModel", { params: room.params, body });
      });
      await room.hub.areas.sweep();
      steps = n;
      if (!reached()) break;
      room.storage.interceptBy(() => {});
      await room.hub.areas.sweep();
      expect(room.objects(model)).toHaveLength(2);
      // A record may be remembered for some seconds.
      room.time.nowMs += 10_000;
      expect(await room.read(twins)).toBe("weights of twins");
    }
    expect(steps).toBeGreaterThan(10);
  });

  it("with a data set that was pushed by its name keeps its bytes, and is told of", async () => {
    const room = await overdue();
    const { client, params, objects, old, hub, registry, read } = room;
    const input = { params: { ...params, artifact: artifactId(manifestOf(treeOf("aaaaaaaa"))) } };
    await client.call("adoptArtifact", { ...input, body: { name: "mice", keep: true } });
    await hub.areas.sweep();
    expect([objects(old).length, (await registry()).tombstones[old]?.state]).toEqual([2, "held"]);
    const { goes, kept } = await client.call("planGc", { params });
    expect(goes).toEqual([]);
    expect(kept.find(({ name }) => name === old)?.why).toContain("it is data set mice, too");
    expect(await read(treeOf("aaaaaaaa"))).toBe("weights of aaaaaaaa");
  });

  it("with a data set that is pushed meanwhile: its pusher has it, or is told to send it, at whatever step", async () => {
    const outcomes = new Set<string>();
    for (let n = 1; n < MOST_STEPS; n++) {
      const room = await overdue();
      const other = await room.elsewhere();
      const params = { ...room.params, artifact: artifactId(manifestOf(treeOf("aaaaaaaa"))) };
      let outcome = "none";
      const reached = atStep(room, n, async () => {
        const body = { name: "mice", keep: true };
        outcome = await other.client.call("adoptArtifact", { params, body }).then(
          () => "adopted",
          () => "refused",
        );
      });
      await room.hub.areas.sweep();
      if (!reached()) break;
      room.storage.interceptBy(() => {});
      await room.hub.areas.sweep();
      outcomes.add(outcome);
      room.time.nowMs += 10_000;
      if (outcome === "refused") {
        await push(room.client, room.storage, room.room, treeOf("aaaaaaaa"), { name: "mice" });
      }
      expect(await room.read(treeOf("aaaaaaaa")), `step ${n}`).toBe("weights of aaaaaaaa");
    }
    expect([...outcomes].toSorted()).toEqual(["adopted", "refused"]);
  });

  it("with a job that runs stays until the job has ended", async () => {
    const room = await overdue();
    const dataset = artifactId(manifestOf(treeOf("aaaaaaaa")));
    const spec = { command: ["true"], dataset };
    await room.storage.rooms.bucket.put(`lab/live-jobs/${JOB}`, "");
    await room.putJob({ state: "queued", spec });
    await room.hub.areas.sweep();
    expect(room.objects(room.old)).toHaveLength(2);
    await room.putJob({ state: "failed", spec, endedAt: new Date(room.time.nowMs).toISOString() });
    await room.hub.areas.sweep();
    expect(await left(room)).toEqual(PURGED);
  });
});

describe("a push that copies from a removed model", () => {
  it("is told what the store does not have any more, and completes with bytes of its own", async () => {
    const room = await overdue();
    const { client, params, storage, hub } = room;
    const tree = tinyTree({ "copy.bin": "weights of aaaaaaaa" });
    const body = tree.get("copy.bin") ?? new Uint8Array();
    const { status } = await client.call("beginUpload", { params, body: planOf(tree) });
    const from = {
      artifact: artifactId(manifestOf(treeOf("aaaaaaaa"))),
      key: "model.bin",
      start: 0,
    };
    const copy = { key: "copy.bin", part: 0, size: body.length, crc32: crcOf(body), from };
    await hub.areas.sweep();
    room.time.nowMs += 10_000;
    const { copied } = await client.call("copyParts", {
      params: { ...params, upload: status.upload },
      body: { copies: [copy] },
    });
    expect(copied).toMatchObject([{ copied: false, reason: expect.stringMatching(/holds no/) }]);
    const { record } = await push(client, storage, room.room, tree);
    expect(record.bytes).toBe(body.length);
    expect(await left(room)).toEqual(PURGED);
  });
});
