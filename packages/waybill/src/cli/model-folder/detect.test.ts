import { describe, expect, it } from "vitest";
import { type ImportFormat, detectModel } from "./detect.ts";
import { modelTypeOf } from "./detected.ts";
import { folderOf } from "./sample-folder.fixture.ts";

async function detected(files: Record<string, string | Uint8Array>, format?: ImportFormat) {
  await using made = await folderOf(files);
  return await detectModel(made.folder, format);
}

const NO_HEADS = { single_instance: null, centroid: null, centered_instance: null };
const jsonRun = (heads: object, more: object = {}) =>
  JSON.stringify({
    data: { labels: { skeletons: [{ "py/object": "x".repeat(5000) }], validation_fraction: 0.1 } },
    model: { heads: { ...NO_HEADS, ...heads } },
    outputs: { run_name: "run-1" },
    ...more,
  });

describe("a SLEAP run folder", () => {
  it.each([
    ["single_instance", "single_instance"],
    ["centroid", "centroid"],
    ["centered_instance", "centered_instance"],
    ["multi_instance", "bottomup"],
    ["multi_class_bottomup", "multi_class_bottomup"],
    ["multi_class_topdown", "multi_class_topdown"],
  ])("with the head %s is a %s", async (head, type) => {
    const found = await detected({ "training_config.json": jsonRun({ [head]: { sigma: 1 } }) });
    expect(found).toMatchObject({ format: "sleap", modelType: type, runName: "run-1" });
    expect(found.missing).toEqual([
      "metrics (no training_log.csv)",
      expect.stringContaining("weights"),
    ]);
  });

  it("has its last metrics and its best epoch from its log, and no pickled skeletons", async () => {
    const log = "epoch,loss,lr,val_loss\n0,2,1e-04,3\n1,1,1e-04,1.5\n2,0.5,1e-05,2\n";
    const found = await detected({
      "initial_config.json": jsonRun({ centroid: {} }, { outputs: {} }),
      "training_config.json": jsonRun({ centroid: {} }, { description: "flies" }),
      "training_log.csv": log,
      "best_model.h5": "x",
    });
    expect(found.metrics).toEqual({
      epoch: 2,
      loss: 0.5,
      lr: 0.00001,
      val_loss: 2,
      best_val_loss: 1.5,
      best_epoch: 1,
    });
    expect(found.config).toMatchObject({ data: { labels: { validation_fraction: 0.1 } } });
    expect(JSON.stringify(found.config)).not.toContain("skeletons");
    expect(found).toMatchObject({ notes: "flies", missing: [], warnings: [] });
    expect(found.found.map(([what]) => what)).toEqual(["type", "config", "metrics", "weights"]);
  });

  it("of sleap-nn is read as YAML, with its seed; secrets stay out of the registry (I10)", async () => {
    const yaml = `
model_config:
  head_configs:
    single_instance: null
    bottomup:
      pafs: {sigma: 4}
trainer_config:
  seed: 42
  run_name: nn-1
  wandb:
    api_key: abc123
    project: null
  early_stopping: {min_delta: .inf}
`;
    const found = await detected({ "training_config.yaml": yaml, "best.ckpt": "x" });
    expect(found).toMatchObject({
      modelType: "bottomup",
      seed: 42,
      runName: "nn-1",
      config: {
        trainer_config: { wandb: { api_key: null }, early_stopping: { min_delta: "Infinity" } },
      },
    });
    expect(found.warnings).toEqual([expect.stringContaining("trainer_config.wandb.api_key")]);
    expect(JSON.stringify(found)).not.toContain("abc123");
  });

  it("says when no head, or more than one, tells what it is", async () => {
    for (const heads of [{}, { centroid: {}, centered_instance: {} }, { newfangled: {} }]) {
      const found = await detected({ "training_config.json": jsonRun(heads) });
      expect(found.modelType).toBeUndefined();
      expect(found.missing).toContain("one head in training_config.json");
    }
  });

  it("keeps a configuration that is too long for a registry in its file", async () => {
    const long = jsonRun({ centroid: {} }, { paths: ["x".repeat(100_000)] });
    const found = await detected({ "training_config.json": long });
    expect(found.config).toEqual({});
    expect(found.warnings).toEqual([expect.stringContaining("stays in its file")]);
  });
});

