// What a room keeps and what it lets go, from the command line: rules, pins, removals, and a collection that a killed hub goes on with.
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";

/** Writes its argument as the model. */
const TRAINER = `
import { writeFileSync } from "node:fs";
writeFileSync(process.env.WAYBILL_OUTPUT + "/model.bin", "weights " + process.argv[2]);
`;

describe("retention", () => {
  let lab: Lab;
  const ids: string[] = [];
  const run = (...args: string[]) => runWaybill(args, lab.machine("owner"), { cwd: lab.home });
  const lines = async (...args: string[]): Promise<Line[]> => {
    const { code, lines: all, errors } = await run(...args);
    expect([code, errors].join(" "), args.join(" ")).toMatch(/^0/);
    return all;
  };
  const named = (all: Line[], type: string) =>
    all
      .filter((line) => line["type"] === type)
      .map((line) => [line["kind"], line["name"]].join(" "));
  const weightsOf = async (model: string) => {
    const dir = lab.path(`out-${model}`);
    await lines("model", "pull", model, dir);
    return readFile(`${dir}/model.bin`, "utf8");
  };

  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
    await lab.write("train.mjs", TRAINER);
    for (const words of [["--alias", "prod"], [], [], []]) {
      const trained = await lines("train", ...words, "--", "node", "train.mjs", String(ids.length));
      ids.push(String(trained.find((line) => line["type"] === "published")?.["model"]));
    }
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("lists before it removes: what, why, how much, and what is kept and why (I12)", async () => {
    const [prod = "", second = "", third = "", latest = ""] = ids;
    await lines("model", "pin", second, "--why", "the paper's");
    const rules = await lines("room", "retention", "--keep-per-type", "1", "--grace", "1h");
    expect(rules).toEqual([{ room: "lab", keep_per_type: 1, per_type: {}, grace_hours: 1 }]);
    await lines("room", "retention", "--untagged-days", "2", "--type", "other=3");
    expect(
      await lines("room", "retention", "--untagged-days", "none", "--type", "other=none"),
    ).toEqual(rules);
    const plan = await lines("gc", "--dry-run");
    expect(named(plan, "would_remove")).toEqual([`model ${third}`]);
    expect(plan[0]).toMatchObject({ why: "1 of type model are newer, and 1 are kept", bytes: 9 });
    expect(plan.filter((line) => line["type"] === "kept")).toMatchObject([
      { name: latest, why: ["latest-model"] },
      { name: second, why: [expect.stringMatching(/^pinned by \S+: the paper's$/)] },
      { name: prod, why: ["alias prod"] },
    ]);
    expect(plan.at(-1)).toMatchObject({
      type: "gc",
      dryRun: true,
      models: { count: 1, bytes: 9 },
      freed: { count: 0, bytes: 0 },
      kept: { count: 3, bytes: 27 },
    });
    expect(await lines("model", "ls")).toHaveLength(4);
  });

  it("removes by the rules, and what was removed comes back whole", async () => {
    const third = ids[2] ?? "";
    expect(named(await lines("gc"), "removed")).toEqual([`model ${third}`]);
    const pull = await run("model", "pull", third, lab.path("gone"));
    expect([pull.code, pull.errors]).toEqual([4, expect.stringContaining("waybill model restore")]);
    expect(await lines("model", "removed")).toMatchObject([
      { type: "removed_model", who: "hub", state: "held", entry: { id: third } },
    ]);
    const [restored] = await lines("model", "restore", third);
    expect(restored).toMatchObject({ id: third, pinned: { who: "owner" } });
    expect(await weightsOf(third)).toBe("weights 2");
  });

  it("removes what nobody holds, with a reason, and frees it once its time is over, though the hub was killed", async () => {
    const [prod = "", , third = ""] = ids;
    await lines("room", "retention", "--clear", "--grace", "0s");
    await lines("model", "unpin", third, "--why", "done with it");
    expect((await run("model", "rm", third)).code).toBe(2);
    const held = await run("model", "rm", third, prod, "--dry-run");
    expect([held.code, held.lines]).toMatchObject([
      5,
      [
        { type: "would_remove", model: third, heldBy: [] },
        { type: "would_remove", model: prod, heldBy: ["alias prod"] },
      ],
    ]);
    expect((await run("model", "rm", third, prod, "--why", "wrong labels")).code).toBe(5);
    const [entry] = await lines("model", "show", third);
    const removed = await lines("model", "rm", third, "--why", "wrong labels");
    expect(removed).toMatchObject([{ type: "removed", model: third, bytes: 9 }]);
    await lab.crashHub();
    expect(named(await lines("gc"), "removed")).toEqual([`bytes ${third}`]);
    expect(await lines("model", "removed")).toMatchObject([
      { who: "owner", why: "wrong labels", state: "purged" },
    ]);
    expect((await run("model", "restore", third)).code).toBe(4);
    const artifact = String(entry?.["artifact"]);
    expect((await run("pull", artifact, lab.path("bytes"))).code).toBe(4);
    expect(await weightsOf("prod")).toBe("weights 0");
    expect(named(await lines("gc"), "removed")).toEqual([]);
  });
});
