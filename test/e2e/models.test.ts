import { spawnSync } from "node:child_process";
import { cp, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { type Line, cleanEnvironment, runWaybill } from "../support/waybill-process.ts";

const BIN = fileURLToPath(new URL("../../packages/waybill/bin/waybill.js", import.meta.url));

/** Trains with what its configuration says, and leaves a README of its own. */
const TRAINER = `
import { readFileSync, writeFileSync } from "node:fs";
const { WAYBILL_CONFIG, WAYBILL_OUTPUT, WAYBILL_SEED } = process.env;
const { lr } = JSON.parse(readFileSync(WAYBILL_CONFIG, "utf8"));
for (let epoch = 1; epoch <= 5; epoch++) console.log(JSON.stringify({ epoch, val_loss: lr / epoch }));
writeFileSync(WAYBILL_OUTPUT + "/weights.bin", "w" + lr);
writeFileSync(WAYBILL_OUTPUT + "/README.md", "the trainer's own");
console.log(JSON.stringify({ type: "result", val_loss: lr / 5, seed: Number(WAYBILL_SEED) }));
`;

const SLEAP = (head: string) =>
  JSON.stringify({
    model: {
      backbone: { unet: { filters: 16 } },
      heads: {
        single_instance: null,
        centroid: null,
        centered_instance: null,
        [head]: { sigma: 2 },
      },
    },
    outputs: { run_name: `240102.${head}` },
  });

describe("models", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("data"));
    await lab.write("data/a.csv", "1,2\n");
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", TRAINER);
    for (const head of ["centroid", "centered_instance"]) {
      await mkdir(lab.path("runs", head), { recursive: true });
      await lab.write(`runs/${head}/training_config.json`, SLEAP(head));
      await lab.write(`runs/${head}/best_model.h5`, `weights of ${head}`);
      await lab.write(
        `runs/${head}/training_log.csv`,
        "epoch,loss,val_loss\n0,2,3\n1,1,1.5\n2,0.5,2\n",
      );
    }
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  /** Trains; answers the model's id. */
  async function train(words: readonly string[]): Promise<string> {
    const all = ["train", "--dataset", lab.path("data"), ...words, "--", "node", "train.mjs"];
    const { code, lines, errors } = await runWaybill(all, lab.machine("owner"), {
      cwd: lab.path("code"),
    });
    expect(code, errors).toBe(0);
    return String(lines.find((line) => line["type"] === "published")?.["model"]);
  }
  /** What a command prints for people, into a pipe. */
  const text = (words: readonly string[]): string => {
    const env = cleanEnvironment(lab.machine("owner"));
    const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...words], {
      env,
      encoding: "utf8",
    });
    expect(status, stderr).toBe(0);
    return stdout;
  };
  const imported = async (words: readonly string[], machine = "owner") => {
    const { code, lines, errors } = await runWaybill(
      ["model", "import", ...words],
      lab.machine(machine),
    );
    expect(code, errors).toBe(0);
    return lines.at(-1) as Line;
  };

  it("are shown with what they were made of, their lineage, and what differs between them", async () => {
    const parent = await train(["--config", "lr=0.5", "--run-name", "one", "--seed", "7"]);
    const words = ["--parent", "latest-model", "--alias", "prod", "--notes", "smaller steps"];
    const child = await train([...words, "--config", "lr=0.1", "--run-name", "two"]);
    const shown = await lab.ask(["model", "show", "prod"]);
    expect(shown).toMatchObject({
      id: child,
      aliases: ["latest-model", "prod"],
      children: [],
      alias_history: [{ alias: "prod", to: child }],
      training: {
        parent_model: parent,
        dataset_name: "data",
        run_name: "two",
        code: expect.stringMatching(/^[0-9a-f]{64}$/),
        config_digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    });
    expect(await lab.ask(["model", "show", parent])).toMatchObject({
      children: [child],
      training: { seed: 7, metrics: { seed: 7 } },
    });
    const page = text(["model", "show", "prod"]);
    expect(page).toMatch(/^parent +[0-9a-f]{8}$/m);
    expect(page).toMatch(/^ {2}val_loss +0.02000$/m);
    expect(Math.max(...page.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);

    const graph = await lab.ask(["model", "lineage", "prod"]);
    expect(graph["edges"]).toContainEqual({
      from: `model:${parent}`,
      to: `model:${child}`,
      kind: "parent",
    });
    expect(text(["model", "lineage", parent])).toContain(`fine-tuned to ${child} model`);
    expect(text(["model", "lineage", "prod", "--format", "dot"])).toContain("digraph");

    const compared = await lab.ask(["model", "compare", parent, "prod"]);
    expect(compared).toMatchObject({
      config: [{ key: "lr", values: { [parent]: 0.5, [child]: 0.1 } }],
      curves: [{ key: "val_loss", axis: "epoch" }],
    });
    expect(compared["metrics"]).toContainEqual(
      expect.objectContaining({ key: "val_loss", direction: "lower", best: [child] }),
    );
    expect(text(["model", "compare", parent, "prod"])).toMatch(/█▄▃▃?[▁▂▃▄▅]* +0.5000 → 0.1000/);
    const same = await runWaybill(["model", "compare", "prod", child], lab.machine("owner"));
    expect(same.code).toBe(2);
  });

  it("are imported from a SLEAP run once, however often, and come back from their export", async () => {
    const run = lab.path("runs", "centroid");
    const first = await imported([run, "--alias", "fly", "--tag", "lab:one"]);
    expect(first).toMatchObject({ modelType: "centroid", existed: false, alias: "fly" });
    const again = await imported([run, "--tag", "lab:two"]);
    expect(again).toMatchObject({
      model: first["model"],
      existed: true,
      sentBytes: 0,
      tags: ["lab:one", "lab:two"],
    });
    expect(await lab.ask(["model", "show", "fly"])).toMatchObject({
      training: {
        metrics: { val_loss: 2, best_val_loss: 1.5, best_epoch: 1 },
        run_name: "240102.centroid",
        imported: { format: "sleap", from: "centroid" },
      },
    });

    const out = lab.path("exported");
    await lab.ask(["model", "export", "fly", out]);
    expect(await readdir(out)).toEqual([
      "README.md",
      "best_model.h5",
      "training_config.json",
      "training_log.csv",
    ]);
    const card = await lab.read("exported/README.md");
    expect(card).toContain(String(first["artifact"]));
    expect(card).toContain("| best_val_loss | 1.500 |");
    // The card is not among the files: the content is the same.
    expect(await imported([out])).toMatchObject({ model: first["model"], existed: true });

    await lab.ask(["room", "create", "other"], "elsewhere");
    const there = ["--room", "other"];
    const moved = await imported([out, ...there], "elsewhere");
    expect(moved).toMatchObject({ artifact: first["artifact"], existed: false });
    expect(
      await lab.ask(["model", "show", String(moved["model"]), ...there], "elsewhere"),
    ).toMatchObject({
      tags: ["lab:one", "lab:two"],
      training: {
        metrics: { best_val_loss: 1.5 },
        run_name: "240102.centroid",
        imported: { format: "waybill", from: `model ${String(first["model"])} of room lab` },
      },
    });
  });

  it("keep a README of their own beside the card", async () => {
    const id = await train(["--config", "lr=0.3"]);
    const out = lab.path("with-readme");
    await lab.ask(["model", "export", id, out]);
    await lab.ask(["model", "export", id, out]);
    expect(await readdir(out)).toEqual(["MODEL_CARD.md", "README.md", "weights.bin"]);
    expect(await readFile(lab.path("with-readme", "README.md"), "utf8")).toBe("the trainer's own");
    expect(await imported([out])).toMatchObject({ model: id, existed: true });
    await writeFile(lab.path("with-readme", "weights.bin"), "others");
    const changed = await imported([out]);
    expect(changed).toMatchObject({ existed: false, modelType: "model" });
    expect(changed["model"]).not.toBe(id);
  });

  it("are imported as a pipeline with its parts, exported with them, and found again", async () => {
    const runs = lab.path("topdown");
    await cp(lab.path("runs"), runs, { recursive: true });
    const made = await imported([runs, "--type", "topdown", "--alias", "flies"]);
    expect(made).toMatchObject({ modelType: "topdown", existed: false });
    const parts = made["parts"] as Line[];
    expect(parts.map((part) => part["model_type"])).toEqual(["centroid", "centered_instance"]);
    // The centroid model is the one that was imported by itself.
    expect(parts[0]?.["model"]).toBe((await lab.ask(["model", "show", "fly"]))["id"]);
    expect(await imported([runs, "--type", "topdown"])).toMatchObject({
      model: made["model"],
      existed: true,
    });
    const out = lab.path("topdown-out");
    await lab.ask(["model", "export", "flies", out]);
    expect(await readdir(out)).toEqual([
      "README.md",
      "centered_instance",
      "centroid",
      "pipeline.json",
    ]);
    expect(await readdir(`${out}/centroid`)).toContain("best_model.h5");
    expect(await imported([out])).toMatchObject({ model: made["model"], existed: true });
    await lab.ask(["room", "create", "third"], "elsewhere");
    const moved = await imported([out, "--room", "third"], "elsewhere");
    expect(moved).toMatchObject({ modelType: "topdown", existed: false });
    expect(text(["model", "lineage", "flies"])).toMatch(/part [0-9a-f]+ centroid · fly/);
  });

  it("are not guessed: what a lone checkpoint is has to be said", async () => {
    await lab.write("weights.pt", "not really");
    const silent = await runWaybill(
      ["model", "import", lab.path("weights.pt")],
      lab.machine("owner"),
    );
    expect(silent.code).toBe(2);
    expect(silent.lines.at(-1)?.["hint"]).toContain("--type");
    const words = [lab.path("weights.pt"), "--type", "unet"];
    const dry = await imported([...words, "--dry-run"]);
    expect(dry).toMatchObject({ type: "detected", format: "checkpoint", modelType: "unet" });
    // Refused when its bytes were in the room already: nothing of it is sent again.
    await lab.ask(["alias", "protect", "kept"]);
    const { code } = await lab.ask(["room", "invite", "--role", "member"]);
    await lab.ask(["room", "join", String(code)], "member");
    const refused = ["model", "import", ...words, "--alias", "kept"];
    expect((await runWaybill(refused, lab.machine("member"))).code).toBe(3);
    const done = await imported(words, "member");
    expect(done).toMatchObject({ modelType: "unet", existed: false, sentBytes: 0 });
    expect(await lab.ask(["model", "show", String(done["model"])])).toMatchObject({
      training: { imported: { format: "checkpoint", from: "weights.pt" } },
    });
  });
});
