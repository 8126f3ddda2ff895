import { mkdir } from "node:fs/promises";
import { createClient } from "@waybill/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab, ROOM } from "../support/lab.ts";
import { QUICK_TRAINER } from "../support/scripts.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";

describe("names of models", () => {
  let lab: Lab;
  /** Models by the loss they ended with: 1, 1/2, 1/4. */
  const models: string[] = [];

  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    await mkdir(lab.path("data"));
    await lab.write("code/train.mjs", QUICK_TRAINER);
    await lab.write("data/train.csv", "a\n");
    for (const epochs of [1, 2, 4]) models.push(await train(epochs, "--tag", "swept"));
    const { code } = await lab.ask(["room", "invite", "--role", "member"]);
    await lab.ask(["room", "join", String(code)], "bob");
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** A model whose loss is 1 / epochs. */
  async function train(epochs: number, ...words: string[]): Promise<string> {
    const given = `train --dataset ${lab.path("data")} --config epochs=${epochs}`.split(" ");
    const trainer = ["--", "node", "train.mjs"];
    const { lines, errors } = await runWaybill(
      [...given, ...words, ...trainer],
      lab.machine("owner"),
      { cwd: lab.path("code") },
    );
    const published = lines.find((line) => line["type"] === "published");
    if (published === undefined) throw new Error(`no model was published: ${errors}`);
    return String(published["model"]);
  }

  const run = (words: readonly string[], machine = "bob") =>
    runWaybill(words, lab.machine(machine));
  const refused = async (words: readonly string[], machine = "bob") => {
    const { code, lines } = await run(words, machine);
    return { code, ...lines.at(-1) };
  };
  const ids = (lines: readonly Line[]) => lines.map((line) => line["id"]);

  it("finds models by tag, metric, age and alias, sorted, the first so many", async () => {
    const found = await run(
      "model ls --tag swept --metric loss<0.6 --since 1h --sort loss".split(" "),
    );
    expect(ids(found.lines)).toEqual([models[2], models[1]]);
    const worst = await run(["model", "ls", "--sort", "loss", "--desc", "--limit", "1"]);
    expect(ids(worst.lines)).toEqual([models[0]]);
    const latest = await run(["model", "ls", "--alias", "latest-*"]);
    expect(latest.lines).toMatchObject([{ id: models[2], aliases: ["latest-model"] }]);
    expect((await run(["model", "ls", "--tag", "nothing"])).lines).toEqual([]);
    expect(await refused(["model", "ls", "--metric", "loss"])).toMatchObject({
      code: "invalid_request",
      message: expect.stringContaining("at character 5"),
    });
  });

  it("moves an alias under conditions and expectations, tells why not, and keeps it all", async () => {
    const [first = "", second = "", third = ""] = models;
    const set = (model: string, ...words: string[]) => ["alias", "set", "prod", model, ...words];
    expect(await lab.ask(set(second, "--expect", "none", "--why", "the first"), "bob")).toEqual({
      alias: "prod",
      model: second,
    });
    expect((await run(set(third, "--expect", "none"))).code).toBe(5);
    expect((await run(set(third, "--expect", first))).code).toBe(5);
    expect(await refused(set(first, "--if", "loss < current"))).toMatchObject({
      code: "conflict",
      message: expect.stringContaining("loss is 1, not < 0.5"),
    });
    expect(await lab.ask(set(third, "--expect", second, "--if", "loss<current*0.9"))).toMatchObject(
      {
        model: third,
        from: second,
        gate: "loss<current*0.9: loss is 0.25, < 0.45",
      },
    );
    expect(await lab.ask(["alias", "rollback", "prod", "--why", "too small"], "bob")).toEqual({
      alias: "prod",
      model: second,
      from: third,
    });
    await lab.ask(["alias", "rm", "prod"]);
    expect((await run(["model", "show", "prod"])).code).toBe(4);
    expect(await lab.ask(["alias", "rollback", "prod"])).toMatchObject({ model: second });
    const { lines } = await run(["alias", "history", "prod"]);
    expect(lines.map(({ n, from, to, why }) => [n, from, to, why])).toEqual([
      [5, undefined, second, expect.stringContaining("rollback of the move of")],
      [4, second, undefined, "no reason given"],
      [3, third, second, "rollback: too small"],
      [2, second, third, "loss<current*0.9"],
      [1, undefined, second, "the first"],
    ]);
    expect(lines[3]).toMatchObject({
      gate: { condition: "loss<current*0.9", candidate: 0.25, current: 0.5 },
    });
    expect((await run(["alias", "rollback", "never"])).code).toBe(4);
  });

  it("leaves protected aliases to the owner, who says why", async () => {
    const [first = "", second = ""] = models;
    await lab.ask(["alias", "protect", "prod", "clinic"]);
    expect((await run(["alias", "set", "clinic", first, "--why", "mine"])).code).toBe(3);
    expect((await run(["alias", "protect", "other"])).code).toBe(3);
    expect(await refused(["alias", "set", "clinic", first], "owner")).toMatchObject({
      code: "invalid_request",
      hint: expect.stringContaining("--why"),
    });
    await lab.ask(["model", "alias", "clinic", first, "--why", "approved"]);
    const { lines } = await run(["alias", "ls"]);
    expect(lines.map(({ alias, model, protected: guarded }) => [alias, model, guarded])).toEqual([
      ["clinic", first, true],
      ["latest-model", models[2], false],
      ["prod", second, true],
    ]);
    await lab.ask(["alias", "unprotect", "clinic"]);
    await lab.ask(["model", "alias", "clinic", "--remove"], "bob");
  });

  it("tags several models at once and keeps notes", async () => {
    const [first = "", second = ""] = models;
    const tagged = await run([
      "model",
      "tag",
      `${first},${second}`,
      "validated",
      "--remove",
      "swept",
    ]);
    expect(tagged.lines).toMatchObject([{ changed: true }, { changed: true }]);
    expect((await run(["model", "tag", `${first},nothing`, "x"])).code).toBe(4);
    const validated = await run(["model", "ls", "--tag", "validated", "--asc"]);
    expect(ids(validated.lines)).toEqual([first, second]);
    await lab.ask(["model", "note", first, "fine on night videos"], "bob");
    expect(await lab.ask(["model", "note", first])).toMatchObject({
      notes: "fine on night videos",
      noted: { by: expect.stringContaining("@") },
    });
    expect(await lab.ask(["model", "note", first, "--clear"])).toMatchObject({
      before: "fine on night videos",
    });
  });

  it("is all to be had from code, too", async () => {
    const { rooms } = JSON.parse(await lab.read("owner/credentials.json")) as { rooms: Line[] };
    const token = String(rooms[0]?.["token"]);
    await using client = await createClient({ hub: lab.hubUrl, room: ROOM, token });
    const rows = await Array.fromAsync(client.models({ metrics: "loss<0.6", sort: "loss" }));
    expect(rows.map(({ model }) => model.id)).toEqual([models[2], models[1]]);
    await client.setAlias("coded", String(models[2]), { expect: "none", why: "from code" });
    await client.setAlias("coded", String(models[1]), { if: "loss > current" });
    expect(await client.rollbackAlias("coded")).toMatchObject({ model: models[2] });
  });

  it("lets a job of the owner move a protected alias, and no other's", async () => {
    await lab.ask(["alias", "protect", "nightly"]);
    const model = await train(8, "--alias", "nightly");
    expect(await lab.ask(["model", "show", "nightly"])).toMatchObject({ id: model });
    const words = ["train", "--dataset", lab.path("data"), "--alias", "nightly", "--", "true"];
    expect((await run(words)).code).toBe(3);
  });
});