describe("a Hugging Face folder", () => {
  const config = JSON.stringify({ model_type: "gpt-neox", architectures: ["GPTNeoXForCausalLM"] });
  const readme = `---
license: apache-2.0
base_model: org/base
language: en
pipeline_tag: text-generation
tags: [chat, "not a tag!", 7]
model-index:
- results:
  - dataset: {name: squad}
    metrics:
    - {type: f1, value: 0.9}
  - dataset: {name: other}
    metrics:
    - {type: f1, value: "0.5"}
    - {type: note, value: good}
---
# A model
`;

  it("has its type, tags, licence, base model and metrics from its files", async () => {
    const found = await detected({
      "config.json": config,
      "model-00001-of-00002.safetensors": "x",
      "model-00002-of-00002.safetensors": "y",
      "README.md": readme,
    });
    expect(found).toMatchObject({
      format: "huggingface",
      modelType: "gpt_neox",
      tags: ["license:apache-2.0", "chat", "en", "text-generation", "base_model:org/base"],
      metrics: { f1: 0.9, "other.f1": 0.5 },
      missing: [],
    });
    expect(found.found).toContainEqual(["licence", "apache-2.0"]);
    expect(found.found).toContainEqual(["weights", "2 files"]);
    expect(found.warnings).toEqual([expect.stringContaining("2 of its tags")]);
  });

  it("goes by its architecture, or is an adapter; says what its page lacks", async () => {
    const bare = await detected({
      "config.json": JSON.stringify({ architectures: ["UNet2D"], eos_token: "</s>" }),
      "pytorch_model.bin": "x",
      "README.md": "no front matter",
    });
    expect(bare).toMatchObject({ modelType: "unet2d", tags: [], warnings: [] });
    expect(bare.config["eos_token"]).toBe("</s>");
    expect(bare.missing).toEqual(["front matter in README.md", "metrics"]);
    const adapter = await detected({
      "adapter_config.json": JSON.stringify({ peft_type: "LORA", base_model_name_or_path: "a/b" }),
      "adapter_model.safetensors": "x",
    });
    expect(adapter).toMatchObject({ modelType: "lora", tags: ["base_model:a/b"] });
  });
});

describe("a checkpoint", () => {
  it("says how many parameters it has when it is safetensors, and warns when loading runs code", async () => {
    const header = JSON.stringify({
      __metadata__: { format: "pt" },
      a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
      b: { dtype: "F32", shape: [], data_offsets: [24, 28] },
    });
    const file = Buffer.alloc(8 + header.length + 28);
    file.writeBigUInt64LE(BigInt(header.length));
    file.write(header, 8);
    const found = await detected({ "model.safetensors": file });
    expect(found).toMatchObject({
      format: "checkpoint",
      metrics: { parameters: 7 },
      config: { format: "pt" },
      warnings: [],
    });
    expect(found.modelType).toBeUndefined();
    const pickle = await detected({ "notes.txt": "x", "w.pt": "x" });
    expect(pickle.warnings).toEqual([expect.stringContaining("may run code")]);
    const torn = Buffer.alloc(8, 255);
    expect((await detected({ "torn.safetensors": torn })).metrics).toEqual({});
  });
});

describe("a folder of another kind", () => {
  it("is nothing that is known, and not what somebody says it is", async () => {
    const files = { "a.pt": "x", "b.pt": "y" };
    expect(await detected(files)).toMatchObject({ format: "folder", config: {}, found: [] });
    for (const format of ["sleap", "huggingface", "checkpoint"] as const) {
      await expect(detected(files, format)).rejects.toMatchObject({ code: "invalid_request" });
    }
    await expect(detected({ "training_config.json": "{" }, "sleap")).rejects.toThrow(
      /training_config.json cannot be read/,
    );
  });
});

describe("a model type made of a name", () => {
  it.each([
    ["GPT-NeoX", "gpt_neox"],
    ["3D U-Net!", "d_u_net"],
    ["---", undefined],
  ])("%s: %s", (name, type) => {
    expect(modelTypeOf(name)).toBe(type);
  });
});

describe("a folder with settings that cannot be read", () => {
  const broken = { "config.json": "{", "model.safetensors": "x" };

  it("is looked at without them, with a warning", async () => {
    const found = await detected(broken);
    expect(found.format).toBe("checkpoint");
    expect(found.warnings).toContainEqual(
      expect.stringMatching(/^config\.json cannot be read: .*; it is passed over$/),
    );
  });

  it("is refused when they are what was asked for", async () => {
    await expect(detected(broken, "huggingface")).rejects.toThrow(/config\.json cannot be read/);
  });
});
