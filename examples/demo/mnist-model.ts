// The network of the demo, and its plain files on disk: `model.json` (topology) and `weights.bin`.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import * as layers from "@tensorflow/tfjs-layers";
import { decodeIdx } from "./idx.ts";

// Without this, the backend prints a banner about its native variant.
tf.enableProdMode();

export const CLASSES = 10;

/** Two dense layers: 784 → hidden → 10. */
export function createModel(
  hidden: number,
  learningRate: number,
  seed: number,
): layers.LayersModel {
  const model = layers.sequential();
  const initializer = (offset: number) =>
    layers.initializers.glorotUniform({ seed: seed + offset });
  model.add(
    layers.layers.dense({
      inputShape: [784],
      units: hidden,
      activation: "relu",
      kernelInitializer: initializer(0),
    }),
  );
  model.add(
    layers.layers.dense({
      units: CLASSES,
      activation: "softmax",
      kernelInitializer: initializer(1),
    }),
  );
  model.compile({
    optimizer: tf.train.adam(learningRate),
    loss: "categoricalCrossentropy",
    metrics: ["accuracy"],
  });
  return model;
}

export type Digits = {
  /** [n, 784], 0–1. */
  readonly images: tf.Tensor2D;
  /** [n, 10], one-hot. */
  readonly labels: tf.Tensor2D;
  /** [n] of 0–9. */
  readonly classes: Uint8Array;
  /** [n, 784] of 0–255. */
  readonly pixels: Uint8Array;
  readonly count: number;
};

/** Reads `{prefix}-images-idx3-ubyte` and its labels. */
export async function readDigits(folder: string, prefix: "train" | "t10k"): Promise<Digits> {
  const { data: pixels } = decodeIdx(
    await readFile(path.join(folder, `${prefix}-images-idx3-ubyte`)),
  );
  const { data: classes } = decodeIdx(
    await readFile(path.join(folder, `${prefix}-labels-idx1-ubyte`)),
  );
  const count = classes.length;
  const images = tf.tensor2d(
    Float32Array.from(pixels, (value) => value / 255),
    [count, 784],
  );
  const labels = tf.tidy(
    () =>
      tf.cast(
        tf.oneHot(tf.tensor1d(Int32Array.from(classes), "int32"), CLASSES),
        "float32",
      ) as tf.Tensor2D,
  );
  return { images, labels, classes, pixels, count };
}

/** Writes the model into `folder`. */
export async function saveModel(model: layers.LayersModel, folder: string): Promise<void> {
  const weights = await Promise.all(
    model
      .getWeights()
      .map(async (one) => ({ shape: one.shape, data: (await one.data()) as Float32Array })),
  );
  const flat = weights.map(({ data }) =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  );
  await writeFile(path.join(folder, "weights.bin"), Buffer.concat(flat));
  const topology = {
    hidden: weights[0]?.shape[1],
    shapes: weights.map((one) => one.shape),
    dtype: "float32",
  };
  await writeFile(path.join(folder, "model.json"), `${JSON.stringify(topology, null, 2)}\n`);
}

/** Reads what `saveModel` wrote. */
export async function loadModel(folder: string): Promise<layers.LayersModel> {
  const topology = JSON.parse(await readFile(path.join(folder, "model.json"), "utf8")) as {
    hidden: number;
    shapes: number[][];
  };
  const bytes = await readFile(path.join(folder, "weights.bin"));
  const values = new Float32Array(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
  );
  const model = createModel(topology.hidden, 0.001, 1);
  let at = 0;
  const weights = topology.shapes.map((shape) => {
    const length = shape.reduce((product, size) => product * size, 1);
    const tensor = tf.tensor(values.slice(at, at + length), shape);
    at += length;
    return tensor;
  });
  model.setWeights(weights);
  return model;
}

/** Share of digits the model names rightly. */
export function accuracyOf(model: layers.LayersModel, digits: Digits): number {
  const predicted = predictClasses(model, digits);
  let right = 0;
  digits.classes.forEach((label, i) => {
    if (predicted[i] === label) right += 1;
  });
  return right / digits.count;
}

/** The most likely class of each digit, [n]. */
export function predictClasses(model: layers.LayersModel, digits: Digits): Int32Array {
  return tf.tidy(() =>
    tf.argMax(model.predict(digits.images) as tf.Tensor2D, 1).dataSync<"int32">(),
  );
}
