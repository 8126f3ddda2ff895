import { artifactId } from "@waybill/sdk/artifact";
import type { GcReport, ModelId } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { manifestOf } from "../uploads/push.fixture.ts";
import { DAY_MS, HOUR_MS, JOB, openRoom, treeOf } from "./retention.fixture.ts";

const folders = (all: GcReport["goes"] | GcReport["kept"]) =>
  all
    .filter(({ kind }) => kind === "folder")
    .map(({ name, why }): [string, string] => [name, String(why)])
    .toSorted(([a], [b]) => (a < b ? -1 : 1));

/** A room with a folder of a job's attempt, and one that its worker filled by itself; nobody published them. */
async function withLeftovers() {
  const room = await openRoom();
  await room.publish("bbbbbbbb");
  const { model } = await room.pushModel("aaaaaaaa");
  const { bucket } = room.storage.rooms;
  // As if a job's worker had done it.
  const key = `lab/model-ids/${model}`;
  const reservation = JSON.parse(new TextDecoder().decode(bucket.peek(key)));
  await bucket.put(key, JSON.stringify({ ...reservation, owner: JOB }));
  const { hub, client } = await room.elsewhere();
  await bucket.put(`lab/models/net_${model}.2/model.bin`, "from a fenced worker");
  const ended = (over: object) =>
    room.putJob({ state: "failed", endedAt: new Date(room.time.nowMs).toISOString(), ...over });
  const plan = async () => client.call("planGc", { params: room.params });
  return { ...room, hub, client, model, ended, plan };
}

describe("a folder that nobody published", () => {
  it("stays while its job may publish it, and for a day after the job's end", async () => {
    const { putJob, ended, plan, time, model } = await withLeftovers();
    expect(folders((await plan()).kept).map(([, why]) => why)).toEqual([
      `nothing is known of its job ${JOB}`,
      `nothing is known of its job ${JOB}`,
    ]);
    await putJob({ state: "queued", attempt: 2 });
    time.nowMs += 30 * DAY_MS;
    expect(folders((await plan()).kept)).toEqual([
      [`net_${model}`, `job ${JOB} may publish it: it is queued`],
      [`net_${model}.2`, `job ${JOB} may publish it: it is queued`],
    ]);
    await ended({});
    time.nowMs += 23 * HOUR_MS;
    expect(folders((await plan()).goes)).toEqual([]);
    time.nowMs += HOUR_MS;
    expect(folders((await plan()).goes)).toEqual([
      [`net_${model}`, `job ${JOB} ended (failed) and published nothing of it`],
      [`net_${model}.2`, `job ${JOB} ended (failed) and published nothing of it`],
    ]);
  });

  it("goes with its artifact's record when it is collected; published models keep theirs", async () => {
    const { client, params, ended, time, model, objects, storage, read, plan } =
      await withLeftovers();
    await ended({ state: "completed", model: "cccccccc" as ModelId });
    time.nowMs += DAY_MS;
    const done = await client.call("runGc", { params });
    expect(folders(done.goes)).toEqual([
      [`net_${model}`, `job ${JOB} ended (completed) and published model cccccccc instead`],
      [`net_${model}.2`, `job ${JOB} ended (completed) and published model cccccccc instead`],
    ]);
    expect([objects(model), objects("bbbbbbbb").length]).toEqual([[], 2]);
    const artifact = artifactId(manifestOf(treeOf("aaaaaaaa")));
    expect(storage.rooms.bucket.keys).not.toContain(`lab/artifacts/${artifact}.json`);
    expect(await read(treeOf("bbbbbbbb"))).toBe("weights of bbbbbbbb");
    expect((await plan()).goes).toEqual([]);
  });

  it("is collected by the hub itself in rooms that have rules only, and not in every round", async () => {
    const { ended, time, model, objects, hub, setRules } = await withLeftovers();
    await ended({});
    time.nowMs += DAY_MS;
    await hub.areas.sweep();
    expect(objects(model)).toHaveLength(3);
    await setRules({ keep_per_type: 9 });
    await hub.areas.sweep();
    expect(objects(model)).toEqual([]);
  });

  it("stays when its job says that it was published: the registry has lost it, then", async () => {
    const { ended, time, model, plan } = await withLeftovers();
    await ended({ state: "completed", model });
    time.nowMs += 9 * DAY_MS;
    const { goes, kept } = await plan();
    expect(folders(goes)).toEqual([]);
    expect(folders(kept)[0]?.[1]).toMatch(/has no entry of it: check the registry/);
  });

  it("stays when something came there since, or people pushed it, or the id is nobody's", async () => {
    const { ended, time, model, plan, storage, pushModel } = await withLeftovers();
    await ended({});
    time.nowMs += DAY_MS;
    await storage.rooms.bucket.put(`lab/models/net_${model}.2/late.bin`, "late");
    const { model: theirs } = await pushModel("dddddddd");
    await storage.rooms.bucket.put("lab/models/net_eeeeeeee/x", "x");
    await storage.rooms.bucket.put("lab/models/what-is-this/x", "x");
    time.nowMs += HOUR_MS;
    const { goes, kept } = await plan();
    expect(folders(goes).map(([name]) => name)).toEqual([`net_${model}`]);
    expect(folders(kept).map(([name, why]) => [name, why?.slice(0, 20)])).toEqual([
      [`net_${model}.2`, `job ${JOB}`.slice(0, 20)],
      [`net_${theirs}`, "people pushed it: it"],
      ["net_eeeeeeee", "nobody has reserved "],
    ]);
  });
});
